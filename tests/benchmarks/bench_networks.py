"""The table of ``docs/networks.md``: parameters, cells and attention of every network; prints, asserts nothing.

python tests/benchmarks/bench_networks.py [--labels 80] [--shape 405 420 420]

Networks are built on the meta device, so that it takes seconds and no memory.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

from organcam.networks import NETWORKS

LINES: dict[str, tuple[str, dict[str, object]]] = {
    "AxialNet, registered head": ("axialnet", {}),
    "AxialNet, published head": ("axialnet", {"head": "reference"}),
    "AxialNet, no head (NoCustomConv)": ("axialnet", {"head": "none"}),
    "AxialNet, PYLON head": ("axialnet", {"head": "pylon"}),
    "Final3DConv": (
        "axialnet",
        {"head": "reference", "pooling": "linear"},
    ),
    "BodyCAM": ("bodycam", {}),
    "CTNet": ("ctnet", {}),
    "BodyConv": ("bodyconv", {}),
    "3DConv": ("conv3d", {}),
    "ResNet-34v": ("resnet34v", {}),
    "DenseNet-121v": ("densenet121v", {}),
    "PYLON": ("pylon", {}),
    "PYLON, 1 layer": ("pylon", {"up_layers": 1}),
    "PYLON-ATT": ("pylon", {"up_layers": 1, "gate": True}),
    "PYLON, no PA, 1 layer": ("pylon", {"up_layers": 1, "pyramid": False}),
    "PYLON in 3D": ("pylon", {"spatial_dims": 3}),
    "Backbone (CAM)": ("cam", {}),
    "Li 2018": ("li2018", {}),
    "FPN": ("fpn", {}),
    "PAN": ("pan", {}),
    "PAN, no GAP": ("pan", {"average": False}),
    "DeepLabV3+": ("deeplabv3plus", {}),
    "DeepLabV3+, no GAP": ("deeplabv3plus", {"average": False}),
    "U-Net": ("unet", {}),
    "Masked pooling": ("masked_pooling", {}),
}


def build(name: str, options: dict[str, object], labels: int, shape: tuple[int, ...]) -> nn.Module:
    """On the meta device."""
    with torch.device("meta"):
        return NETWORKS.build(name, num_labels=labels, input_shape=shape, **options)


def attention_of(network: nn.Module) -> str:
    """How its maps are made."""
    if getattr(network, "takes_allowed", False):
        return "closed form, needs masks"
    batch = (network.in_channels, 64, 64) if hasattr(network, "in_channels") else None
    if batch is None:
        D, H, W = network.input_shape
        batch = (D // 3, 3, H, W)
    elif network.input_layout == "volume":
        batch = (1, 64, 64, 64)
    head = network.linear_head(torch.zeros(1, *batch, device="meta"))
    if head is None:
        return "by gradients"
    return "closed form" if head.pooling == "mean" else "the heatmap"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--shape", type=int, nargs=3, default=(405, 420, 420), metavar=("D", "H", "W"))
    chosen = parser.parse_args()
    print("| network | in a workflow | parameters | input | cells | attention |")
    print("|---|---|---|---|---|---|")
    for title, (name, options) in LINES.items():
        network = build(name, options, chosen.labels, tuple(chosen.shape))
        line = ", ".join([f"name: {name}", *(f"{key}: {str(value).lower()}" for key, value in options.items())])
        cells = " x ".join(map(str, network.feature_grid(chosen.shape).shape))
        parameters = f"{sum(p.numel() for p in network.parameters()):,}"
        print(f"| {title} | `{line}` | {parameters} | {network.input_layout} | {cells} | {attention_of(network)} |")


if __name__ == "__main__":
    main()
