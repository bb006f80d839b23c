"""What a phantom data set is made of: plain data, checked at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ...errors import ConfigError, did_you_mean

__all__ = ["CONFOUNDER_KINDS", "DEFAULT_PREVALENCE", "SPLITS", "VARIANTS", "Confounder", "PhantomSettings"]

MOST_SCANS = 100_000

VARIANTS = (
    "raised_right_dome", "raised_left_dome", "eventration", "sloping_wall", "hiatal_hernia", "lateral_aorta",
    "contrast", "subpulmonic_fluid", "small_right_lung", "small_left_lung",
)  # fmt: skip
"""In what every person of a data set can differ from the usual adult."""

SPLITS = ("train", "valid", "test", "shifted")

DEFAULT_PREVALENCE: dict[str, float] = {
    "nodule": 0.40,
    "mass": 0.30,
    "consolidation": 0.30,
    "groundglass": 0.30,
    "pleural_effusion": 0.40,
    "emphysema": 0.25,
    "atelectasis": 0.30,
    "cyst": 0.25,
    "coronary_calcification": 0.35,
    "aortic_calcification": 0.40,
    "cardiomegaly": 0.30,
    "pericardial_effusion": 0.25,
    "pacemaker": 0.20,
    "catheter": 0.25,
}
"""Share of the scans with each finding. Higher than in hospital, so that a few hundred scans are enough to learn."""

CONFOUNDER_KINDS = ("body_wall_fat", "metal_token", "tube")


@dataclass(frozen=True)
class Confounder:
    """Something outside the organs that goes with a finding, and that no report mentions.

    Attributes:
        finding: one of the findings of ``DEFAULT_PREVALENCE``.
        kind: ``body_wall_fat`` (thick fat at the flanks), ``metal_token`` (on the skin) or ``tube`` (outside the body).
        correlation: share of the scans in train, valid and test in which it is present exactly when the finding is.
        shifted: its relation to the finding in the shifted split.
    """

    finding: str
    kind: Literal["body_wall_fat", "metal_token", "tube"]
    correlation: float = 0.95
    shifted: Literal["independent", "reversed"] = "independent"

    def __post_init__(self) -> None:
        _look_up("finding", self.finding, DEFAULT_PREVALENCE)
        _look_up("kind", self.kind, CONFOUNDER_KINDS)
        _look_up("shifted", self.shifted, ("independent", "reversed"))
        if not 0.5 <= self.correlation <= 1:
            msg = f"correlation must lie in [0.5, 1] (0.5: no relation), got {self.correlation}"
            raise ConfigError(msg)


def _default_confounders() -> tuple[Confounder, ...]:
    return (Confounder("aortic_calcification", "body_wall_fat"), Confounder("pleural_effusion", "metal_token"))


@dataclass(frozen=True)
class PhantomSettings:
    """A phantom data set.

    Attributes:
        seed: any whole number from 0; everything follows from it and the scan's id.
        shape: voxels (inferior, posterior, left).
        spacing_mm: mm along the same axes; None lays 320 x 390 x 390 mm, a whole chest, over ``shape``.
        scans: number of scans in each of train, valid, test and shifted.
        prevalence: share of the scans with each finding; findings left out keep their default, 0 turns one off.
        confounders: as :class:`Confounder` or mappings of its fields.
        interventions: number of base scans for each confounder, each written alone, with the lesion put in, and with
            the confounder put in.
        nodule_mm: smallest and largest diameter of a nodule. Below about 14 mm a nodule is lost on the default grid.
        noise_hu: smallest and largest standard deviation of the noise in soft tissue.
        arms_down: share of the scans with the arms beside the body.
        variants: in what every person differs from the usual adult: ``raised_right_dome``, ``raised_left_dome``,
            ``eventration``, ``sloping_wall``, ``hiatal_hernia`` (no report mentions it), ``lateral_aorta``,
            ``contrast``, ``small_right_lung``, ``small_left_lung`` (a narrow half of the chest with a high dome);
            ``subpulmonic_fluid`` lays every pleural effusion under its lung instead of behind it.
        variant_share: share of the people who have each of the variants, drawn for each variant alone.
        off_centre_mm: how far people lie from the middle of the field of view, at most, along (inferior, posterior,
            left); each lies elsewhere.
        turned_degrees: how far people are turned about their long axis, at most, to either side; the table with them.
        cropped_mm: how much of the field of view is missing at the top and at the bottom, at most; scans then differ in
            their number of slices. What lies outside is neither in the truth nor in the report.
        focal_scale: factor of the sizes of nodules, masses, cysts, consolidations and ground glass.
        one_sided: whether no finding of the lungs lies on both sides, except emphysema.

    Raises:
        ConfigError: for a value outside its range or an unknown name, with the nearest legal one.

    Example:
        >>> PhantomSettings(scans={"train": 4}, prevalence={"mass": 0.5}).scans["train"]
        4
    """

    seed: int = 0
    shape: tuple[int, int, int] = (24, 96, 96)
    spacing_mm: tuple[float, float, float] | None = None
    scans: Mapping[str, int] = field(default_factory=lambda: {"train": 300, "valid": 80, "test": 120, "shifted": 120})
    prevalence: Mapping[str, float] = field(default_factory=dict)
    confounders: tuple[Confounder, ...] = field(default_factory=_default_confounders)
    interventions: int = 20
    nodule_mm: tuple[float, float] = (14.0, 29.0)
    noise_hu: tuple[float, float] = (8.0, 22.0)
    arms_down: float = 0.15
    variants: tuple[str, ...] = ()
    variant_share: float = 1.0
    off_centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turned_degrees: float = 0.0
    cropped_mm: float = 0.0
    focal_scale: float = 1.0
    one_sided: bool = False

    def __post_init__(self) -> None:
        set_field = object.__setattr__  # the dataclass is frozen; sequences of a YAML file become tuples once, here
        set_field(self, "shape", tuple(int(n) for n in _triple("shape", self.shape)))
        if self.spacing_mm is not None:
            set_field(self, "spacing_mm", tuple(float(s) for s in _triple("spacing_mm", self.spacing_mm)))
        set_field(self, "scans", {split: int(self.scans.get(split, 0)) for split in SPLITS if _known(self.scans)})
        for finding in self.prevalence:
            _look_up("prevalence", finding, DEFAULT_PREVALENCE)
        set_field(self, "prevalence", {**DEFAULT_PREVALENCE, **self.prevalence})
        set_field(self, "confounders", tuple(_confounder(c) for c in self.confounders))
        set_field(self, "nodule_mm", _range("nodule_mm", self.nodule_mm))
        set_field(self, "noise_hu", _range("noise_hu", self.noise_hu))
        set_field(self, "variants", tuple(_variants(self.variants)))
        set_field(self, "off_centre_mm", tuple(float(s) for s in _triple("off_centre_mm", self.off_centre_mm)))
        _validate(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PhantomSettings:
        """From the ``phantom:`` section of a workflow file.

        Raises:
            ConfigError: for an unknown key, with the nearest legal one.
        """
        legal = [f.name for f in fields(cls)]
        for key in values:
            _look_up("phantom setting", key, legal)
        return cls(**values)

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Spacing in use, mm."""
        if self.spacing_mm is not None:
            return self.spacing_mm
        return (320 / self.shape[0], 390 / self.shape[1], 390 / self.shape[2])


def _validate(settings: PhantomSettings) -> None:
    problems = []
    if settings.seed < 0:
        problems.append(f"seed must be 0 or more, got {settings.seed}")
    if not 8 <= min(settings.shape) <= max(settings.shape) <= 1024:
        problems.append(f"shape needs at least 8 voxels along each axis and at most 1024, got {settings.shape}")
    if settings.spacing_mm is not None and not all(0.1 <= s <= 40 for s in settings.spacing_mm):
        problems.append(f"spacing_mm must lie in 0.1..40, got {settings.spacing_mm}")
    if min(settings.scans.values()) < 0 or settings.interventions < 0:
        problems.append("numbers of scans and interventions must be 0 or more")
    if max(*settings.scans.values(), settings.interventions) > MOST_SCANS:
        problems.append(f"scans and interventions must be at most {MOST_SCANS:,} a split")
    problems += [
        f"prevalence of {f} must lie in [0, 1], got {p}" for f, p in settings.prevalence.items() if not 0 <= p <= 1
    ]
    for name, low, high in (
        ("arms_down", 0, 1),
        ("variant_share", 0, 1),
        ("turned_degrees", 0, 45),
        ("cropped_mm", 0, 120),
        ("focal_scale", 0.1, 1.5),
    ):
        if not low <= getattr(settings, name) <= high:
            problems.append(f"{name} must lie in [{low}, {high}], got {getattr(settings, name)}")
    if not all(0 <= mm <= 150 for mm in settings.off_centre_mm):
        problems.append(f"off_centre_mm must lie in 0..150, got {settings.off_centre_mm}")
    kinds = [c.kind for c in settings.confounders]
    if len(set(kinds)) < len(kinds):
        problems.append(f"each kind of confounder can be used once, got {', '.join(kinds)}")
    if problems:
        msg = "phantom: " + "; ".join(problems)
        raise ConfigError(msg)


def _variants(values: Any) -> Iterator[str]:
    for value in [values] if isinstance(values, str) else values:
        _look_up("variant", value, VARIANTS)
        yield value


def _look_up(what: str, word: str, legal: Any) -> None:
    if word not in legal:
        msg = f"phantom: unknown {what} {word!r}; {did_you_mean(str(word), legal)}"
        raise ConfigError(msg)


def _known(scans: Mapping[str, int]) -> bool:
    for split in scans:
        _look_up("split", split, SPLITS)
    return True


def _triple(name: str, values: Any) -> Any:
    if len(values) != 3:
        msg = f"phantom: {name} needs three numbers (inferior, posterior, left), got {values!r}"
        raise ConfigError(msg)
    return values


def _range(name: str, values: Any) -> tuple[float, float]:
    if len(values) != 2 or not 0 <= values[0] <= values[1]:
        msg = f"phantom: {name} needs two numbers, smallest first and not negative, got {values!r}"
        raise ConfigError(msg)
    return (float(values[0]), float(values[1]))


def _confounder(value: Confounder | Mapping[str, Any]) -> Confounder:
    if isinstance(value, Confounder):
        return value
    legal = [f.name for f in fields(Confounder)]
    for key in value:
        _look_up("confounder setting", key, legal)
    return Confounder(**value)
