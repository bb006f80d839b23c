"""All sections together: a whole workflow file."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

from pydantic import Field, PositiveFloat, field_validator, model_validator

from ..data.grey import WHITE
from ..data.phantom import PhantomSettings
from ..errors import DataError, did_you_mean
from ..runner.identifiers import safe_id
from .data import DataConfig, LabelsConfig, ParseConfig
from .results import EvaluateConfig, ExplainConfig, ReportConfig
from .section import Section, listed
from .training import MaskLossConfig, ModelConfig, TrainConfig, TrainRuntime
from .volumes import InputConfig, RegionsConfig, SegmentConfig, StoreConfig

__all__ = ["STAGES", "Workflow"]

STAGES = ("phantom", "ingest", "parse", "segment", "store", "regions", "train", "explain", "evaluate", "report")
"""Every stage in running order; ``phantom`` runs only when the file has that section."""

OF_ORGANS = ("segment", "regions")
"""Stages that 2D images go without."""

LONGEST_MODEL_NAME = 64
TRAINING_FOLDER = "candidates"
"""What `models/` holds beside the models."""


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
        timeout: seconds that a scan may take in a stage before it is given up and listed in failures.csv; ``segment``
            and ``explain`` have their own.
        scheduler: of ``--executor dask``: ``local``, or the address of a running one; ``--scheduler`` comes before it.
    """

    name: str = Field(default="organcam", pattern=r"^[\w .-]+$")
    seed: int = Field(default=0, ge=0, lt=2**32)
    memory_gb: PositiveFloat | None = None
    timeout: PositiveFloat = 3600.0
    scheduler: str | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _span_grey(cls, values: Any) -> Any:
        """Of 2D images the network sees all stored values, unless the file names a window."""
        data, shown = (values.get(name) for name in ("data", "input")) if isinstance(values, dict) else (None, None)
        if isinstance(data, dict) and data.get("kind") == "images" and isinstance(shown, dict):
            return {**values, "input": {"window_hu": (0.0, float(WHITE)), **shown}}
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
            name: list(listed(f"value of {name}")([getattr(TrainConfig(**{name: value}), name) for value in values]))
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
        stages = STAGES if self.phantom is not None else STAGES[1:]
        return tuple(stage for stage in stages if stage not in OF_ORGANS or not self.of_images)

    @property
    def of_images(self) -> bool:
        """Whether the scans are 2D images, which have no organs."""
        return self.data.kind == "images"

    def document(self) -> dict[str, Any]:
        """The whole workflow with its defaults, as plain data that `parse_workflow` reads back."""
        document = self.model_dump(mode="json")
        for name, model in self.models.items():
            document["models"][name]["train"] = model.train.model_dump(mode="json", exclude_unset=True)
        return document
