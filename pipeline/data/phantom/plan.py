"""Which scan gets which findings and confounders, decided for the whole data set before anything is rendered."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from .habitus import Habitus, draw_habitus, variants_of
from .settings import SPLITS, Confounder, PhantomSettings

__all__ = ["ScanSpec", "generator", "person", "plan_dataset"]


@dataclass(frozen=True)
class ScanSpec:
    """One scan to be made.

    Attributes:
        scan_id: safe as a file name.
        patient_id: one per scan; the scans of an intervention share theirs.
        split: ``train``, ``valid``, ``test``, ``shifted`` or ``intervention``.
        base: scan id from which habitus, noise and the shape of every finding follow; equal for the scans of an
            intervention, so that they differ by what was put in alone.
        findings: names of the findings, in painting order.
        confounders: kinds of the confounders.
        counterpart: the base scan's id, for a scan with something put in; else empty.
        inserted: ``lesion``, ``confounder`` or empty.
        target: finding whose confounder the intervention is about, or empty.
    """

    scan_id: str
    patient_id: str
    split: str
    base: str
    findings: tuple[str, ...]
    confounders: tuple[str, ...]
    counterpart: str = ""
    inserted: str = ""
    target: str = ""


def generator(settings: PhantomSettings, base: str, stream: str) -> np.random.Generator:
    """Random numbers of one thing (``stream``) in one scan, whatever else is drawn in whatever order."""
    key = (zlib.crc32(base.encode()), zlib.crc32(stream.encode()))
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))


def person(settings: PhantomSettings, base: str) -> Habitus:
    """The person of a scan; that of the scans of an intervention is the same."""
    variants = variants_of(generator(settings, base, "variants"), settings.variants, settings.variant_share)
    return draw_habitus(generator(settings, base, "habitus"), settings.arms_down, variants)


def plan_dataset(settings: PhantomSettings) -> list[ScanSpec]:
    """All scans of the data set.

    In every split each finding is present in its share of the scans, rounded, and each confounder in its share of the
    scans with and without the finding, so that small splits keep both classes and the set correlation.

    Returns:
        Specs in the order train, valid, test, shifted, interventions.
    """
    specs: list[ScanSpec] = []
    for split in SPLITS:
        specs += _plan_split(settings, split, settings.scans[split])
    return specs + _plan_interventions(settings)


def _plan_split(settings: PhantomSettings, split: str, count: int) -> list[ScanSpec]:
    ids = [f"phantom-{number:04d}-{split}" for number in range(1, count + 1)]
    present = {f: _choose(settings, split, f, ids, p) for f, p in settings.prevalence.items()}
    confounded = {c.kind: _confound(settings, split, c, ids, present[c.finding]) for c in settings.confounders}
    return [
        ScanSpec(
            scan_id,
            f"patient-{scan_id}",
            split,
            scan_id,
            tuple(f for f in settings.prevalence if scan_id in present[f]),
            tuple(k for k, chosen in confounded.items() if scan_id in chosen),
        )
        for scan_id in ids
    ]


def _choose(settings: PhantomSettings, split: str, stream: str, ids: list[str], share: float) -> set[str]:
    """A random subset of the rounded share; never none or all of them unless the share is 0 or 1."""
    count = round(share * len(ids))
    if 0 < share < 1 and len(ids) > 1:
        count = min(max(count, 1), len(ids) - 1)
    order = generator(settings, split, stream).permutation(len(ids))
    return {ids[i] for i in order[:count]}


def _confound(
    settings: PhantomSettings, split: str, confounder: Confounder, ids: list[str], with_it: set[str]
) -> set[str]:
    positives = [i for i in ids if i in with_it]
    negatives = [i for i in ids if i not in with_it]
    agree = confounder.correlation
    in_positives, in_negatives = agree, 1 - agree
    if split == "shifted" and confounder.shifted == "reversed":
        in_positives, in_negatives = 1 - agree, agree
    elif split == "shifted":
        prevalence = settings.prevalence[confounder.finding]
        in_positives = in_negatives = agree * prevalence + (1 - agree) * (1 - prevalence)
    order = generator(settings, split, "confounder " + confounder.kind)
    chosen: set[str] = set()
    for group, share in ((positives, in_positives), (negatives, in_negatives)):
        chosen |= {group[i] for i in order.permutation(len(group))[: round(share * len(group))]}
    return chosen


def _plan_interventions(settings: PhantomSettings) -> list[ScanSpec]:
    """For each confounder: base scans without the finding and without any confounder, and two twins of each."""
    specs = []
    for confounder in settings.confounders:
        for number in range(1, settings.interventions + 1):
            base = f"phantom-{number:04d}-{confounder.kind.replace('_', '-')}"
            draw = generator(settings, base, "plan")
            others = [f for f, p in settings.prevalence.items() if draw.random() < p and f != confounder.finding]
            common = {
                "patient_id": f"patient-{base}",
                "split": "intervention",
                "base": base,
                "target": confounder.finding,
            }
            specs.append(ScanSpec(scan_id=base, findings=tuple(others), confounders=(), **common))
            lesion = tuple(f for f in settings.prevalence if f in others or f == confounder.finding)
            twin = {"counterpart": base, **common}
            specs.append(ScanSpec(f"{base}-with-lesion", findings=lesion, confounders=(), inserted="lesion", **twin))
            specs.append(
                ScanSpec(
                    f"{base}-with-confounder",
                    findings=tuple(others),
                    confounders=(confounder.kind,),
                    inserted="confounder",
                    **twin,
                )
            )
    return specs
