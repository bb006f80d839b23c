"""Decoders: from a backbone's levels to one feature map."""

from .base import AxisCells, Decoder, LastLevel
from .deeplab import DeepLabDecoder, dilate
from .fpn import FPNDecoder
from .li2018 import Li2018Decoder
from .pylon import PylonDecoder, PyramidAttention, Up
from .unet import UNetDecoder

__all__ = [
    "AxisCells",
    "Decoder",
    "DeepLabDecoder",
    "FPNDecoder",
    "LastLevel",
    "Li2018Decoder",
    "PylonDecoder",
    "PyramidAttention",
    "UNetDecoder",
    "Up",
    "dilate",
]
