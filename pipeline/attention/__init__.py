"""Volumetric attention: HiResCAM and Grad-CAM, raw and signed, in closed form or by gradients."""

from .extract import AttentionMaps, attention_by_method, attention_maps, unwrap
from .linear_head import LinearHead, closed_form_maps, contributions
from .methods import METHODS, get_method, gradcam, hirescam
from .resample import to_input_grid

__all__ = [
    "METHODS",
    "AttentionMaps",
    "LinearHead",
    "attention_by_method",
    "attention_maps",
    "closed_form_maps",
    "contributions",
    "get_method",
    "gradcam",
    "hirescam",
    "to_input_grid",
    "unwrap",
]
