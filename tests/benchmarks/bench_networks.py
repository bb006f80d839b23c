"""The tables of ``docs/networks.md``; prints, asserts nothing.

    python tests/benchmarks/bench_networks.py [--labels 80] [--shape 405 420 420]

Parameters, cells and attention of every network at its published size. Networks are built on the meta device, so that
it takes seconds and no memory.

    python tests/benchmarks/bench_networks.py --trained runs/networks [--workers 2] [--only pylon fpn]

Every network, made small, trained, explained and judged by the phantom workflow: parameters, CPU milliseconds of a
forward pass and of a training step with one scan on one thread, and AUROC, OrganIoU and pointing on the test split.
One network after another, each printed when it is done; what is done already is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from organcam.networks import NETWORKS
from organcam.stages.grids import build_model
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SMALL = {"backbone": "small"}
TRAINED: dict[str, dict[str, Any]] = {
    "axialnet": {"name": "axialnet", **SMALL, "head_channels": [32, 16], "head_kernel": 1},
    "axialnet_published_head": {"name": "axialnet", **SMALL, "head": "reference"},
    "axialnet_no_head": {"name": "axialnet", **SMALL, "head": "none"},
    "axialnet_pylon_head": {"name": "axialnet", **SMALL, "head": "pylon", "head_channels": [32]},
    "final3dconv": {"name": "axialnet", **SMALL, "head": "reference", "pooling": "linear"},
    "bodycam": {"name": "bodycam", **SMALL},
    "ctnet": {"name": "ctnet", **SMALL},
    "bodyconv": {"name": "bodyconv", **SMALL, "depth_stride": 1},
    "conv3d": {"name": "conv3d", "strides": [[2, 3, 3], [1, 3, 3], [1, 2, 2], [1, 1, 1]]},
    "resnet34v_small": {"name": "resnet34v", **SMALL},
    "pylon": {"name": "pylon", **SMALL},
    "pylon_mean": {"name": "pylon", **SMALL, "pooling": "mean"},
    "pylon_volume": {"name": "pylon", **SMALL, "pooling": "mean", "spatial_dims": 3},
    "cam": {"name": "cam", **SMALL},
    "li2018": {"name": "li2018", **SMALL},
    "fpn": {"name": "fpn", **SMALL},
    "pan": {"name": "pan", **SMALL},
    "deeplabv3plus": {"name": "deeplabv3plus", **SMALL},
    "unet": {"name": "unet", **SMALL, "widths": [16, 16, 16]},
    "masked_pooling": {"name": "masked_pooling", **SMALL},
    "monai_densenet": {"name": "monai.DenseNet", "block_config": [2, 2, 2], "growth_rate": 16, "init_features": 16},
    "monai_resnet10_volume": {"name": "monai.resnet10", "spatial_dims": 3, "widen_factor": 0.25, "conv1_t_stride": 2},
}
"""Model name -> its line of the phantom workflow."""

PHANTOM = (
    "phantom.scans={train: 100, valid: 40, test: 40}",
    "phantom.interventions=0",
    "labels.min_positives=10",
    "train.epochs=5",
    "train.validate_every=5",
    "explain.splits=[valid, test]",
    "report.scans=1",
)
REPEATS = 5

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


def print_trained(folder: Path, names: Iterable[str], workers: int) -> None:
    """Run the phantom workflow with one model after another, all on the same scans, and print what became of each.

    A model's row is kept as soon as it is known, so that a run that was stopped goes on with the next one.
    """
    print("| network | parameters | forward, CPU ms | training step, CPU ms | AUROC | OrganIoU | pointing |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        kept = folder / "rows" / f"{name}.json"
        if not kept.is_file():
            row = trained_row(folder / "run", name, workers)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(row), "utf-8")
        print(f"| {name} | {' | '.join(json.loads(kept.read_text('utf-8')))} |", flush=True)


def trained_row(folder: Path, name: str, workers: int) -> list[str]:
    """What the table says of one network."""
    models = json.dumps({name: {"network": TRAINED[name]}})
    workflow = load_workflow("phantom", [*PHANTOM, "network={}", f"models={models}"])
    run_workflow(workflow, folder, workers=workers)
    summary = json.loads((folder / "evaluation" / "summary.json").read_text("utf-8"))
    if name not in summary["models"]:
        return ["training failed, see failures.csv", *[""] * 5]
    labels = len(torch.load(folder / "models" / name / "model.pt", weights_only=True)["labels"])
    network = build_model(TRAINED[name], workflow.input, labels)
    forward, step = seconds_of(network, labels, workflow.input.shape)
    test = summary["models"][name]["splits"]["test"]
    parameters = f"{sum(p.numel() for p in network.parameters()):,}"
    return [parameters, f"{1000 * forward:.0f}", f"{1000 * step:.0f}", *figures_of(test)]


def figures_of(split: Mapping[str, Any]) -> list[str]:
    """AUROC (median over labels), OrganIoU and pointing accuracy of HiResCAM."""
    values = (split["auroc_median"], split["organ_iou"]["hirescam"], split["pointing"]["hirescam"])
    return ["-" if value is None else f"{value:.3f}" for value in values]


def seconds_of(network: nn.Module, labels: int, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Median CPU seconds of a forward pass in evaluation, and of a forward and backward pass in training; one scan."""
    torch.set_num_threads(1)
    D, H, W = shape
    x = torch.randn(1, 1, D, H, W) if network.input_layout == "volume" else torch.randn(1, D // 3, 3, H, W)
    given = {}
    if getattr(network, "takes_allowed", False):
        given["allowed"] = torch.ones(1, labels, *network.feature_grid(shape).shape, dtype=torch.bool)
    with torch.no_grad():
        forward = median_seconds(lambda: network.eval()(x, **given))

    def step() -> None:
        network.zero_grad()
        network.train()(x, **given).sum().backward()

    return forward, median_seconds(step)


def median_seconds(call: Callable[[], object]) -> float:
    """Of some calls after a first one."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()  # of one thread: other programs on the machine do not count
        call()
        times.append(time.process_time() - start)
    return median(times)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--shape", type=int, nargs=3, default=(405, 420, 420), metavar=("D", "H", "W"))
    parser.add_argument("--trained", type=Path, metavar="FOLDER")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=sorted(TRAINED), default=list(TRAINED), metavar="MODEL")
    chosen = parser.parse_args()
    if chosen.trained is not None:
        print_trained(chosen.trained, chosen.only, chosen.workers)
        return
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
