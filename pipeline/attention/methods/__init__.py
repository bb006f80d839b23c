"""Attention methods as pure functions of activations and gradients, one module each; raw and signed.

Neither ReLU nor normalisation is applied at the end of any of them (``postprocess`` has both): negative evidence is
evidence, and a map's scale carries the score.
"""

from .cam import cam
from .gradcam import gradcam
from .gradcam_plus_plus import gradcam_plus_plus
from .gradient import gradient
from .gradient_x_input import gradient_x_input
from .guided_backprop import guided_backprop
from .guided_gradcam import guided_gradcam
from .hirescam import hirescam
from .layercam import layercam
from .occlusion import occlusion
from .place import Place, looks_at, place_of
from .postprocess import positive_part, scale_to_one
from .xgradcam import xgradcam

__all__ = [
    "Place",
    "cam",
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
    "place_of",
    "positive_part",
    "scale_to_one",
    "xgradcam",
]
