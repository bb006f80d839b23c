"""The sections of a workflow: what can be set, its legal values and its defaults.

Plain checked data; `organcam.workflow_file` reads it from YAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from .data.limits import MAX_VOXELS
from .data.phantom import PhantomSettings
from .data.splits import SPLITS
from .errors import DataError, did_you_mean
from .plugins import ATTENTION_LOSSES, MASK_LOSS_FORMS, METHODS
from .registry import Registry
from .runner.identifiers import safe_id

__all__ = [
    "STAGES",
    "DataConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "InputConfig",
    "LabelsConfig",
    "MaskLossConfig",
    "ModelConfig",
    "ParseConfig",
    "RegionsConfig",
    "ReportConfig",
    "SegmentConfig",
    "StoreConfig",
    "TrainConfig",
    "TrainRuntime",
    "Workflow",
]

STAGES = ("phantom", "ingest", "parse", "segment", "store", "regions", "train", "explain", "evaluate", "report")
"""Every stage in running order; ``phantom`` runs only when the file has that section."""

LARGEST_WEIGHT = 100_000.0
"""Of a mask loss; its digits become part of a file name."""

LONGEST_MODEL_NAME = 64
TRAINING_FOLDER = "candidates"
"""What `models/` holds beside the models."""

Item = TypeVar("Item")


def _listed(what: str) -> Callable[[Sequence[Item]], Sequence[Item]]:
    """A check that a list names something, and nothing twice; ``what`` it names goes into the message."""

    def check(values: Sequence[Item]) -> Sequence[Item]:
        if not len(values):
            msg = f"name at least one {what}"
            raise ValueError(msg)
        return _once(values)

    return check


def _once(values: Sequence[Item]) -> Sequence[Item]:
    for position, value in enumerate(values):
        if value in values[:position]:
            msg = f"{value:g} is listed twice" if isinstance(value, float) else f"{str(value)!r} is listed twice"
            raise ValueError(msg)
    return values


def _named_in(registry: Registry[Any]) -> Callable[[str], str]:
    """A check that a name stands for something."""

    def check(name: str) -> str:
        if name not in registry:
            msg = f"unknown {registry.kind} '{name}': {did_you_mean(name, registry.names())}"
            raise ValueError(msg)
        return name

    return check


def _rising(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] >= ends[1]:
        msg = f"the lower end comes first, got {ends[0]:g} to {ends[1]:g}"
        raise ValueError(msg)
    return ends


Millimetres = Annotated[float, Field(ge=0.05, le=50)]
Voxels = Annotated[int, Field(ge=1, le=4096)]
StoredHU = Annotated[int, Field(ge=-32768, le=32767)]  # int16
Weight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]


class Section(BaseModel):
    """Base of every part of a workflow: unknown keys are refused, values cannot change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Where scans, reports and splits come from.

    Attributes:
        images: a folder of volumes (``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.mhd``, ``.npz``), a folder of DICOM
            series, a list of files, or a CSV with the columns below.
        id_column: column of the scan id in the images CSV.
        image_column: column of the image path in the images CSV (relative to that CSV).
        reports: CSV with one report a row; without it nothing can be trained.
        report_id_column: column of the id that joins report and scan; null finds the columns of our own form
            (``scan_id, report_text``), CT-RATE and OpenI by themselves.
        report_text_columns: columns whose text is joined to one report; null as above.
        labels: CSV files in place of reports: ids of scans (or reports), and 0/1 in columns ``abnormality*location``,
            as RAD-ChestCT has them, or of an abnormality alone.
        splits: CSV with ``scan_id, split``, or several; overrides a ``split`` column of the images CSV. RAD-ChestCT's
            tables with ``Subset_Assigned`` do as they are.
        only_listed: whether scans without a split are left out; otherwise they are refused where a split is needed.
        fractions: shares of the patients when no split is given; at least ten patients are needed, fewer are used in
            every split and said so.
        lesions: CSV ``scan_id, value, abnormality, location, mask`` of label maps with known findings, for pointing
            accuracy.
        organs: CSV ``scan_id, organs`` of label maps (1 right lung, 2 left lung, 3 heart and mediastinum) with known
            organs, to measure the segmentation by Dice; never used for the allowed regions.
        interventions: CSV ``scan_id, counterpart, inserted, label``: scan pairs that differ in one inserted thing.
        max_voxels: a scan that declares more, or would have more when resampled, is refused before memory is taken.
        max_failed: share of the scans that may fail before training is refused.
    """

    images: Path | Annotated[list[Path], AfterValidator(_listed("file"))] | None = None
    id_column: str = "scan_id"
    image_column: str = "image"
    reports: Path | None = None
    report_id_column: str | None = None
    report_text_columns: Annotated[list[str], AfterValidator(_listed("column"))] | None = None
    labels: Path | Annotated[list[Path], AfterValidator(_listed("file"))] | None = None
    splits: Path | Annotated[list[Path], AfterValidator(_listed("file"))] | None = None
    only_listed: bool = False
    fractions: dict[Literal["train", "valid", "test"], NonNegativeFloat] = {"train": 0.7, "valid": 0.1, "test": 0.2}
    lesions: Path | None = None
    organs: Path | None = None
    interventions: Path | None = None
    max_voxels: PositiveInt = MAX_VOXELS
    max_failed: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files of ``labels``; none where labels come from reports."""
        if self.labels is None:
            return ()
        return (self.labels,) if isinstance(self.labels, Path) else tuple(self.labels)

    @property
    def split_files(self) -> tuple[Path, ...]:
        """The files of ``splits``."""
        if self.splits is None:
            return ()
        return (self.splits,) if isinstance(self.splits, Path) else tuple(self.splits)

    @property
    def tells_labels(self) -> bool:
        """Whether scans have labels, from reports or from tables: without any nothing can be trained or scored."""
        return self.reports is not None or self.labels is not None

    @model_validator(mode="after")
    def _check_labels(self) -> DataConfig:
        if self.reports is not None and self.labels is not None:
            msg = "labels are given in place of reports: leave out one of the two"
            raise ValueError(msg)
        return self

    @field_validator("fractions")
    @classmethod
    def _check_fractions(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not (fractions.get("train") and fractions.get("valid")):
            msg = "train and valid need a share above 0: nothing is trained or chosen without them"
            raise ValueError(msg)
        return fractions


class ParseConfig(Section):
    """How report text becomes labels.

    Attributes:
        vocabulary: name of a shipped vocabulary, or the path of a YAML file.
        uncertain: whether "possible", "cannot exclude" count as present; null is the vocabulary's own habit
            (``chest_ct`` positive, ``chest_xray`` negative).
        historical: whether findings told as history count as present.
        labels: a label profile that is written too, such as ``ct_rate``.
    """

    vocabulary: str = "chest_ct"
    uncertain: Literal["positive", "negative"] | None = None
    historical: Literal["positive", "negative"] = "negative"
    labels: str | None = None


class SegmentConfig(Section):
    """How organs are found.

    Attributes:
        method: ``organcam``, or ``reference`` for the published threshold rule.
        timeout: seconds after which a scan is given up and listed in failures.csv.
        external: folder with a label map of another tool for every scan (``<id>.nii.gz`` or ``<id>_<anything>.nii.gz``,
            or another volume format), used instead; null segments.
        label_table: what the values of those maps mean: ``totalsegmentator``, ``lungmask``, ``lungmask_lobes``,
            ``organcam``, or a YAML file (``right_lung: [1], left_lung: [2], heart_mediastinum: [3]``).
        parts: whether airways, descending aorta and heart are written too, ``organs/<id>_parts.nii.gz`` (1, 2, 3).
        png: whether to write a picture of every scan with its organs, ``organs/<id>_organs.png``.
    """

    method: Literal["organcam", "reference"] = "organcam"
    timeout: PositiveFloat = 600.0
    external: Path | None = None
    label_table: str = "organcam"
    parts: bool = False
    png: bool = False

    @model_validator(mode="after")
    def _check_table(self) -> SegmentConfig:
        if self.external is None and "label_table" in self.model_fields_set and self.label_table != "organcam":
            msg = "label_table says what external masks mean: name their folder in segment.external"
            raise ValueError(msg)
        if self.external is not None and self.method == "reference":
            msg = "external masks are used instead of a method: leave out method: reference"
            raise ValueError(msg)
        if self.parts and (self.external is not None or self.method == "reference"):
            msg = "parts come from organcam's own segmentation: leave out external masks and method: reference"
            raise ValueError(msg)
        return self


class StoreConfig(Section):
    """How volumes are kept for training.

    Attributes:
        spacing_mm: voxel size of the stored volume along (superior-inferior, anterior-posterior, right-left); null
            keeps each scan's own.
        clip_hu: stored range; RAD-ChestCT's is -1000 to 1000.
    """

    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] | None = (0.8, 0.8, 0.8)
    clip_hu: Annotated[tuple[StoredHU, StoredHU], AfterValidator(_rising)] = (-1000, 1000)


class InputConfig(Section):
    """What a network sees.

    Attributes:
        shape: slices, rows and columns after centred padding with air or cropping; networks that take slabs of three
            slices need a multiple of 3.
        window_hu: range scaled to [0, 1] before 0.449 is taken off.
    """

    shape: tuple[Voxels, Voxels, Voxels] = (405, 420, 420)
    window_hu: Annotated[tuple[float, float], AfterValidator(_rising)] = (-1000.0, 800.0)


class RegionsConfig(Section):
    """Which cells of the feature grid count as allowed.

    Attributes:
        threshold: least share of a cell that the organs of a label must cover together; 0 means any contact. Cells are
            centimetres wide and disease often lies at the organ's border: at a quarter, a fifth of all pleural fluid
            is forbidden even with perfect masks, and a network under the mask loss hardly learns it.
        flagged: what to do with a scan whose segmentation was flagged as failed: ``rough`` fixed regions (halves of
            the image), or ``leave_out``.
        registration: ``network`` lays the cells by the network's stride and offset; ``reference`` shrinks the masks to
            tiles of the image, as the published code does.
        reference_mode: ``nearest`` (published), ``area`` or ``trilinear``, for ``registration: reference`` only.
        dilate: how often to grow the regions by a 3 x 3 x 3 box of cells.
        thirds: whether a stated lobe narrows a lung to its upper, middle or lower third. Coarse: lobes overlap thirds.
        base_mm: how far under the back half of a lung's base the evidence of atelectasis, effusion, consolidation and
            their kin may lie too (``at_base`` of the label table): airless lung on the diaphragm looks like the liver
            below it, and masks leave it out. 0 turns it off; ``registration: reference`` has none.
        pictures: labels whose cells are drawn over every scan, ``regions/<id>_<label>.png``.
    """

    threshold: float = Field(default=0.1, ge=0.0, lt=1.0)
    flagged: Literal["rough", "leave_out"] = "rough"
    registration: Literal["network", "reference"] = "network"
    reference_mode: Literal["nearest", "area", "trilinear"] = "nearest"
    dilate: int = Field(default=0, ge=0, le=10)
    thirds: bool = False
    base_mm: float = Field(default=30.0, ge=0.0, le=100.0)
    pictures: Annotated[list[str], AfterValidator(_once)] = []


class LabelsConfig(Section):
    """Which outputs the networks have.

    Attributes:
        names: labels by name, or ``all`` for the catalogue's 80 and those of the table.
        min_positives: a label with fewer positive training scans is left out.
        fidelity: ``reference`` drops sides as the published code does.
        table: YAML file of labels of your own, each with its organs and the findings that make it present.
    """

    names: Literal["all"] | Annotated[list[str], AfterValidator(_listed("label, or all"))] = "all"
    min_positives: int = Field(default=1, ge=0)
    fidelity: Literal["default", "reference"] = "default"
    table: Path | None = None


class MaskLossConfig(Section):
    """The loss on attention of one model (see ``organcam.losses``).

    Attributes:
        form: penalty of a forbidden cell: ``absolute``, ``softplus`` (published) or ``l2``; or another loss on
            attention: ``energy``, ``l1``, or one of an installed package, which take none of the next three options.
        reduction: ``balanced``, ``mean`` (published code) or ``sum`` (paper).
        absent: whether absent labels are penalised everywhere (``forbidden``, published), outside the organs where
            they could lie (``outside``), or not at all (``ignored``).
        smoothing: attention (in units of the logit) below which the absolute form lets go; 0 is the absolute value.
        weight: lambda; of a list the best on the validation split is taken.
        ramp: share of the epochs over which lambda rises from 0.
    """

    form: Annotated[str, AfterValidator(_named_in(ATTENTION_LOSSES))] = "absolute"
    reduction: Literal["balanced", "mean", "sum"] = "balanced"
    absent: Literal["forbidden", "outside", "ignored"] = "forbidden"
    smoothing: NonNegativeFloat = 0.0
    weight: Weight | list[Weight] = 10.0
    ramp: float = Field(default=0.3, ge=0.0, le=1.0)

    @field_validator("weight")
    @classmethod
    def _check_weights(cls, weight: float | list[float]) -> float | list[float]:
        if isinstance(weight, list):
            _listed("weight")([float(f"{one:g}") for one in weight])  # as they are written in names of files
        return weight

    def options(self) -> dict[str, Any]:
        """What the loss of this form is built with."""
        names = ("absent", "reduction", "smoothing") if self.form in MASK_LOSS_FORMS else ()
        return {name: getattr(self, name) for name in names}

    @model_validator(mode="after")
    def _check_options(self) -> MaskLossConfig:
        usual = type(self).model_fields
        strange = [name for name in ("absent", "reduction", "smoothing") if getattr(self, name) != usual[name].default]
        if self.form not in MASK_LOSS_FORMS and strange:
            msg = f"{strange[0]} is for the forms {', '.join(MASK_LOSS_FORMS)}, not for {self.form}"
            raise ValueError(msg)
        if self.smoothing and self.form != "absolute":
            msg = f"smoothing is for form: absolute only, not {self.form}"
            raise ValueError(msg)
        return self


class TrainRuntime(Section):
    """The part of `TrainConfig` that says where and how fast a network is trained, and decides nothing about it.

    See `TrainConfig` for the meanings. Weights are the same bit for bit whatever the cache and the number of reading
    processes; another device rounds in another way.
    """

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    cache_gb: NonNegativeFloat = 2.0
    loader_workers: int = Field(default=0, ge=0)
    save_minutes: PositiveFloat | None = 15.0
    channels_last: bool = False
    trackers: Annotated[list[Literal["tensorboard", "mlflow"]], AfterValidator(_once)] = []
    parallel: bool = False


class TrainConfig(TrainRuntime):
    """How a network is trained.

    Attributes:
        epochs: passes over the training split.
        batch_size: scans a step, in all processes of torchrun together.
        accumulation_steps: parts into which the scans of a step are split, one after another through the network: the
            gradient of the whole step at the memory of a part. Batch statistics, and the means over cells of a mask
            loss, are those of a part.
        optimizer: ``adamw``, ``adam`` (published for PYLON), or ``sgd`` with momentum 0.99 (published for AxialNet).
        learning_rate: peak rate of ``one_cycle``, the constant one, or the first one of ``plateau``.
        schedule: ``one_cycle``, ``constant`` or ``plateau``. ``one_cycle`` also moves the first beta of ``adam`` and
            ``adamw``, from 0.95 to 0.85 at the peak and back, as PyTorch does; the momentum of ``sgd`` is left alone.
            ``plateau`` lowers the rate where ``monitor`` no longer gets better.
        plateau_factor: what the rate is then multiplied by (0.2 is published for PYLON).
        plateau_patience: looks at the validation split without a better one that are let pass before (1 is published).
        plateau_until: the training ends once the rate has come down to this.
        weight_decay: as the optimiser defines it.
        gradient_clip: largest gradient norm; null for none.
        augment: the published flips and rotations by 90 degrees.
        monitor: figure of the validation split that ``keep: best``, ``patience`` and ``plateau`` go by: ``loss`` (the
            lowest is best), ``auroc_median`` or ``organ_iou`` (the highest).
        keep: weights that are explained: of the ``last`` epoch, or the ``best`` by ``monitor``.
        patience: epochs without a better ``monitor`` before stopping, looked at where the validation split is; null for
            never. A figure that is not finite is worse than any other.
        validate_every: epochs from one look at the validation split to the next; the last epoch is always looked at.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        positive_weights: whether a present label counts more in the class loss than an absent one: as many times as
            absent training scans come on a present one, from 1 to 10.
        head_epochs: epochs in a first phase that trains everything but the backbone, whose best weights the ``epochs``
            then start from with a new optimiser (PYLON's transfer); 0 for none.
        start_from: a model of another training to start the whole network from, such as another run's
            ``models/<m>/model.pt``; what fits in name and shape is taken, and outputs for other labels are not. May end
            in ``#sha256=...``, which the file is then checked against.
        channels_last: keep weights in channels-last order, in which convolutions are faster on most processors; rounds
            in another way.
        trackers: where else the training is followed: ``tensorboard``, ``mlflow`` (extras of the same names); files lie
            beside the checkpoints.
        amp: mixed precision: ``float16`` (with a scaled loss) or ``bfloat16`` on any device; true is ``float16`` on a
            GPU and nothing on a CPU.
        cache_gb: volumes stay in memory, as int16, when the training split fits into this much.
        loader_workers: processes that read volumes ahead, where they do not stay in memory; 0 reads in the training
            process.
        save_minutes: minutes between two checkpoints inside an epoch, beside those at its end; null for none.
        parallel: whether models are trained side by side in the run's worker processes, one thread each: quicker for
            several small ones on a CPU. Otherwise one after another, with all cores or on the GPU.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 1
    accumulation_steps: PositiveInt = 1
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    schedule: Literal["one_cycle", "constant", "plateau"] = "one_cycle"
    plateau_factor: float = Field(default=0.2, gt=0.0, lt=1.0)
    plateau_patience: int = Field(default=1, ge=0)
    plateau_until: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = 1e-3
    gradient_clip: PositiveFloat | None = 1.0
    augment: bool = False
    monitor: Literal["loss", "auroc_median", "organ_iou"] = "loss"
    keep: Literal["last", "best"] = "last"
    patience: PositiveInt | None = None
    validate_every: PositiveInt = 1
    positive_weights: bool = False
    head_epochs: int = Field(default=0, ge=0)
    start_from: str | None = None
    amp: bool | Literal["float16", "bfloat16"] = False

    def require_consistent(self) -> None:
        """Refuse settings that do not go together; those of a model are told when they lie over the workflow's.

        Raises:
            ValueError: naming them.
        """
        if self.batch_size % self.accumulation_steps:
            parts = self.accumulation_steps
            msg = f"accumulation_steps: {self.batch_size} scans a step (batch_size) do not make {parts} even parts"
            raise ValueError(msg)
        if self.schedule != "plateau":
            usual = type(self).model_fields
            for name in ("plateau_factor", "plateau_patience", "plateau_until"):
                if getattr(self, name) != usual[name].default:
                    msg = f"{name}: is for schedule: plateau, not for {self.schedule}"
                    raise ValueError(msg)
        elif self.plateau_until >= self.learning_rate:
            msg = f"plateau_until: {self.plateau_until:g} is no lower than learning_rate, {self.learning_rate:g}"
            raise ValueError(msg)


class ModelConfig(Section):
    """One of the models of a workflow.

    Attributes:
        network: registered name and options, over the workflow's ``network``.
        mask_loss: null for the class loss alone.
        train: settings over the workflow's ``train``; only the keys that are written count.
    """

    network: dict[str, Any] = {}
    mask_loss: MaskLossConfig | None = None
    train: TrainConfig = TrainConfig()


class ExplainConfig(Section):
    """Which maps are made.

    Attributes:
        methods: ``hirescam``, ``gradcam``, ``gradcam_plus_plus``, ``xgradcam``, ``layercam``; ``cam`` behind global
            average pooling; of the input's voxels, summed over the cells (slow: a pass through the whole network for
            every label), ``gradient``, ``gradient_x_input``, ``guided_backprop``, ``guided_gradcam``; ``occlusion``
            (slower: one for every box).
        splits: splits whose scans are explained.
        volumes: labels whose maps are also written as NIfTI on the source scan's grid: names, ``predicted`` (the
            ``top`` highest scores of the scan), ``present`` (labels of its report), or none.
        volume_scans: scan ids that get such volumes; null for all explained ones.
        volume_method: method of those volumes.
        top: how many labels ``predicted`` takes.
    """

    methods: Annotated[
        list[Annotated[str, AfterValidator(_named_in(METHODS))]],
        AfterValidator(_listed("attention method")),
    ] = ["hirescam", "gradcam"]
    splits: Annotated[list[str], AfterValidator(_listed(f"of {', '.join(sorted(SPLITS))}"))] = [
        "valid",
        "test",
        "shifted",
        "intervention",
    ]
    volumes: Annotated[list[str], AfterValidator(_once)] = []
    volume_scans: Annotated[list[str], AfterValidator(_listed("scan"))] | None = None
    volume_method: Annotated[str, AfterValidator(_named_in(METHODS))] = "hirescam"
    top: PositiveInt = 3

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: list[str]) -> list[str]:
        for split in splits:
            if split not in SPLITS:
                msg = f"unknown split '{split}': {did_you_mean(split, SPLITS)}"
                raise ValueError(msg)
        return splits


class EvaluateConfig(Section):
    """How maps and scores are judged.

    Attributes:
        fidelity: ``reference`` scores a perfectly confined map 0, as the published code does.
        pointing_tolerance: cells by which the peak may miss a lesion.
    """

    fidelity: Literal["default", "reference"] = "default"
    pointing_tolerance: int = Field(default=0, ge=0)


class ReportConfig(Section):
    """What the page shows.

    Attributes:
        scans: number of scans that get a page of their own; test scans first, most findings first.
        labels: labels shown on a scan's page.
    """

    scans: int = Field(default=6, ge=0)
    labels: PositiveInt = 4


def _check_model_name(name: str) -> None:
    if name.casefold() == TRAINING_FOLDER:
        msg = f"'{name}' is a folder of the train stage: choose another name"
        raise ValueError(msg)
    try:
        safe_id(name, "model name", LONGEST_MODEL_NAME)
    except DataError:
        legal = None
    else:
        legal = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    if legal is None:
        msg = (
            f"'{name[: LONGEST_MODEL_NAME + 1]}' becomes a folder: use letters a-z, digits, '_' and '-', at most "
            f"{LONGEST_MODEL_NAME} of them, and no name that Windows reserves"
        )
        raise ValueError(msg)


class Workflow(Section):
    """A whole workflow file.

    Attributes:
        search: settings of ``train``, each with the values to try, such as ``weight_decay: [0.001, 0.03]``. Every model
            is trained with every combination, and each takes its best on the validation split: no model of a comparison
            has a better chance than another.
        name: of the run, as its page shows it.
        seed: of everything random, a whole number from 0.
        memory_gb: gigabytes that a worker process may take before its scan fails as "out of memory"; null takes one and
            a half times its share of the machine, at least 4.
    """

    name: str = Field(default="organcam", pattern=r"^[\w .-]+$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    memory_gb: PositiveFloat | None = None
    phantom: PhantomSettings | None = None
    data: DataConfig = DataConfig()
    parse: ParseConfig = ParseConfig()
    segment: SegmentConfig = SegmentConfig()
    store: StoreConfig = StoreConfig()
    input: InputConfig = InputConfig()
    regions: RegionsConfig = RegionsConfig()
    labels: LabelsConfig = LabelsConfig()
    network: dict[str, Any] = {"name": "axialnet"}
    train: TrainConfig = TrainConfig()
    search: dict[str, list[Any]] = {}
    models: dict[str, ModelConfig] = {"masked": ModelConfig(mask_loss=MaskLossConfig())}
    explain: ExplainConfig = ExplainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="before")
    @classmethod
    def _seed_phantom(cls, values: Any) -> Any:
        """One seed for the data and the training, unless the phantom section names its own."""
        if isinstance(values, dict) and isinstance(values.get("phantom"), dict) and "seed" in values:
            return {**values, "phantom": {"seed": values["seed"], **values["phantom"]}}
        return values

    @field_validator("search")
    @classmethod
    def _check_search(cls, search: dict[str, list[Any]]) -> dict[str, list[Any]]:
        legal = sorted(TrainConfig.model_fields.keys() - TrainRuntime.model_fields.keys())
        for name in search:
            if name not in legal:
                msg = f"'{name}' is no setting of train that decides what is learned: {did_you_mean(name, legal)}"
                raise ValueError(msg)
        return {
            name: list(_listed(f"value of {name}")([getattr(TrainConfig(**{name: value}), name) for value in values]))
            for name, values in search.items()
        }

    @field_validator("models")
    @classmethod
    def _check_models(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        if not models:
            msg = "name at least one model, such as 'masked: {mask_loss: {weight: 10}}'"
            raise ValueError(msg)
        for name in models:
            _check_model_name(name)
        folded: dict[str, str] = {}
        for name in models:
            other = folded.setdefault(name.casefold(), name)
            if other != name:
                msg = f"'{name}' and '{other}' differ in capitals only, which not every disk tells apart"
                raise ValueError(msg)
        return models

    @model_validator(mode="after")
    def _check_training(self) -> Workflow:
        """Every training that will be made, models and ``search`` laid over ``train``."""
        for model in self.models:
            for values in product(*self.search.values()):
                tried = dict(zip(self.search, values, strict=True))
                settings = self.training_of(model).model_copy(update=tried)
                try:
                    settings.require_consistent()
                except ValueError as problem:
                    msg = f"train of models.{model}: {problem}"
                    raise ValueError(msg) from None
        return self

    def training_of(self, model: str) -> TrainConfig:
        """The training settings of one model: the workflow's, with the model's own over them."""
        own = self.models[model].train
        return self.train.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})

    def network_of(self, model: str) -> dict[str, Any]:
        """The network name and options of one model: the workflow's, with the model's own over them.

        Options belong to a network: a model with another one takes none of the workflow's.
        """
        own, shared = self.models[model].network, self.network
        name = shared.get("name", "axialnet")
        return {**(shared if own.get("name", name) == name else {}), **own}

    def stages(self) -> tuple[str, ...]:
        """The stages this file runs, in order."""
        return STAGES if self.phantom is not None else STAGES[1:]

    def document(self) -> dict[str, Any]:
        """The whole workflow with its defaults, as plain data that `parse_workflow` reads back."""
        document = self.model_dump(mode="json")
        for name, model in self.models.items():
            document["models"][name]["train"] = model.train.model_dump(mode="json", exclude_unset=True)
        return document
