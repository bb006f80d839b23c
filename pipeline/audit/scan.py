"""One scan asked in many ways: as it is, in parts, and with things put into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..catalogue.targets import possible_places
from ..data.volume import Volume
from ..errors import ConfigError, DataError
from ..metrics.functional import energy_pointing, evidence_by_region, pointing_accuracy
from .insertion import Insertion, insert
from .kinds import Wish
from .model import Answer, Model
from .parts import OUTSIDE, PARTS, paint_over, parts_of
from .traits import traits_of

__all__ = ["ScanFacts", "allowed_parts", "ask_scan", "look_at"]

LEAST_COVER = 0.1
"""Share of a cell from which a thing counts as being in it; cells are centimetres wide."""


@dataclass
class ScanFacts:
    """What was found on one scan.

    Attributes:
        scan_id: which one.
        logits: ``full`` and, by organs, ``only`` and ``without`` -> ``[M]``.
        evidence: share of the positive evidence in each part, ``[M, parts]`` in the order of ``PARTS``.
        slabs: of each label the place along the first axis of the grid with the most evidence, ``[M]``.
        traits: of ``traits_of``.
        inserted: rows of what was put in, one a wish and label.
        notes: what could not be put in, and why.
    """

    scan_id: str
    logits: dict[str, dict[tuple[int, ...], NDArray[np.float64]]]
    evidence: NDArray[np.float64] | None
    slabs: NDArray[np.intp]
    traits: dict[str, float]
    inserted: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def allowed_parts(label: str) -> tuple[int, ...]:
    """Organs in which a label's evidence may lie; both lungs, heart and mediastinum for a label that is not known.

    Example:
        >>> allowed_parts("lung_nodule"), allowed_parts("heart_stent"), allowed_parts("fracture")
        ((1, 2), (3,), (1, 2, 3))
    """
    try:
        return tuple(value for value, bit in zip((1, 2, 3), possible_places(label), strict=False) if bit)
    except ConfigError:
        return (1, 2, 3)


def look_at(scan: Volume, organs: Volume) -> tuple[Volume, dict[str, float]]:
    """Parts and traits of a scan.

    Raises:
        DataError: if the organs lie on other voxels.
    """
    if organs.array.shape != scan.array.shape or not np.allclose(organs.affine, scan.affine, atol=1e-2):
        msg = f"organs {organs.array.shape} and scan {scan.array.shape} do not lie on the same voxels"
        raise DataError(msg)
    parts = parts_of(scan, organs)
    return parts, traits_of(scan, parts)


def ask_scan(
    scan_id: str,
    scan: Volume,
    organs: Volume,
    model: Model,
    fills: Mapping[int, float],
    wishes: Sequence[Wish] = (),
    seed: int = 0,
) -> tuple[ScanFacts, list[tuple[Insertion, Answer, Answer]]]:
    """Ask a model about one scan in every way.

    Args:
        scan_id: of the scan.
        scan: HU.
        organs: 1 right lung, 2 left lung, 3 heart and mediastinum.
        model: to ask.
        fills: HU that a part is painted over with.
        wishes: what to put in.
        seed: of places and shapes.

    Returns:
        Facts, and what was put in with the answers before and after, for pictures.
    """
    parts, traits = look_at(scan, organs)
    full = model.answer(scan)
    facts = ScanFacts(scan_id, {"full": {(): full.logits}}, _evidence(full, parts), _slabs(full), traits)
    for allowed in sorted({allowed_parts(label) for label in model.labels}):
        others = [value for value in PARTS if value not in allowed]
        only, without = (paint_over(scan, parts, values, fills) for values in (others, allowed))
        facts.logits.setdefault("only", {})[allowed] = model.answer(only).logits
        facts.logits.setdefault("without", {})[allowed] = model.answer(without).logits
    shown = []
    for wish in wishes:
        try:
            made = insert(scan, organs, wish, seed=seed)
        except DataError as error:
            facts.notes.append(f"{scan_id}: {wish}: {error}")
            continue
        after = model.answer(made.volume)
        facts.inserted += _rows(scan_id, made, full, after, parts, model.labels)
        shown.append((made, full, after))
    return facts, shown


def _evidence(answer: Answer, parts: Volume) -> NDArray[np.float64] | None:
    shares = answer.shares(parts, tuple(value for value in PARTS if value != OUTSIDE))
    if shares is None:
        return None
    known = evidence_by_region(torch.from_numpy(answer.maps)[None], torch.from_numpy(shares)[None])[0].numpy()
    return np.concatenate([known, 1 - known.sum(axis=1, keepdims=True)], axis=1)


def _slabs(answer: Answer) -> NDArray[np.intp]:
    positive = np.clip(answer.maps, 0, None)
    return positive.reshape(*positive.shape[:2], -1).sum(-1).argmax(-1)


def _rows(
    scan_id: str, made: Insertion, before: Answer, after: Answer, parts: Volume, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Per label: the change of the logit, and how much of what lights up does so where the thing was put."""
    change = torch.from_numpy(after.maps - before.maps)[None]
    thing = Volume(
        (made.covered > 0.5).astype(np.uint8) if made.covered.max() > 0.5 else (made.covered > 0).astype(np.uint8),
        made.volume.affine,
    )
    local = made.wish.kind.group != "acquisition"
    share = after.shares(thing, (1,)) if local else None
    hits = energy = None
    if share is not None:
        there = torch.from_numpy(share)[None].expand_as(change) >= min(LEAST_COVER, float(share.max()) / 2)
        hits, energy = pointing_accuracy(change, there, 1)[0], energy_pointing(change, there)[0]
    evidence = after.shares(parts, (1, 2, 3))
    inside = None if evidence is None else evidence_by_region(change, torch.from_numpy(evidence)[None])[0].numpy()
    rows = []
    for place, label in enumerate(labels):
        allowed = allowed_parts(label)
        rows.append(
            {
                "scan_id": scan_id,
                "inserted": made.wish.kind.name,
                "group": made.wish.kind.group,
                "size_mm": np.nan if made.wish.size_mm is None else made.wish.size_mm,
                "place": made.place,
                "label": label,
                "wanted": label in made.wish.kind.labels,
                "before": float(before.logits[place]),
                "after": float(after.logits[place]),
                "change": float(after.logits[place] - before.logits[place]),
                "peak_hits": np.nan if hits is None else float(hits[place]),
                "lit_there": np.nan if energy is None else float(energy[place]),
                "lit_in_organ": np.nan if inside is None else float(inside[place, [v - 1 for v in allowed]].sum()),
            }
        )
    return rows
