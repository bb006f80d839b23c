"""M3d-CAM's one line: a network that explains itself at every call, writes its maps and scores them against masks."""

from ..metrics.functional.mask_score import METRICS, compute_score
from .evaluation import Evaluator
from .layers import MapLayer, map_layers
from .network import InjectedNetwork, get_layers, inject
from .options import InjectionOptions

__all__ = [
    "METRICS",
    "Evaluator",
    "InjectedNetwork",
    "InjectionOptions",
    "MapLayer",
    "compute_score",
    "get_layers",
    "inject",
    "map_layers",
]
