"""What is learned, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ..plugins import ATTENTION_LOSSES, MASK_LOSS_FORMS
from .section import Section, listed, named_in, once

__all__ = ["MaskLossConfig", "ModelConfig", "TrainConfig", "TrainRuntime"]

LARGEST_WEIGHT = 100_000.0
"""Of a mask loss; its digits become part of a file name."""

Weight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]


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
        control: whose masks: the scan's ``own``, or as a control of what a gain comes from (``docs/mask_loss.md``)
            another patient's (``permuted``), the mean of the training scans (``atlas``), the same cells at random
            places (``shuffled``), or those of organs that a label may not lie in (``swapped``). Training alone; the
            validation split and the evaluation always take the own ones.
    """

    form: Annotated[str, AfterValidator(named_in(ATTENTION_LOSSES))] = "absolute"
    reduction: Literal["balanced", "mean", "sum"] = "balanced"
    absent: Literal["forbidden", "outside", "ignored"] = "forbidden"
    smoothing: NonNegativeFloat = 0.0
    weight: Weight | list[Weight] = 10.0
    ramp: float = Field(default=0.3, ge=0.0, le=1.0)
    control: Literal["own", "permuted", "atlas", "shuffled", "swapped"] = "own"

    @field_validator("weight")
    @classmethod
    def _check_weights(cls, weight: float | list[float]) -> float | list[float]:
        if isinstance(weight, list):
            listed("weight")([float(f"{one:g}") for one in weight])  # as they are written in names of files
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
    trackers: Annotated[list[Literal["tensorboard", "mlflow"]], AfterValidator(once)] = []
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
        augment: the published flips and rotations by 90 degrees; of 2D images PYLON's turns, crops, mirrored images and
            changes of brightness and contrast.
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
