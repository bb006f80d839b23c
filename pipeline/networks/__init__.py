"""Networks on chest-CT volumes, by class or by name."""

from .axialnet import NETWORKS, AxialNet
from .backbones import BACKBONES, Backbone, ResNet18, SmallBackbone, load_backbone_weights
from .registry import Registry

__all__ = [
    "BACKBONES",
    "NETWORKS",
    "AxialNet",
    "Backbone",
    "Registry",
    "ResNet18",
    "SmallBackbone",
    "load_backbone_weights",
]
