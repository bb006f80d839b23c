"""Networks on chest-CT volumes, by class or by name; `NetworkContract` is what a new one has to offer."""

from ..contract import NetworkContract, contract_of
from .axialnet import NETWORKS, AxialNet
from .backbones import BACKBONES, Backbone, SmallBackbone, Tap, build_backbone
from .densenets import DenseNet
from .efficientnets import EfficientNet
from .finetuning import set_trainable
from .heatmap_baselines import FPN, PAN, CAMNetwork, DeepLabV3Plus, Li2018, UNet
from .linear_networks import BodyCAM, DenseNet121v, ResNet34v
from .masked_pooling import MaskedPooling, MaskedPoolingNetwork
from .monai_networks import MonaiNetwork
from .pylon import Pylon
from .resnets import ResNet, ResNet18
from .senets import SENet
from .volumetric import BodyConv, Conv3DNet, CTNet
from .weights import load_backbone_weights, load_network_weights
from .with_allowed import WithAllowed

__all__ = [
    "BACKBONES",
    "FPN",
    "NETWORKS",
    "PAN",
    "AxialNet",
    "Backbone",
    "BodyCAM",
    "BodyConv",
    "CAMNetwork",
    "CTNet",
    "Conv3DNet",
    "DeepLabV3Plus",
    "DenseNet",
    "DenseNet121v",
    "EfficientNet",
    "Li2018",
    "MaskedPooling",
    "MaskedPoolingNetwork",
    "MonaiNetwork",
    "NetworkContract",
    "Pylon",
    "ResNet",
    "ResNet18",
    "ResNet34v",
    "SENet",
    "SmallBackbone",
    "Tap",
    "UNet",
    "WithAllowed",
    "build_backbone",
    "contract_of",
    "load_backbone_weights",
    "load_network_weights",
    "set_trainable",
]
