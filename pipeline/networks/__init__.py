"""Networks on chest-CT volumes, by class or by name."""

from .axialnet import NETWORKS, AxialNet
from .backbones import BACKBONES, Backbone, SmallBackbone, Tap, build_backbone
from .densenets import DenseNet
from .heatmap_baselines import FPN, PAN, CAMNetwork, DeepLabV3Plus, Li2018, UNet
from .pylon import Pylon
from .registry import Registry
from .resnets import ResNet, ResNet18
from .weights import load_backbone_weights, load_network_weights

__all__ = [
    "BACKBONES",
    "FPN",
    "NETWORKS",
    "PAN",
    "AxialNet",
    "Backbone",
    "CAMNetwork",
    "DeepLabV3Plus",
    "DenseNet",
    "Li2018",
    "Pylon",
    "Registry",
    "ResNet",
    "ResNet18",
    "SmallBackbone",
    "Tap",
    "UNet",
    "build_backbone",
    "load_backbone_weights",
    "load_network_weights",
]
