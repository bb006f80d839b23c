"""AxialNet on a whole chest, 135 slabs of 3 x 420 x 420: inference, a training step, and the wait for data.

python tests/benchmarks/bench_training.py [inference] [step] [data] [--threads 2] [--device cpu|cuda]

Prints tables of seconds and of memory above the input, each row in a process of its own, beside the naive form in the
same run; asserts nothing. On ``cuda`` also how much of the measured matrix-product ceiling a step reaches, and how long
an epoch of 25,355 scans takes. The naive training step stores about 75 MB a slab, so it is made with fewer slabs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from organcam.config import InputConfig, TrainConfig
from organcam.data.region_store import write_regions
from organcam.data.volume_store import write_stored
from organcam.engines import loader, prepare_batch, training_transforms
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import NETWORKS

SLABS, SIDE, LABELS, SCANS = 135, 420, 80, 25_355
LEAN = {"channels_last": True, "chunk": 9}
INFERENCE = {
    "naive (float32, all at once)": {},
    "chunks of 9": {"network": {"chunk": 9}},
    "channels last, chunks of 9": {"network": LEAN},
    "the same, bfloat16": {"network": LEAN, "bfloat16": True},
}
STEP = {
    "naive (float32, all at once), 45 slabs": {"slabs": 45},
    "channels last, recomputed in chunks of 9, 45 slabs": {"slabs": 45, "network": {**LEAN, "checkpoint": True}},
    "the same, 135 slabs": {"network": {**LEAN, "checkpoint": True}},
    "the same, bfloat16": {"network": {**LEAN, "checkpoint": True}, "bfloat16": True},
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["inference", "step", "data"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--slabs", type=int, default=SLABS)
    parser.add_argument("--passes", type=int, default=2, help="of each row, of which the quickest counts")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(measure(json.loads(given.one), given.device, given.passes)))
        return
    name = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} threads"
    for part in given.parts:
        if part == "data":
            wait_for_data(given.slabs, given.device)
            continue
        print(f"\n{part}, {name}\n{'':52}  seconds  CPU seconds  MB above the input")
        for title, wanted in {"inference": INFERENCE, "step": STEP}[part].items():
            case = json.dumps({"slabs": given.slabs, **wanted, "training": part == "step"})
            options = ["--device", given.device, "--threads", str(given.threads), "--passes", str(given.passes)]
            command = [sys.executable, "-W", "ignore", __file__, "--one", case, *options]
            done = subprocess.run(command, stdout=-1, check=True, text=True)
            print(line(title, json.loads(done.stdout.splitlines()[-1])), flush=True)


def line(title: str, row: dict[str, float]) -> str:
    """A row of a table."""
    text = f"{title:52} {row['seconds']:8.3g} {row['cpu']:12.3g} {row['megabytes']:12.0f}"
    if "ceiling" in row:
        days = row["seconds"] * SCANS / 86400
        text += f"   {row['ceiling']:.0%} of the ceiling, {days:.2g} days an epoch of {SCANS:,}"
    return text


def measure(case: dict[str, Any], device: str, passes: int) -> dict[str, float]:
    """Best of some passes: seconds, CPU seconds, and the largest memory less that before the first."""
    torch.manual_seed(0)
    slabs, options = case["slabs"], case.get("network", {})
    shape = (3 * slabs, SIDE, SIDE)
    network = NETWORKS.build("axialnet", num_labels=LABELS, input_shape=shape, frozen_norm=True, **options).to(device)
    network.train(case["training"])
    image = torch.rand(1, slabs, 3, SIDE, SIDE, device=device)
    allowed = torch.rand(1, LABELS, *network.feature_grid(shape).shape, device=device) > 0.5
    target = {"label": (torch.rand(1, LABELS, device=device) > 0.9).float(), "allowed": allowed}
    loss = ClassAndMaskLoss(MaskLoss())
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.99)

    def once() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=case.get("bfloat16", False)):
            if not case["training"]:
                with torch.no_grad():
                    network(image)
                return
            total = loss(network(image, attention=True), target)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    before = _memory(device)
    found = [_timed(once, device) for _ in range(passes)]
    row = dict(zip(("seconds", "cpu"), min(found), strict=True))
    row["megabytes"] = _memory(device, largest=True) - before
    if device == "cuda":
        with FlopCounterMode(display=False) as counter:
            once()
        row["ceiling"] = counter.get_total_flops() / row["seconds"] / _ceiling(case.get("bfloat16", False))
    return row


def wait_for_data(slabs: int, device: str, scans: int = 4) -> None:
    """Share of an epoch spent waiting for the next batch, with volumes in the store and none in memory."""
    shape = (3 * slabs, SIDE, SIDE)
    options = {"frozen_norm": True, "checkpoint": True, **LEAN}
    network = NETWORKS.build("axialnet", num_labels=LABELS, input_shape=shape, **options).to(device)
    loss, optimizer = ClassAndMaskLoss(MaskLoss()), torch.optim.SGD(network.parameters(), 1e-3)
    print(f"\nwaiting for data: {scans} scans of {shape} from the store, steps in bfloat16")
    with tempfile.TemporaryDirectory() as name:
        items = stored(Path(name), shape, network.feature_grid(shape).shape, scans)
        steps = training_transforms(InputConfig(shape=shape), "bench", augment=True, layout="slabs")
        for workers in (0, 1) if device == "cpu" else (0, 4, 8, 16):
            settings = TrainConfig(cache_gb=0.0, loader_workers=workers, device=device)
            batches = loader(items, steps, settings, int(np.prod(shape)), 0, shuffle=True)
            began, waits, coming = time.perf_counter(), [], iter(batches)
            for _ in range(scans):
                asked = time.perf_counter()
                batch = next(coming)
                waits.append(time.perf_counter() - asked)
                image, target = prepare_batch(batch, torch.device(device))
                with torch.autocast(device, dtype=torch.bfloat16):
                    total = loss(network(image, attention=True), target)
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                float(total)
            whole = time.perf_counter() - began
            share = sum(waits[1:]) / (whole - waits[0])
            print(
                f"{workers} reading processes: {share:.1%} of the time waited after the first batch ({waits[0]:.2f} s)"
            )


def stored(folder: Path, shape: tuple[int, int, int], grid: tuple[int, ...], count: int) -> list[dict[str, Any]]:
    """Smooth anatomy with the noise of a scanner, in the volume store, and random regions."""
    rng, items = np.random.default_rng(0), []
    z, y, x = np.ogrid[0 : shape[0], 0 : shape[1], 0 : shape[2]]
    body = -1000 + 1000 * (((y - SIDE / 2) / 150) ** 2 + ((x - SIDE / 2) / 190) ** 2 < 1) + 0 * z
    for number in range(count):
        volume = body + rng.normal(0, 20, shape)
        write_stored(folder / f"{number}.b2nd", volume.astype(np.int16))
        with (folder / f"{number}.npz").open("wb") as stream:
            write_regions(stream, {"bench": rng.random((7, *grid)) > 0.5})
        items.append(
            {
                "scan_id": str(number),
                "image": str(folder / f"{number}.b2nd"),
                "regions": str(folder / f"{number}.npz"),
                "label": torch.from_numpy(rng.random(LABELS) > 0.9).float(),
                "places": torch.from_numpy(rng.integers(0, 2, (LABELS, 3)).astype(np.uint8)),
            }
        )
    return items


def _timed(once: Any, device: str) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    once()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - cpu


def _memory(device: str, largest: bool = False) -> float:
    """MB in use, or the most so far."""
    if device == "cuda":
        return (torch.cuda.max_memory_allocated() if largest else torch.cuda.memory_allocated()) / 1e6
    if largest:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def _ceiling(bfloat16: bool) -> float:
    """Operations a second of a large matrix product on this GPU."""
    one = torch.rand(8192, 8192, device="cuda", dtype=torch.bfloat16 if bfloat16 else torch.float32)
    best = min(_timed(lambda: one @ one, "cuda")[0] for _ in range(20))
    return 2 * 8192**3 / best


if __name__ == "__main__":
    main()
