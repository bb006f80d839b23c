"""Networks on chest-CT volumes, by class or by name."""

from .axialnet import NETWORKS, AxialNet
from .backbones import BACKBONES, Backbone, SmallBackbone, Tap, build_backbone
from .densenets import DenseNet
from .registry import Registry
from .resnets import ResNet, ResNet18
from .weights import load_backbone_weights, load_network_weights

__all__ = [
    "BACKBONES",
    "NETWORKS",
    "AxialNet",
    "Backbone",
    "DenseNet",
    "Registry",
    "ResNet",
    "ResNet18",
    "SmallBackbone",
    "Tap",
    "build_backbone",
    "load_backbone_weights",
    "load_network_weights",
]
