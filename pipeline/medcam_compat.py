"""M3d-CAM's own names, so that a script that was written for ``medcam`` runs with one changed line.

``import organcam.medcam_compat as medcam`` (or ``from organcam.medcam_compat import medcam``). Parameters, their order
and their defaults are those of medcam 0.1.22; maps are scaled to [0, 1] as there. What was wrong there is right here
(``docs/how-to/medcam.md`` lists it); new code has ``organcam.inject``.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .injection import Evaluator as _Scores
from .injection import InjectedNetwork, InjectionOptions, compute_score, get_layers
from .injection import inject as _inject
from .injection.evaluation import Metric
from .injection.labels import Label
from .injection.saving import save_pictures

__all__ = ["Evaluator", "MedcamNetwork", "compute_score", "get_layers", "inject", "medcam", "save"]

medcam = sys.modules[__name__]


class MedcamNetwork(InjectedNetwork):
    """``InjectedNetwork`` with M3d-CAM's methods and order of arguments."""

    def forward(self, batch: Tensor, label: Label = None, mask: Any = None, raw_input: Any = None) -> Any:  # type: ignore[override]
        """Run and explain; ``label`` comes before ``mask``, as in medcam's code (its paper has them the other way)."""
        return super().forward(batch, label=_summed(label), mask=mask, raw_input=raw_input)

    def enable_medcam(self) -> None:
        """Explain from now on."""
        self.enable()

    def disable_medcam(self) -> None:
        """Be the plain network from now on."""
        self.disable()

    def test_run(self, batch: Tensor) -> None:
        """Find the automatic layer; calls do it by themselves."""
        with torch.no_grad():
            super().forward(batch)

    def save_attention_map(self, attention_map: Tensor, raw_input: Any = None) -> None:
        """Write a map under ``output_dir``, named by count."""
        assert self.options.output_dir is not None
        save(attention_map, self.options.output_dir / f"attention_map_{self._calls}", raw_input)


def inject(
    model: nn.Module,
    output_dir: str | Path | None = None,
    backend: str = "gcam",
    layer: str | list[str] = "auto",
    label: Label = None,
    data_shape: Any = "default",
    save_maps: bool = False,
    save_pickle: bool = False,
    save_scores: bool = False,
    evaluate: bool = False,
    metric: Metric = "wioa",
    threshold: str | float = "otsu",
    retain_graph: bool = False,
    return_score: bool = False,
    replace: bool = False,
    return_attention: bool = False,
    cudnn: bool = True,
    enabled: bool = True,
) -> MedcamNetwork:
    """``organcam.inject`` with medcam's parameters and defaults.

    A list as ``label`` means the sum of these outputs. ``save_pickle`` writes npz instead, since reading a pickle runs
    whatever code it holds. ``data_shape`` (without effect in medcam too), ``retain_graph`` and ``cudnn`` are not needed
    and have no effect; a warning says so. ``save_scores`` and ``evaluate`` mean the same: ``dump`` writes the scores of
    the calls that came with a mask.

    Raises:
        ConfigError: for an unknown backend, metric or threshold, or files without a folder.
        ValueError: for a layer that the network has not.
    """
    idle = {"data_shape": data_shape != "default", "retain_graph": retain_graph, "cudnn": not cudnn}
    for name, given in idle.items():
        if given:
            warnings.warn(f"{name} has no effect and is not needed", stacklevel=2)
    if save_pickle:
        warnings.warn("save_pickle: npz files are written instead, which hold data and no code", stacklevel=2)
    injected = _inject(
        model,
        output_dir,
        backend,
        layer,
        _summed(label),
        save_maps=save_maps,
        save_npz=save_pickle,
        save_scores=save_scores or evaluate,
        metric=metric,
        threshold=threshold,
        return_score=return_score,
        replace=replace,
        return_attention=return_attention,
        normalise=True,
    )
    options: InjectionOptions = injected.options
    return MedcamNetwork(injected.network, options, enabled)


class Evaluator:
    """medcam's table of scores, written as ``<save_path>/scores.xlsx``, and as CSV beside it.

    Args:
        save_path: folder.
        metric: see ``organcam.injection.compute_score``.
        threshold: see there.
        layer_ordering: taken and not needed: layers stand in the order in which they were scored.
    """

    def __init__(
        self,
        save_path: str | Path,
        metric: Metric = "wioa",
        threshold: str | float = "otsu",
        layer_ordering: Any = None,  # noqa: ARG002
    ) -> None:
        self.save_path = Path(save_path)
        self.table = _Scores(metric, threshold)

    def comp_score(
        self, attention_map: Any, mask: Any, layer: Any = "", class_label: Any = "", name: Any = ""
    ) -> float:
        """Score one map against one mask and keep the score."""
        words = {"scan": name, "layer": layer, "label": class_label}
        return self.table.add(
            np.asarray(attention_map),
            np.asarray(mask),
            **{key: str("" if word is None else word) for key, word in words.items()},
        )

    def dump(self, *_: Any, **__: Any) -> list[Path]:
        """Write all scores; medcam's filters are left to the reader of the tables."""
        return self.table.dump(self.save_path)


def save(attention_map: Any, filename: str | Path, raw_input: Any = None) -> Path:
    """Write one map, ``[*voxels]`` or ``[1, *voxels]``: PNG of an image, NIfTI of a volume.

    Returns:
        The file, with its ending.
    """
    values = torch.as_tensor(np.asarray(attention_map)).squeeze()
    path = Path(filename)
    image = None if raw_input is None else torch.as_tensor(np.asarray(raw_input))[None]
    written = save_pictures(path.parent, [path.name], [["map"]], values[None, None], values[None, None], image)[0]
    return written.replace(path.parent / written.name.replace("_map.", "."))


def _summed(label: Label) -> Label:
    if isinstance(label, (list, tuple)):
        chosen = [int(one) for one in label]

        def mask(output: Tensor) -> Tensor:
            found = torch.zeros_like(output)
            found[:, chosen] = 1
            return found

        return mask
    return label
