"""Volumetric attention of any network: raw and signed, of all outputs at once, in closed form or by gradients."""

from ..modules import unwrap
from ..plugins import METHODS
from .export import ScanAttention, read_attention, scan_attention, write_attention
from .linear_head import LinearHead, closed_form_maps, contributions
from .listener import AttentionListener
from .maps import attention_by_method, attention_maps
from .methods import (
    cam,
    gradcam,
    gradcam_plus_plus,
    gradient,
    gradient_x_input,
    guided_backprop,
    guided_gradcam,
    hirescam,
    layercam,
    looks_at,
    occlusion,
    positive_part,
    scale_to_one,
    xgradcam,
)
from .resample import to_cells, to_input_grid
from .result import AttentionMaps
from .targets import SegmentationTarget

__all__ = [
    "METHODS",
    "AttentionListener",
    "AttentionMaps",
    "LinearHead",
    "ScanAttention",
    "SegmentationTarget",
    "attention_by_method",
    "attention_maps",
    "cam",
    "closed_form_maps",
    "contributions",
    "gradcam",
    "gradcam_plus_plus",
    "gradient",
    "gradient_x_input",
    "guided_backprop",
    "guided_gradcam",
    "hirescam",
    "layercam",
    "looks_at",
    "occlusion",
    "positive_part",
    "read_attention",
    "scale_to_one",
    "scan_attention",
    "to_cells",
    "to_input_grid",
    "unwrap",
    "write_attention",
    "xgradcam",
]
