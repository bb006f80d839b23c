"""What the maps of all labels cost, in CPU seconds and as a ratio to one plain forward pass.

Run ``python tests/benchmarks/bench_attention.py``; captum and grad-cam are timed on a few labels, scaled to all, where
they are installed (``pip install organcam[bench]``). CPU time is printed because it does not suffer from other jobs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch

from organcam.attention import attention_maps
from organcam.networks import AxialNet

TIMED_LABELS = 4  # of the libraries that walk through the whole network once per label


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    """The fastest of some runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def candidates(network: AxialNet, x: torch.Tensor) -> dict[str, tuple[Callable[[], object], float]]:
    """Name -> (work, factor to all labels)."""
    M = network.num_labels

    def plain() -> torch.Tensor:
        with torch.no_grad():
            return network(x)

    found: dict[str, tuple[Callable[[], object], float]] = {
        "plain forward": (plain, 1),
        "organcam, closed form": (lambda: attention_maps(network, x), 1),
        "organcam, gradients from the head": (lambda: attention_maps(network, x, layer="head"), 1),
        "organcam, gradients from layer4": (lambda: attention_maps(network, x, layer="backbone.layer4"), 1),
    }
    if find_spec("captum"):
        from captum.attr import LayerGradientXActivation

        method = LayerGradientXActivation(network, network.head)
        found["captum LayerGradientXActivation"] = (
            lambda: [method.attribute(x, target=label) for label in range(TIMED_LABELS)],
            M / TIMED_LABELS,
        )
    if find_spec("pytorch_grad_cam"):
        from pytorch_grad_cam import HiResCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = HiResCAM(_SlabsAsBatch(network, len(x[0])), [network.head])
        found["grad-cam HiResCAM"] = (
            lambda: [cam(x[0], [ClassifierOutputTarget(label)] * len(x[0])) for label in range(TIMED_LABELS)],
            M / TIMED_LABELS,
        )
    return found


class _SlabsAsBatch(torch.nn.Module):
    """grad-cam knows two-dimensional images only: the slabs of one scan are its batch, all with the scan's logits."""

    def __init__(self, network: AxialNet, slabs: int) -> None:
        super().__init__()
        self.network, self.slabs = network, slabs

    def forward(self, slabs: torch.Tensor) -> torch.Tensor:
        return self.network(slabs[None]).expand(self.slabs, -1) / self.slabs


def main() -> None:
    """Print one line per way to get the maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slabs", type=int, default=9)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    size = (arguments.size, arguments.size)
    network = AxialNet(arguments.labels, input_shape=(3 * arguments.slabs, *size), channels_last=True).eval()
    x = torch.randn(1, arguments.slabs, 3, *size)
    ways = candidates(network, x)
    ways["plain forward"][0]()  # warm
    forward = 0.0
    volume = f"{arguments.slabs} slabs of 3 x {arguments.size} x {arguments.size}"
    print(f"{arguments.labels} labels, {volume}, {torch.get_num_threads()} threads")
    for name, (work, factor) in ways.items():
        seconds = cpu_seconds(work, arguments.repeats) * factor
        forward = forward or seconds
        scaled = "" if factor == 1 else f"  (timed on {TIMED_LABELS} labels)"
        print(f"{name:36} {seconds:8.2f} CPU s  {seconds / forward:7.1f} x a forward pass{scaled}")


if __name__ == "__main__":
    main()
