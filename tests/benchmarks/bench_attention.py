"""What the maps of all labels cost, in CPU seconds and as a ratio to one plain forward pass.

python tests/benchmarks/bench_attention.py

Prints the tables of ``docs/benchmarks.md``, "Attention": the closed form of AxialNet, a 3D DenseNet and a 3D U-Net by
gradients beside the least that any implementation has to do, other libraries where they are installed (``pip install
organcam[dev]``; those that walk through the whole network once per label are timed on a few and scaled to all), peak
memory of a process of its own, and the writing of one full-size map. CPU time is taken, because it does not suffer from
other jobs; the fastest of some runs, all ways in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DenseNet121, UNet
from monai.visualize import GradCAM
from torch import Tensor, nn

from organcam.attention import AttentionMaps, attention_maps
from organcam.geometry import FeatureGrid
from organcam.networks import AxialNet

TIMED_LABELS = 3  # of the libraries that walk through the whole network once per label
Ways = dict[str, tuple[Callable[[], object], float]]


def cpu_seconds(ways: Ways, repeats: int) -> dict[str, float]:
    """The fastest of some runs of each, taken in turn, scaled to all labels."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):  # the first warms
        for name, (work, factor) in ways.items():
            start = time.process_time()
            work()
            times[name].append((time.process_time() - start) * factor)
    return {name: min(found[1:]) for name, found in times.items()}


def show(title: str, seconds: dict[str, float], base: str) -> None:
    """One line a way."""
    print(f"\n{title}\n")
    print(f"| way | CPU s | times {base} |\n|---|---|---|")
    for name, one in seconds.items():
        print(f"| {name} | {one:.2f} | {one / seconds[base]:.2f} |")


def forward(network: nn.Module, x: Tensor) -> Callable[[], object]:
    """A plain pass."""

    def run() -> object:
        with torch.no_grad():
            return network(x)

    return run


def libraries(network: nn.Module, x: Tensor, layer: str, labels: int, score: Callable[[Tensor, int], Tensor]) -> Ways:
    """Others, on a few labels."""
    module, few = network.get_submodule(layer), range(min(TIMED_LABELS, labels))
    factor = labels / len(few)

    class Scores(nn.Module):
        """Segmentation by one score for each class."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> Tensor:
            output = self.network(image)
            return torch.stack([score(output, label) for label in range(labels)], dim=1)

    scores = Scores().eval()
    monai = GradCAM(scores, f"network.{layer}")
    found: Ways = {"MONAI GradCAM, raw": (lambda: [monai.compute_map(x, class_idx=label) for label in few], factor)}
    if find_spec("captum"):
        from captum.attr import LayerGradientXActivation

        captum = LayerGradientXActivation(scores, module)
        found["captum LayerGradientXActivation"] = (lambda: [captum.attribute(x, target=one) for one in few], factor)
    if find_spec("torchcam"):
        from torchcam.methods import LayerCAM

        def torchcam() -> None:
            with LayerCAM(scores, module) as cam:
                out = scores(x)
                for label in range(labels):
                    cam(label, out, retain_graph=True)

        found["torchcam LayerCAM"] = (torchcam, 1)  # one forward pass, so that all labels are timed
    if find_spec("pytorch_grad_cam"):
        from pytorch_grad_cam import GradCAM as PytorchGradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        def grad_cam() -> None:
            with PytorchGradCAM(scores, [module]) as cam:
                for label in few:
                    cam(x, [ClassifierOutputTarget(label)])

        found["pytorch-grad-cam GradCAM"] = (grad_cam, factor)
    if find_spec("medcam"):
        from medcam import medcam

        def inject() -> None:
            for label in few:
                medcam.inject(scores, backend="gcam", layer=f"network.{layer}", label=label, replace=True)(x)

        found["medcam gcam"] = (inject, factor)
    return {name: way for name, way in found.items() if works(name, way[0])}


def works(name: str, way: Callable[[], object]) -> bool:
    """Whether a library can explain this network at all; said where it cannot."""
    try:
        way()
    except Exception as error:
        print(f"{name} cannot: {type(error).__name__}: {error}")
        return False
    return True


def least(network: nn.Module, x: Tensor, layer: str, labels: int, score: Callable[[Tensor, int], Tensor]) -> Ways:
    """One forward pass, and one backward pass a label from the scores to the layer: one by one, and batched."""

    def cut() -> tuple[Tensor, Tensor]:
        kept: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            torch.set_grad_enabled(True)
            kept.append(output.detach().requires_grad_())
            return kept[0].clone()

        handle = network.get_submodule(layer).register_forward_hook(keep)
        with torch.no_grad():
            output = network(x)
            scores = torch.stack([score(output, label) for label in range(labels)], dim=1)
        handle.remove()
        return scores, kept[0]

    def one_by_one() -> list[Tensor]:
        scores, z = cut()
        return [torch.autograd.grad(scores[:, one].sum(), z, retain_graph=True)[0] for one in range(labels)]

    def batched() -> Tensor:
        scores, z = cut()
        rows = torch.eye(labels)[:, None].expand(-1, len(x), -1)
        return torch.autograd.grad(scores, z, rows, is_grads_batched=True)[0]

    return {"least possible, one by one": (one_by_one, 1), "least possible, batched": (batched, 1)}


def logit(output: Tensor, label: int) -> Tensor:
    """Score of a classifier."""
    return output[:, label]


def predicted(output: Tensor, label: int) -> Tensor:
    """Score of a segmentation network: the logits of a class where it is predicted."""
    return (output[:, label] * (output.argmax(1) == label)).flatten(1).sum(1)


def axialnet(arguments: argparse.Namespace) -> tuple[AxialNet, Tensor]:
    """The network of the closed form."""
    torch.manual_seed(0)
    size = (arguments.size, arguments.size)
    network = AxialNet(arguments.labels, input_shape=(3 * arguments.slabs, *size), channels_last=True, chunk=9).eval()
    return network, torch.randn(1, arguments.slabs, 3, *size)


def bench_closed(arguments: argparse.Namespace) -> None:
    """AxialNet: closed form, gradients, others."""
    network, x = axialnet(arguments)
    labels = arguments.labels
    ways: Ways = {
        "plain forward": (forward(network, x), 1),
        "organcam, closed form": (lambda: attention_maps(network, x), 1),
        "organcam, gradients from the head": (lambda: attention_maps(network, x, layer="head"), 1),
    }
    if not arguments.own:
        ways |= libraries(network, x, "head", labels, logit)
    volume = f"{arguments.slabs} slabs of 3 x {arguments.size} x {arguments.size}"
    show(f"AxialNet, {labels} labels, {volume}", cpu_seconds(ways, arguments.repeats), "plain forward")


def bench_gradients(
    title: str, network: nn.Module, x: Tensor, layer: str, labels: int, score: object, arguments: argparse.Namespace
) -> None:
    """A network without closed form (at that layer)."""
    assert callable(score)
    ways: Ways = {"plain forward": (forward(network, x), 1), **least(network, x, layer, labels, score)}
    ways["organcam"] = (lambda: attention_maps(network, x, layer=layer), 1)
    if not arguments.own:
        ways |= libraries(network, x, layer, labels, score)
    seconds = cpu_seconds(ways, arguments.repeats)
    show(title, seconds, "plain forward")
    best = min(seconds["least possible, one by one"], seconds["least possible, batched"])
    print(f"\norgancam takes {seconds['organcam'] / best:.2f} of the least possible")


def peak_memory(arguments: argparse.Namespace) -> None:
    """Peak of a process that does one thing, libraries and network included, and how much of it is that thing's."""
    print("\n| process | peak MB | times plain forward | grows by MB |\n|---|---|---|---|")
    first = 0.0
    for name in ("plain forward", "closed form", "gradients"):
        command = [
            sys.executable,
            __file__,
            "--only",
            name,
            "--slabs",
            str(arguments.slabs),
            "--size",
            str(arguments.size),
        ]
        told = subprocess.run([*command, "--labels", str(arguments.labels)], capture_output=True, text=True, check=True)
        peak, before = (float(one) for one in told.stdout.split()[-2:])
        first = first or peak
        print(f"| AxialNet, {name} | {peak:.0f} | {peak / first:.2f} | {peak - before:.0f} |")


def only(name: str, arguments: argparse.Namespace) -> None:
    """One of the processes of ``peak_memory``."""
    network, x = axialnet(arguments)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading libraries and building the network
    {
        "plain forward": forward(network, x),
        "closed form": lambda: attention_maps(network, x),
        "gradients": lambda: attention_maps(network, x, layer="head"),
    }[name]()
    print(memory("VmHWM"), before)


def memory(field: str) -> float:
    """Megabytes of this process, as Linux counts them."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def bench_saving(arguments: argparse.Namespace) -> None:
    """One map on 405 x 420 x 420 voxels, upsampled and written."""
    grid = FeatureGrid((135, 14, 14), (3, 30, 30), (1, 14.5, 14.5), (3, 691, 691), (405, 420, 420))
    maps = AttentionMaps(torch.randn(1, 1, *grid.shape), torch.ones(1, 1), "hirescam", (0,), "head", grid, False)
    with tempfile.TemporaryDirectory() as folder:
        ways: Ways = {
            f"save {ending}": (
                lambda ending=ending: maps.save(Path(folder) / f"map{ending}", affine=np.eye(4)),  # type: ignore[misc]
                1,
            )
            for ending in (".nii.gz", ".nii", ".npz")
        }
        seconds = cpu_seconds(ways, arguments.repeats)
        print("\n| one map of 405 x 420 x 420 | CPU s | MB |\n|---|---|---|")
        for name, one in seconds.items():
            size = (Path(folder) / f"map{name.removeprefix('save ')}").stat().st_size / 1e6
            print(f"| {name} | {one:.2f} | {size:.1f} |")


def main() -> None:
    """Print the tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slabs", type=int, default=27)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--labels", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--own", action="store_true", help="leave the other libraries out")
    parser.add_argument("--part", action="append", choices=PARTS, help="some of the tables; repeatable, default all")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments.only, arguments)
        return
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for part in arguments.part or PARTS:
        PARTS[part](arguments)


def bench_densenet(arguments: argparse.Namespace) -> None:
    """Close to the head, where backward passes are nearly free, and far from it."""
    torch.manual_seed(0)
    network, x = DenseNet121(spatial_dims=3, in_channels=1, out_channels=20).eval(), torch.randn(1, 1, 64, 64, 64)
    for layer in ("class_layers.relu", "features.denseblock3"):
        bench_gradients(f"3D DenseNet-121, 20 labels, 64³ voxels, {layer}", network, x, layer, 20, logit, arguments)


def bench_unet(arguments: argparse.Namespace) -> None:
    """All classes of a segmentation network."""
    torch.manual_seed(0)
    network, x = UNet(3, 1, 6, (16, 32, 64, 128), (2, 2, 2), num_res_units=2).eval(), torch.randn(1, 1, 64, 64, 64)
    bottom = "model.1.submodule.1.submodule.1.submodule"
    title = "3D U-Net, 6 classes where predicted, 64³ voxels, bottom"
    bench_gradients(title, network, x, bottom, 6, predicted, arguments)


PARTS = {
    "closed": bench_closed,
    "densenet": bench_densenet,
    "unet": bench_unet,
    "memory": peak_memory,
    "saving": bench_saving,
}


if __name__ == "__main__":
    main()
