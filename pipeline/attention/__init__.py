"""Volumetric attention: HiResCAM and Grad-CAM, raw and signed, in closed form or by gradients."""

from ..modules import unwrap
from .export import ScanAttention, map_on_volume, read_attention, scan_attention, write_attention, write_map
from .linear_head import LinearHead, closed_form_maps, contributions
from .maps import AttentionMaps, attention_by_method, attention_maps
from .methods import METHODS, get_method, gradcam, hirescam
from .resample import to_input_grid

__all__ = [
    "METHODS",
    "AttentionMaps",
    "LinearHead",
    "ScanAttention",
    "attention_by_method",
    "attention_maps",
    "closed_form_maps",
    "contributions",
    "get_method",
    "gradcam",
    "hirescam",
    "map_on_volume",
    "read_attention",
    "scan_attention",
    "to_input_grid",
    "unwrap",
    "write_attention",
    "write_map",
]
