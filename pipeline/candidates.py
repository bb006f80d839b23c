"""The trainings that a workflow asks for: every model with every combination of what is tried, and who is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from .config import TrainConfig, Workflow

__all__ = ["AUROC_SLACK", "Candidate", "all_candidates", "best_candidate"]

AUROC_SLACK = 0.02


@dataclass(frozen=True)
class Candidate:
    """One training of a model.

    Attributes:
        model: its name.
        weight: of its mask loss; None without one.
        tried: settings of ``train`` that the workflow's ``search`` tries, in its order.

    Example:
        >>> Candidate("masked", 30.0, (("weight_decay", 0.01),)).id
        'masked-weight-30-weight_decay-0.01'
    """

    model: str
    weight: float | None
    tried: tuple[tuple[str, Any], ...] = ()

    @property
    def id(self) -> str:
        """Name of its unit and files."""
        weight = [] if self.weight is None else [("weight", self.weight)]
        return "-".join([self.model, *(f"{name}-{_worded(value)}" for name, value in (*weight, *self.tried))])

    def training(self, workflow: Workflow) -> TrainConfig:
        """Its training settings: the model's, with what is tried over them."""
        return workflow.training_of(self.model).model_copy(update=dict(self.tried))


def all_candidates(workflow: Workflow) -> Iterator[Candidate]:
    """Every training, model by model; what ``search`` tries is the same for all models."""
    combinations = [tuple(zip(workflow.search, values, strict=True)) for values in product(*workflow.search.values())]
    for model, settings in workflow.models.items():
        weight = settings.mask_loss.weight if settings.mask_loss else None
        for one in weight if isinstance(weight, list) else [weight]:
            for tried in combinations:
                yield Candidate(model, one, tried)


def best_candidate(judged: Sequence[Mapping[str, Any]]) -> int:
    """Position of the chosen one: the highest OrganIoU among those that classify about as well as the best one.

    About as well is a median AUROC on the validation split within `AUROC_SLACK`. NaN (a validation split without a
    label of both classes) counts as the worst; of equals the first is taken. Where OrganIoU is not measured, as of 2D
    images, the highest AUROC is taken.

    Args:
        judged: ``auroc_median`` and ``organ_iou`` of every candidate of one model.

    Example:
        >>> best_candidate([{"auroc_median": 0.9, "organ_iou": 0.5}, {"auroc_median": 0.89, "organ_iou": 0.8}])
        1
    """
    area = [_or_lowest(row["auroc_median"]) for row in judged]
    if not any("organ_iou" in row for row in judged):
        return area.index(max(area))
    good = [row for row in range(len(judged)) if area[row] >= max(area) - AUROC_SLACK]
    return max(good, key=lambda row: _or_lowest(judged[row].get("organ_iou")))


def _or_lowest(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value


def _worded(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower()
