"""What an injected network does at each call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..attention import METHODS
from ..errors import ConfigError
from ..metrics.functional.mask_score import Metric, check_metric, check_threshold
from .labels import Label

__all__ = ["BACKENDS", "InjectionOptions"]

BACKENDS = {"gcam": "gradcam", "gcampp": "gradcam_plus_plus", "gbp": "guided_backprop", "ggcam": "guided_gradcam"}
"""M3d-CAM's names of methods."""


@dataclass(frozen=True)
class InjectionOptions:
    """What an injected network does at each call; see ``inject``."""

    output_dir: Path | None = None
    backend: str = "hirescam"
    layer: str | tuple[str, ...] = "auto"
    label: Label = None
    save_maps: bool = False
    save_npz: bool = False
    save_scores: bool = False
    evaluate: bool = False
    metric: Metric = "wioa"
    threshold: str | float = "otsu"
    replace: bool = False
    return_attention: bool = False
    return_score: bool = False
    normalise: bool = False

    def __post_init__(self) -> None:
        METHODS.get(self.backend)
        check_metric(self.metric)
        check_threshold(self.threshold)
        writing = [word for word in ("save_maps", "save_npz", "save_scores") if getattr(self, word)]
        if writing and self.output_dir is None:
            msg = f"{writing[0]} needs output_dir, the folder to write to"
            raise ConfigError(msg)
