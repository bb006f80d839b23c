"""What a run needs to be there, looked at before its first stage: everything that seconds can tell.

Names of labels, networks, vocabularies and organs' values, the device, the files and tables that only the last stages
read, and for phantoms the plan. What only some stages need is imported where it is looked at: parsing reports must not
wait for the image libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from organcam.nlp import check_labels as check_profile
from organcam.nlp import find_columns, load_vocabulary

from ..agreement import contradictions
from ..config import Workflow
from ..errors import ConfigError, OrganCamError
from ..yaml_file import problems_error

__all__ = ["refuse_unready", "unready"]


def refuse_unready(workflow: Workflow, stages: Sequence[str]) -> None:
    """Raise what these stages would stumble over.

    Raises:
        ConfigError: with everything that `unready` finds.
    """
    problems = list(unready(workflow, stages))
    if problems:
        raise problems_error(f"workflow {workflow.name}", problems) if len(problems) > 1 else ConfigError(problems[0])


def unready(workflow: Workflow, stages: Sequence[str]) -> Iterator[str]:
    """One sentence for everything that keeps these stages from being done, beginning with the key to change."""
    yield from contradictions(workflow)  # a workflow that was put together in Python has not been read from a file
    wanted = set(stages)
    looks: dict[Callable[[Workflow], Iterator[str]], set[str]] = {
        _files: {"ingest"},
        _reports if "ingest" in wanted else _report_columns: {"ingest", "parse"},
        _labels: {"regions", "train", "explain", "evaluate"},
        _masks: {"segment"},
        _vocabulary: {"parse"},
        _networks: {"regions", "train", "explain"},
        _weights: {"train"},
        _devices: {"train", "explain"},
        _trackers: {"train"},
        _needs_reports: {"train", "evaluate"},
        _truth: {"evaluate"},
        _phantom: {"train"} if "phantom" in wanted else set(),
        _thresholds: {"evaluate"} if "explain" in wanted else set(),
    }
    for look, needed_by in looks.items():
        if wanted & needed_by:
            yield from look(workflow)


def _told(*looks: Callable[[], object]) -> Iterator[str]:
    for look in looks:
        try:
            look()
        except OrganCamError as error:
            yield from str(error).split("\n")


def _files(workflow: Workflow) -> Iterator[str]:
    data = workflow.data
    if data.images is None:
        if workflow.phantom is None:
            yield "data.images is not set: name a folder, a CSV or a list of files (--set data.images=FOLDER)"
    elif not isinstance(data.images, list) and not data.images.exists():
        yield f"data.images: no such file or folder: {data.images}"
    yield from (f"data.splits: no such file: {path}" for path in data.split_files if not path.is_file())


def _reports(workflow: Workflow) -> Iterator[str]:
    data = workflow.data
    if data.reports is not None:
        from ..data.discover import report_columns  # noqa: PLC0415

        reports = data.reports
        yield from _told(lambda: report_columns(reports, data.report_id_column, data.report_text_columns))
    if data.label_files:
        from ..data.label_files import label_ids  # noqa: PLC0415

        yield from _told(lambda: label_ids(data.label_files, data.kind))


def _report_columns(workflow: Workflow) -> Iterator[str]:
    """The table's first line alone, which is all that parsing needs to know."""
    data = workflow.data
    if data.reports is not None:
        reports = data.reports
        if not reports.is_file():
            yield f"data.reports: no such file: {reports}"
            return
        found = _told(lambda: find_columns(reports, data.report_id_column, data.report_text_columns))
        yield from (f"data.reports: {reports}: {problem}" for problem in found)


def _needs_reports(workflow: Workflow) -> Iterator[str]:
    if not workflow.data.tells_labels and workflow.phantom is None:
        yield (
            "data.reports is not set: without reports nothing can be trained or scored; name a CSV "
            "(--set data.reports=FILE, or data.labels=FILE where labels are given), or stop before (--until regions)"
        )


def _labels(workflow: Workflow) -> Iterator[str]:
    from .targets import check_labels  # noqa: PLC0415

    yield from _told(lambda: check_labels(workflow))


def _trackers(workflow: Workflow) -> Iterator[str]:
    from ..engines import require_trackers  # noqa: PLC0415

    wanted = {name: None for model in workflow.models for name in workflow.training_of(model).trackers}
    yield from _told(lambda: require_trackers(tuple(wanted)))


def _truth(workflow: Workflow) -> Iterator[str]:
    from .known_truth import table_problems  # noqa: PLC0415

    yield from table_problems(workflow)


def _masks(workflow: Workflow) -> Iterator[str]:
    segment = workflow.segment
    if segment.external is None:
        return
    from organcam.segmentation.external import read_value_table  # noqa: PLC0415

    if not segment.external.is_dir():
        yield f"segment.external: no such folder: {segment.external}"
    yield from _told(lambda: read_value_table(segment.label_table))


def _vocabulary(workflow: Workflow) -> Iterator[str]:
    rules = workflow.parse
    yield from _told(lambda: load_vocabulary(rules.vocabulary))
    if rules.labels is not None:
        profile = rules.labels
        yield from _told(lambda: check_profile(profile, load_vocabulary(rules.vocabulary)))


def _networks(workflow: Workflow) -> Iterator[str]:
    from .grids import grids_of_models  # noqa: PLC0415 - loads torch

    told: dict[str, None] = {}
    for model, settings in workflow.models.items():
        one = workflow.model_copy(update={"models": {model: settings}})
        told |= dict.fromkeys(_told(lambda one=one: grids_of_models(one)))  # type: ignore[misc]
    yield from told


def _weights(workflow: Workflow) -> Iterator[str]:
    """Files of weights that a network starts from; the grids above are found without opening them."""
    from .grids import build_model  # noqa: PLC0415 - loads torch

    wanted = [workflow.network_of(model) for model in workflow.models]
    for place, options in enumerate(wanted):
        if options.get("weights") is not None and options not in wanted[:place]:
            problems = list(_told(lambda options=options: build_model(options, workflow.input, 1)))  # type: ignore[misc]
            yield from (problem for problem in problems if "weights" in problem)  # the others are told above
    for model in workflow.models:
        yield from _told(partial(_check_start, workflow, model))


def _check_start(workflow: Workflow, model: str) -> None:
    """What `head_epochs` and `start_from` ask of a model's network and of the file.

    Raises:
        ConfigError: if it has no backbone to freeze, or the file is missing, damaged or of another network.
    """
    from ..networks import load_network_weights, set_trainable  # noqa: PLC0415 - loads torch
    from .grids import build_model  # noqa: PLC0415

    settings = workflow.training_of(model)
    if not settings.head_epochs and settings.start_from is None:
        return
    options = {key: value for key, value in workflow.network_of(model).items() if key != "weights"}
    network = build_model(options, workflow.input, 1)
    if settings.head_epochs:
        try:
            set_trainable(network, "head")
        except ValueError as error:
            msg = f"train.head_epochs: {error}"
            raise ConfigError(msg) from None
    if settings.start_from is not None:
        try:
            load_network_weights(network, settings.start_from)
        except ConfigError as error:
            msg = f"train.start_from: {error}"
            raise ConfigError(msg) from None


def _devices(workflow: Workflow) -> Iterator[str]:
    from ..engines import choose_device  # noqa: PLC0415 - loads torch

    yield from _told(lambda: choose_device(workflow.train.device))
    for model, settings in workflow.models.items():
        if "device" in settings.train.model_fields_set:
            device = settings.train.device
            for problem in _told(lambda device=device: choose_device(device)):  # type: ignore[misc]
                yield f"models.{model}.{problem}"


def _phantom(workflow: Workflow) -> Iterator[str]:
    phantom = workflow.phantom
    if phantom is None or workflow.data.images is not None:
        return
    empty = [split for split in ("train", "valid") if not phantom.scans.get(split)]
    if empty:
        yield f"phantom.scans: no scan in {' and '.join(empty)}: nothing can be trained"
    else:
        from .positives import positives_of_phantom  # noqa: PLC0415

        yield from positives_of_phantom(workflow, phantom).problems


def _thresholds(workflow: Workflow) -> Iterator[str]:
    """OrganIoU's thresholds are chosen on explained validation scans; scans of a small data set are in ``all``."""
    splits = workflow.explain.splits
    if not workflow.of_images and not {"valid", "all"} & set(splits):
        legal = ", ".join(["valid", *splits])
        yield f"explain.splits: {', '.join(splits)}: evaluate needs valid (or all) for its thresholds, such as {legal}"
