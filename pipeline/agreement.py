"""What the sections of a workflow ask of each other, told when the file is read and not after hours of training."""

from __future__ import annotations

from collections.abc import Iterator

from .candidates import all_candidates
from .config import ExplainConfig, RegionsConfig, Workflow
from .data.grey import CHANNELS, WHITE

__all__ = ["contradictions"]


def contradictions(workflow: Workflow) -> list[str]:
    """Every pair of settings that are legal each for itself and cannot work together.

    Args:
        workflow: checked section by section.

    Returns:
        One sentence each, beginning with the key to change.
    """
    return [
        *_of_maps(workflow.explain),
        *_of_labels(workflow),
        *_of_intensities(workflow),
        *_of_regions(workflow.regions),
        *_of_models(workflow),
        *_of_images(workflow),
    ]


def _of_maps(explain: ExplainConfig) -> Iterator[str]:
    if explain.volumes and explain.volume_method not in explain.methods:
        legal = ", ".join(explain.methods)
        yield f"explain.volume_method: {explain.volume_method} is not among explain.methods (legal here: {legal})"
    if explain.volume_scans and not explain.volumes:
        yield "explain.volume_scans: names scans, but explain.volumes names no label"


def _of_labels(workflow: Workflow) -> Iterator[str]:
    names = workflow.labels.names
    if names == "all":
        return
    for name in workflow.explain.volumes:
        if name not in {*names, "predicted", "present"}:
            legal = ", ".join(["predicted", "present", *names])
            yield f"explain.volumes: '{name}' is not among labels.names (legal here: {legal})"


def _of_intensities(workflow: Workflow) -> Iterator[str]:
    """A window beside the stored range would show a constant image."""
    (lower, upper), (lowest, highest) = workflow.input.window_hu, workflow.store.clip_hu
    if workflow.of_images:
        if lower >= WHITE or upper <= 0:
            yield f"input.window_hu: {lower:g} to {upper:g} lies outside the stored values of images (0 to {WHITE})"
    elif lower >= highest or upper <= lowest:
        yield f"input.window_hu: {lower:g} to {upper:g} HU lies outside store.clip_hu ({lowest} to {highest})"


def _of_regions(regions: RegionsConfig) -> Iterator[str]:
    """Settings of one registration that the other passes over."""
    usual = RegionsConfig()
    if regions.registration == "network" and regions.reference_mode != usual.reference_mode:
        yield f"regions.reference_mode: {regions.reference_mode} is for registration: reference only"
    if regions.registration == "reference" and regions.threshold != usual.threshold:
        yield f"regions.threshold: {regions.threshold:g} is for registration: network only"


def _of_models(workflow: Workflow) -> Iterator[str]:
    for model, settings in workflow.models.items():
        if "parallel" in settings.train.model_fields_set:
            yield f"models.{model}.train.parallel: is for all models together: set train.parallel"
        for name in sorted(settings.train.model_fields_set & workflow.search.keys()):
            yield f"models.{model}.train.{name}: search.{name} tries it for every model alike: leave out one of them"
    owners: dict[str, str] = {}
    for candidate in all_candidates(workflow):
        owner = owners.setdefault(candidate.id.casefold(), candidate.model)
        if owner != candidate.model:
            mine = f"models.{candidate.model}: its files '{candidate.id}'"
            yield f"{mine} are those of a training of models.{owner}: rename one of them"


def _of_images(workflow: Workflow) -> Iterator[str]:
    """What needs organs, or patients' axes, is not for 2D images; what is said of grey is for nothing else."""
    if not workflow.of_images:
        if "grey" in workflow.store.model_fields_set and workflow.store.grey != "depth":
            yield "store.grey: is for 2D images (data.kind: images); volumes are in HU (store.clip_hu)"
        return
    channels = workflow.input.shape[0]
    if channels not in CHANNELS:
        yield f"input.shape: 2D images have 1 channel (grey) or 3 (colour) first, such as [1, 256, 256], not {channels}"
    for model, settings in workflow.models.items():
        if settings.mask_loss is not None:
            yield f"models.{model}.mask_loss: 2D images have no organs to hold attention to: set it to null"
        if workflow.training_of(model).monitor == "organ_iou":
            yield f"train.monitor: organ_iou is not measured of 2D images, which have no organs (models.{model})"
    for key, given in (
        ("phantom", workflow.phantom is not None),
        ("data.ids", workflow.data.ids != "path"),
        ("data.organs", workflow.data.organs is not None),
        ("segment.external", workflow.segment.external is not None),
        ("regions.pictures", bool(workflow.regions.pictures)),
        ("labels.table", workflow.labels.table is not None),
    ):
        if given:
            yield f"{key}: is for volumes: 2D images (data.kind: images) are used without organs"
