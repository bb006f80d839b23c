"""Several processes at one training: process 0 leads and writes, the others join what it trains.

All of them train, so what one of them raises alone leaves the others waiting. Errors that all raise alike are
`TrainingError`; after any other one the team is broken and the job ends.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from signal import SIGTERM
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import torch.distributed as dist
from monai.utils import evenly_divisible_all_gather
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ConfigError, OrganCamError
from ..runner import Interrupted, Launch, stop_asked
from ..version import __version__

__all__ = [
    "StopRequests",
    "Team",
    "TrainingError",
    "as_one",
    "gathered",
    "joined",
    "lost_contact_told",
    "mean_over_team",
    "reaching_all",
    "share_buffers",
    "team_of_process",
]

SILENCE = timedelta(minutes=10)
"""After which a process that does not answer counts as lost; one that dies is noticed at once."""
PATIENCE = timedelta(days=30)
"""For which processes wait while the first one prepares what is to be trained."""

logger = logging.getLogger(__name__)


class TrainingError(OrganCamError):
    """A training came to a bad end in all its processes alike, such as by a loss that is not finite."""


class Team:
    """The processes of a job, which train one model after another together.

    Attributes:
        launch: the place of this process.
        broken: why the processes are no longer in step; None while they are.
    """

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.broken: str | None = None
        self._control = dist.new_group(backend="gloo", timeout=PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this is the process that owns the run directory."""
        return self.launch.rank == 0

    def tell(self, message: Mapping[str, Any] | None) -> None:
        """In process 0: send plain data to all others."""
        content = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(content)]))
        self._broadcast(content)

    def hear(self) -> Any:
        """In the others: wait for what process 0 tells next."""
        length = self._broadcast(torch.zeros(1, dtype=torch.int64))
        content = self._broadcast(torch.zeros(int(length), dtype=torch.uint8))
        return json.loads(content.numpy().tobytes())

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """Around a training: remember when it ended in this process alone.

        Raises:
            OrganCamError: if another process was lost, now or before.
        """
        if self.broken:
            raise OrganCamError(self.broken)
        try:
            with lost_contact_told():
                yield
        except (TrainingError, Interrupted):
            raise
        except Exception as error:
            self.broken = str(error)
            raise

    def _broadcast(self, tensor: Tensor) -> Tensor:
        with lost_contact_told():
            dist.broadcast(tensor, src=0, group=self._control)
        return tensor


_teams: list[Team] = []


def team_of_process() -> Team | None:
    """The team that this process is in; None where it trains alone."""
    return _teams[-1] if _teams else None


@contextmanager
def joined(launch: Launch, backend: str) -> Iterator[Team]:
    """Meet the other processes that torchrun started.

    Args:
        launch: the place of this process among them.
        backend: ``gloo``, or ``nccl`` for GPUs; the same in all of them.

    Yields:
        The team.

    Raises:
        OrganCamError: if they do not meet within ten minutes, the port is taken, or their versions differ.
    """
    try:
        idist.initialize(backend, timeout=SILENCE)
    except (RuntimeError, ValueError) as error:
        raise OrganCamError(_not_met(launch, error)) from error
    try:
        team = Team(launch)
        _require_same_versions(team)
        _teams.append(team)
        yield team
    finally:
        _teams.clear()
        with suppress(RuntimeError):  # with a process lost there is nothing to take leave of
            idist.finalize()


class StopRequests:
    """Whether any process was told to stop; all of them come to know at the same step.

    Attributes:
        heard: whether one was.
    """

    def __init__(self) -> None:
        self.heard = False

    def ask(self) -> bool:
        """Ask all processes, each of which has to call this."""
        self.heard = self.heard or mean_over_team(float(stop_asked()))[0] > 0
        return self.heard

    def heed(self) -> None:
        """End this process too, where it was another that was told.

        Raises:
            Interrupted: if one was told to stop.
        """
        if self.heard:
            raise Interrupted(SIGTERM)


def as_one(network: nn.Module, device: torch.device) -> nn.Module:
    """The network wrapped so that all processes make the same steps; itself in a process that is alone."""
    if idist.get_world_size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def reaching_all(loss: Tensor, network: nn.Module) -> Tensor:
    """The loss plus nothing, by way of every parameter: processes wait for gradients of those that it does not reach.

    PyTorch's own remedy looks through the graph in each step, and warns wherever it looks in vain.
    """
    if not isinstance(network, nn.parallel.DistributedDataParallel):
        return loss
    return (
        loss + 0 * torch.stack([weight.flatten()[0] for weight in network.parameters() if weight.requires_grad]).sum()
    )


def share_buffers(network: nn.Module) -> None:
    """Running statistics of process 0 for all: each process has counted its own scans since the last step began."""
    if idist.get_world_size() > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def mean_over_team(*values: float, device: torch.device | None = None) -> list[float]:
    """Means of numbers over the processes, each of which has to call this."""
    if idist.get_world_size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device or idist.device())
    dist.all_reduce(total)
    return (total / idist.get_world_size()).tolist()


def gathered(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows of all processes in the order of the items, of which each process had every n-th."""
    size = idist.get_world_size()
    if size == 1:
        return rows
    parts = evenly_divisible_all_gather(torch.from_numpy(rows).to(idist.device()), concat=False)
    whole = np.empty((sum(len(part) for part in parts), *rows.shape[1:]), rows.dtype)
    for rank, part in enumerate(parts):
        whole[rank::size] = part.cpu().numpy()
    return whole


def _require_same_versions(team: Team) -> None:
    own = {"organcam": __version__, "torch": torch.__version__}
    if team.leads:
        team.tell(own)
        return
    first = team.hear()
    if first != own:
        described = [", ".join(f"{name} {number}" for name, number in found.items()) for found in (first, own)]
        msg = f"process 0 has {described[0]}, process {team.launch.rank} {described[1]}: install the same everywhere"
        raise ConfigError(msg)


@contextmanager
def lost_contact_told() -> Iterator[None]:
    """Put the loss of another process into words.

    Raises:
        OrganCamError: where PyTorch tells of sockets.
    """
    try:
        yield
    except RuntimeError as error:
        signs = ("gloo", "Connection closed", "Connection reset", "Timed out", "NCCL", "Broken pipe")
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in signs):
            raise
        # Said at once: the SIGTERM that torchrun sends to those who are left may take the place of the error.
        logger.error("lost contact with another process of this training; its own output says why")
        msg = "the training ended with the loss of a process; the same command goes on from the last checkpoint"
        raise OrganCamError(msg) from error


def _not_met(launch: Launch, error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "EADDRINUSE" in str(error) or "ddress already in use" in str(error):
        return f"the port of {launch.address} is in use: give torchrun another --master_port (MASTER_PORT)"
    if "imed out" in str(error) or "imeout" in str(error):
        minutes = SILENCE.total_seconds() / 60
        return (
            f"process {launch.rank} waited {minutes:g} minutes at {launch.address} and not all of the {launch.size} "
            f"came ({text}): start every one, with the same --nnodes and --nproc_per_node"
        )
    return f"process {launch.rank} cannot reach the others at {launch.address}: {text}"
