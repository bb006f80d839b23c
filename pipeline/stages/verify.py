"""``organcam explain --verify``: do the maps of a run's own models say what the models did, on one of their scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from monai.transforms import Compose
from torch import Tensor

from ..attention import attention_by_method, closed_form_maps
from ..config import STAGES, Workflow
from ..contract import contract_of
from ..engines import choose_device, image_transforms
from ..errors import OrganCamError
from ..metrics.functional.faithfulness import (
    completeness_gap,
    deletion_gaps,
    distance_to_used,
    method_agreement,
    randomisation_cascade,
    sign_flips,
)
from ..runner import SilentProgress, make_executor, read_failures
from .explain import LoadedModel, load_model, plan_explain
from .run import Run
from .workflow import with_phantom_data

__all__ = ["Check", "verify_model", "verify_run"]

EXACT = 1e-3
"""Share of the largest value by which float32 may miss what is exact in theory."""
DELETED = 4  # places
FORGOTTEN = 0.5
"""A map whose ranks are still alike to this degree when all weights are random shows the image and not the network."""


class Check(NamedTuple):
    """One line of the answer; ``holds`` is None where there is nothing to hold to."""

    model: str
    check: str
    subject: str
    value: float
    holds: bool | None


def verify_run(workflow: Workflow, out: str | Path) -> list[Check]:
    """All checks of every model that was trained, on the first scan that is explained; nothing is written.

    Raises:
        OrganCamError: if no model was trained, or there is no scan to explain.
    """
    root = Path(out).absolute()
    checks: list[Check] = []
    with make_executor("serial", 1) as pool:
        run = Run(with_phantom_data(workflow, root), root, pool, SilentProgress(), stages=("explain",))
        run.begin(failure for failure in read_failures(root) if failure.stage in STAGES[: STAGES.index("explain")])
        for name in workflow.models:
            plan = run.plan(plan_explain, name)
            if not plan.units:
                continue
            payload = plan.units[0].payload
            device = choose_device(payload["device"])
            model = load_model(Path(payload["model"]), str(device), payload["content"])
            transforms = image_transforms(model.input, contract_of(model.network).input_layout)
            image = Compose(transforms)({"image": payload["stored"]})["image"][None].to(device)
            checks += verify_model(name, model, image, workflow.explain.methods)
    if not checks:
        msg = f"{root}: no trained model with a scan to explain; run the train stage first"
        raise OrganCamError(msg)
    return checks


def verify_model(name: str, model: LoadedModel, image: Tensor, methods: Sequence[str]) -> list[Check]:
    """Completeness, deletion, distance to the evidence used, randomisation cascade and agreement of methods.

    Args:
        name: of the model.
        model: network and what belongs to it.
        image: ``[1, ...]``.
        methods: that are explained; HiResCAM is checked in any case.
    """
    network = model.network
    names = tuple(dict.fromkeys(["hirescam", *methods]))
    found = attention_by_method(network, image, methods=names, cells=True)
    maps: Mapping[str, Tensor] = {method: one.values for method, one in found.items()}
    checks = list(_of_linear_head(name, network, image, maps, found["hirescam"].logits))
    exact = bool(checks)
    places = _strongest(maps["hirescam"])
    gaps = deletion_gaps(network, image, found["hirescam"], places)
    share = float(gaps.abs().max() / _size(maps["hirescam"]))
    checks.append(Check(name, "deletion", "hirescam", share, share < EXACT if exact else None))
    left = randomisation_cascade(network, image)
    for number, (part, correlation) in enumerate(left.items(), start=1):
        value = float(correlation.nanmean())
        checks.append(Check(name, "randomised", part, value, value < FORGOTTEN if number == len(left) else None))
    for (one, other), value in method_agreement(maps).items():
        checks.append(Check(name, "agreement", f"{one}, {other}", value, None))
    return checks


def _of_linear_head(
    name: str, network: torch.nn.Module, image: Tensor, maps: Mapping[str, Tensor], logits: Tensor
) -> Iterator[Check]:
    """What is known exactly of a network that ends in one linear layer; nothing of any other."""
    with torch.no_grad():
        head = contract_of(network).linear_head(image)
    if head is None:
        return
    used = closed_form_maps(head, "hirescam").detach()
    gap = completeness_gap(maps["hirescam"], logits, head.bias.detach())
    size = max(float(logits.abs().max()), _size(used))
    share = float(gap.abs().max()) / size
    yield Check(name, "completeness", "hirescam", share, share < EXACT)
    for method, values in maps.items():
        distance = float(distance_to_used(values, used).mean())
        yield Check(name, "distance to used", method, distance, distance < EXACT if method == "hirescam" else None)
        yield Check(name, "signs turned", method, float(sign_flips(values, used).nanmean()), None)


def _size(values: Tensor) -> float:
    return float(values.abs().max()) or 1.0


def _strongest(values: Tensor) -> list[tuple[int, ...]]:
    """The places with the largest absolute values of the first map of each of some labels."""
    flat = values[0].abs().flatten(1)
    best = flat.amax(0).topk(min(DELETED, flat.shape[1])).indices.tolist()
    shape = values.shape[2:]
    return [tuple(int(at) for at in torch.unravel_index(torch.tensor(one), shape)) for one in best]
