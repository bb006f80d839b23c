"""Volumetric attention: HiResCAM and Grad-CAM, raw and signed, in closed form or by gradients."""

from ..modules import unwrap
from ..plugins import METHODS
from .export import ScanAttention, map_on_volume, read_attention, scan_attention, write_attention, write_map
from .linear_head import LinearHead, closed_form_maps, contributions
from .listener import AttentionListener
from .maps import AttentionMaps, attention_by_method, attention_maps
from .methods import gradcam, hirescam
from .resample import to_input_grid

__all__ = [
    "METHODS",
    "AttentionListener",
    "AttentionMaps",
    "LinearHead",
    "ScanAttention",
    "attention_by_method",
    "attention_maps",
    "closed_form_maps",
    "contributions",
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
