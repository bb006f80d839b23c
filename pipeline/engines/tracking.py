"""Where else a training is followed: TensorBoard and MLflow, by MONAI's handlers for them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ignite.engine import Engine
from monai.handlers import MLFlowHandler, TensorBoardStatsHandler

from ..errors import ConfigError

__all__ = ["Handler", "require_trackers", "trackers"]

EXPERIMENT = "organcam"


class Handler(Protocol):
    """Anything that listens to a trainer."""

    def attach(self, engine: Engine) -> None:
        """Begin to listen."""


def require_trackers(names: Sequence[str]) -> None:
    """Make sure that the packages are there.

    Raises:
        ConfigError: naming the extra to install.
    """
    for name in names:
        if find_spec(name) is None:
            msg = f"train.trackers: {name} is not installed; pip install 'organcam[{name}]'"
            raise ConfigError(msg)


@contextmanager
def trackers(
    names: Sequence[str], folder: Path, run_name: str, settings: Mapping[str, Any] | None = None
) -> Iterator[list[Handler]]:
    """Handlers for a trainer, closed after the block.

    TensorBoard gets the loss of every step and the figures of every epoch, under ``folder/<run_name>.tensorboard``;
    what a killed training had written beyond its checkpoint is taken back when it goes on. MLflow gets the settings and
    the figures of every epoch, on the server of the variable ``MLFLOW_TRACKING_URI``, or in ``folder/mlflow.db``; a
    training that was stopped goes on in its own run. Neither gets a name or text of a scan.

    Args:
        names: ``tensorboard``, ``mlflow``.
        folder: for files, made if needed.
        run_name: of the training.
        settings: for MLflow's parameters.

    Raises:
        ConfigError: if a package is not there.
    """
    require_trackers(names)
    with ExitStack() as stack:
        handlers: list[Handler] = []
        if "tensorboard" in names:
            handlers.append(stack.enter_context(_TensorBoard(folder / f"{run_name}.tensorboard")))
        if "mlflow" in names:
            handlers.append(mlflow := _mlflow(folder, run_name, settings or {}))
        yield handlers
        if "mlflow" in names:
            mlflow.close()  # and not where the training was stopped, to go on in the same run


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def attach(self, engine: Engine) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra

        self._writer = SummaryWriter(str(self.folder), purge_step=engine.state.iteration + 1)
        TensorBoardStatsHandler(
            self._writer, output_transform=lambda output: float(output["loss"]), tag_name="step_loss"
        ).attach(engine)

    def __enter__(self) -> _TensorBoard:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _mlflow(folder: Path, run_name: str, settings: Mapping[str, Any]) -> MLFlowHandler:
    folder.mkdir(parents=True, exist_ok=True)
    local: dict[str, Any] = {
        "tracking_uri": f"sqlite:///{(folder / 'mlflow.db').as_posix()}",
        "artifact_location": (folder / "mlflow").absolute().as_uri(),
    }
    return MLFlowHandler(
        **({} if "MLFLOW_TRACKING_URI" in os.environ else local),
        iteration_log=False,
        experiment_name=EXPERIMENT,
        run_name=run_name,
        experiment_param=dict(settings),
    )
