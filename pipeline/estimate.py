"""What a run will take: hours, memory and disk of each stage, measured on a few of its own scans.

The stages that work scan by scan are really run on them, each in a fresh process, and one step of each network is taken
on the first of their stored volumes. What is told of a whole run is that, times its scans.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from math import prod
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from .candidates import all_candidates
from .config import Workflow
from .data.discover import scans_of
from .data.found import FoundScan
from .data.phantom import PhantomSettings, plan_dataset
from .errors import OrganCamError
from .runner.memory import default_limit, limit_memory
from .stages.splits import given_splits, listed_scans, split_scans

__all__ = ["Cost", "estimate_run", "model_bytes", "scan_counts"]

FOLDERS = {
    "phantom": ("phantom/truth/sidecars", "phantom"),
    "ingest": ("scans", "scans"),
    "segment": ("organs", "organs"),
    "store": ("volumes", "volumes"),
    "regions": ("regions", "regions"),
}
"""Stage -> where its sidecars lie, and what it fills."""
BLOCK = 512
COPIES = 1 + 1 + 2 * 4
"""Of a model's weights on disk: trained, chosen, and in two checkpoints with two moments and the best so far each."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Cost:
    """What one stage takes.

    Attributes:
        stage: its name; of ``train`` and ``explain`` with the model's.
        units: scans, or steps of training, of the whole run.
        seconds: of one of them, on one worker.
        memory_gb: of one worker at its peak; 0 where the system does not tell.
        disk_gb: of all of them together.
        shared: whether workers divide the units among them.
    """

    stage: str
    units: int
    seconds: float
    memory_gb: float
    disk_gb: float
    shared: bool = True

    def hours(self, workers: int) -> float:
        """Of all units, if nothing else slows the workers down."""
        return self.units * self.seconds / 3600 / (workers if self.shared else 1)


def estimate_run(
    workflow: Workflow, scans: int | None = None, sample: int = 2, tell: Callable[[str], None] | None = None
) -> list[Cost]:
    """Run the stages on some scans and tell what all of them would take.

    Args:
        workflow: checked settings; its data are read, nothing beside them is written.
        scans: of the data set that is meant; None for as many as there are.
        sample: how many are measured, spread over all that are there.
        tell: told what is measured next.

    Raises:
        OrganCamError: if the data cannot be found, or not one of the scans goes through a stage.
    """
    found: list[FoundScan] = []
    if workflow.phantom is None:
        found = listed_scans(scans_of(workflow.data).scans, given_splits(workflow.data), workflow.data)
    counts = scan_counts(workflow, found, scans)
    chosen = found[:: max(1, len(found) // sample)][:sample]
    with tempfile.TemporaryDirectory(prefix="organcam-plan-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        small = _sample_workflow(workflow, chosen, sample, root)
        costs = []
        for stage in (name for name in FOLDERS if name in workflow.stages()):
            if tell is not None:
                tell(f"measuring {stage} on {len(chosen) or sample} scans")
            costs.append(_measured(small, root, stage, counts["all"]))
        if tell is not None:
            tell("measuring a step of each network")
        return [*costs, *_training(workflow, root, counts)]


def scan_counts(workflow: Workflow, found: Sequence[FoundScan], scans: int | None = None) -> Counter[str]:
    """How many scans there are: ``all``, in ``train``, in ``valid``, and ``explained``.

    Args:
        workflow: checked settings.
        found: its scans; those of a phantom are told from its plan.
        scans: counts are scaled to so many.

    Raises:
        OrganCamError: if a table of splits cannot be read.
    """
    if workflow.phantom is not None:
        splits = [spec.split for spec in plan_dataset(workflow.phantom)]
    else:
        splits = list(split_scans(found, given_splits(workflow.data), workflow.data, workflow.seed)[0].values())
    inside = Counter(splits)
    scale = 1.0 if scans is None else scans / max(len(splits), 1)
    wanted = {"train": ("train",), "valid": ("valid",), "explained": tuple(workflow.explain.splits)}
    counts = Counter({"all": len(splits) if scans is None else scans})
    for name, own in wanted.items():
        everyone = inside["all"] if {"train", "valid", "test"} & set(own) else 0
        counts[name] = round(scale * (sum(inside[split] for split in own) + everyone))
    return counts


def outputs_at_most(workflow: Workflow) -> int:
    """How many labels a network may have: those named, or all there are."""
    from .stages.targets import legal_labels  # noqa: PLC0415 - the readers of label tables

    return len(legal_labels(workflow)) if workflow.labels.names == "all" else len(workflow.labels.names)


def model_bytes(workflow: Workflow, model: str, labels: int, scans: int) -> tuple[int, int]:
    """Bytes of a model's files for each candidate, and of its maps of some scans."""
    import torch  # noqa: PLC0415 - the quick checks do without

    from .stages.grids import build_model, grids_of_models  # noqa: PLC0415

    options = {key: value for key, value in workflow.network_of(model).items() if key != "weights"}
    with torch.device("meta"):
        network = build_model(options, workflow.input, labels)
    weights = sum(one.numel() * one.element_size() for one in network.state_dict().values())
    cells = prod(grids_of_models(workflow)[model].shape)
    return COPIES * weights, scans * labels * cells * 4 * len(workflow.explain.methods)


def _sample_workflow(workflow: Workflow, chosen: Sequence[FoundScan], sample: int, root: Path) -> Workflow:
    if workflow.phantom is not None:
        few = {**asdict(workflow.phantom), "scans": {"train": sample}, "interventions": 0}
        return workflow.model_copy(update={"phantom": PhantomSettings.from_mapping(few)})
    rows = [(scan.scan_id, str(scan.image), scan.patient_id, "all") for scan in chosen]
    table = root / "sample.csv"
    pd.DataFrame(rows, columns=["scan_id", "image", "patient_id", "split"]).to_csv(table, index=False)
    data = type(workflow.data)(kind=workflow.data.kind, images=table, max_voxels=workflow.data.max_voxels)
    return workflow.model_copy(update={"data": data})


def _measured(workflow: Workflow, root: Path, stage: str, units: int) -> Cost:
    sidecars, filled = FOLDERS[stage]
    before = _on_disk(root / filled)
    memory = _alone(_run_stage, workflow.document(), str(root), stage)
    made = [json.loads(path.read_text(encoding="utf-8")) for path in (root / sidecars).glob("*.json")]
    done = [sidecar for sidecar in made if sidecar.get("stage") == stage]
    if not done:
        from .runner import read_failures  # noqa: PLC0415

        reasons = [failure.reason for failure in read_failures(root) if failure.stage == stage]
        msg = f"not one of the scans that were tried goes through {stage}: {'; '.join(reasons[:1]) or 'none was tried'}"
        raise OrganCamError(msg)
    seconds = sum(sidecar["seconds"] for sidecar in done) / len(done)
    return Cost(stage, units, seconds, memory, (_on_disk(root / filled) - before) / len(done) * units / 1e9)


def _training(workflow: Workflow, root: Path, counts: Mapping[str, int]) -> Iterator[Cost]:
    labels = outputs_at_most(workflow)
    stored = next(iter(sorted((root / "volumes").glob("*.b2nd"))))
    for model in workflow.models:
        candidates = [one for one in all_candidates(workflow) if one.model == model]
        files, maps = model_bytes(workflow, model, labels, counts["explained"])
        (forward, step), memory = _alone_with_memory(_step, workflow.document(), model, labels, str(stored))
        epochs = [candidate.training(workflow).epochs for candidate in candidates]
        taken, looked = sum(epochs) * counts["train"], sum(epochs) * counts["valid"]
        seconds = (taken * step + looked * forward) / max(taken, 1)
        yield Cost(f"train {model}", taken, seconds, memory, len(candidates) * files / 1e9, shared=False)
        yield Cost(f"explain {model}", counts["explained"], forward, memory, maps / 1e9)


def _on_disk(folder: Path) -> int:
    """Bytes that the files of a folder take, in whole blocks where the system tells."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            total += getattr(status, "st_blocks", -(-status.st_size // BLOCK)) * BLOCK
    return total


def _alone(function: Callable[..., None], *arguments: Any) -> float:
    """Gigabytes that a function takes in a process of its own."""
    return _alone_with_memory(function, *arguments)[1]


def _alone_with_memory(function: Callable[..., Made], *arguments: Any) -> tuple[Made, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_with_peak, function, arguments).result()
        except BrokenProcessPool:
            msg = "what was measured took more memory than this machine has, and its process was ended"
            raise OrganCamError(msg) from None


def _with_peak(function: Callable[..., Made], arguments: tuple[Any, ...]) -> tuple[Made, float]:
    limit_memory(default_limit(1))
    made = function(*arguments)
    try:
        import resource  # noqa: PLC0415 - unix only
    except ImportError:
        return made, 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return made, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _run_stage(document: Mapping[str, Any], root: str, stage: str) -> None:
    from .stages.workflow import run_workflow  # noqa: PLC0415
    from .workflow_file import parse_workflow  # noqa: PLC0415

    run_workflow(parse_workflow(dict(document)), root, stages=[stage], executor="serial")


def _step(document: Mapping[str, Any], model: str, labels: int, stored: str) -> tuple[float, float]:
    """Seconds of a forward pass and of a whole step of training on one scan, attention included."""
    import torch  # noqa: PLC0415
    from monai.transforms import Compose  # noqa: PLC0415

    from .contract import contract_of, slices_of_slab, takes_allowed  # noqa: PLC0415
    from .engines import choose_device  # noqa: PLC0415
    from .engines.loaders import image_transforms  # noqa: PLC0415
    from .stages.grids import build_model, grids_of_models  # noqa: PLC0415
    from .workflow_file import parse_workflow  # noqa: PLC0415

    workflow = parse_workflow(dict(document))
    settings = workflow.training_of(model)
    device = choose_device(settings.device)
    options = {key: value for key, value in workflow.network_of(model).items() if key != "weights"}
    network = build_model(options, workflow.input, labels).to(device)
    layout, slices = contract_of(network).input_layout, slices_of_slab(network)
    image = Compose(image_transforms(workflow.input, layout, slices))({"image": stored})["image"][None].to(device)
    given: dict[str, Any] = {}
    if takes_allowed(network):
        shape = grids_of_models(workflow)[model].shape
        given["allowed"] = torch.ones(1, labels, *shape, dtype=torch.bool, device=device)
    attention = workflow.models[model].mask_loss is not None

    def timed(train: bool) -> float:
        started = time.perf_counter()
        with torch.set_grad_enabled(train):
            output = network(image, attention=train and attention, **given)
            if train:
                values = output.values() if isinstance(output, Mapping) else [output]
                sum(value.square().mean() for value in values).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    timed(False)  # the first pass also loads libraries
    return timed(False), timed(True)
