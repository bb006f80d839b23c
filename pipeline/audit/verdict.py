"""The verdict on a label, from interventions alone: uses the organ, mixed, or a shortcut by name.

"Uses the organ" needs proof: its organs alone tell the label, or a lesion that is put into them raises the score.

Maps are no part of it: a network can keep its map inside the organ and read a shortcut through its receptive field, and
a map outside can be an artefact (Adebayo et al., "Post hoc explanations may be ineffective for detecting unknown
spurious correlation", 2022). What decides is what the score does when something is put in or taken away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["SHORTCUT", "TRACE", "Verdict", "judge", "separation_of", "without_it"]

SHORTCUT = 0.35
"""Share of the distance between scans with and without a label by which a confounder alone moves its score."""
TRACE = 0.15
"""Share from which it is said at all."""
CERTAIN = 2.5
"""Standard errors by which a mean change must differ from zero."""
TOLD_WITHOUT = 0.70
"""AUROC without the organ, lower limit, from which the label is told from elsewhere."""
LEARNED = 0.70
"""AUROC on full scans below which a label is not told well enough to ask by what."""
CHANCE, LOST = 0.5, 0.1
"""AUROC without the organ (lower limit) above which, or loss of AUROC on it alone from which, a shortcut is at work."""
OUTLINE = 0.70
"""AUROC of the organs' volume from which their outline tells the label: an enlarged heart, fluid around it."""
LEAST_SCANS = 3


@dataclass(frozen=True)
class Verdict:
    """What is said of one label.

    Attributes:
        label: which one.
        verdict: ``uses the organ``, ``mixed``, ``shortcut: ...``, ``no shortcut found`` (and no proof either),
            ``not learned`` or ``cannot be told``.
        words: one sentence with the numbers behind it.
        shares: what was put in -> mean change of the score, in shares of the separation.
    """

    label: str
    verdict: str
    words: str
    shares: Mapping[str, float]


def separation_of(full: np.ndarray, present: np.ndarray | None, lesions: np.ndarray) -> tuple[float, str]:
    """How far apart the scores of scans with and without a label lie, and what that was taken from.

    Args:
        full: logits of the scans ``[N]``.
        present: true labels ``[N]``, if they are known.
        lesions: changes of the logit by lesions of the label that were put in.
    """
    if present is not None and present.any() and not present.all():
        apart = float(full[present].mean() - full[~present].mean())
        if apart > 0:
            return apart, "scans with and without it"
    spread = float(2 * full.std()) if full.size > 1 else 0.0
    lesion = float(lesions.mean()) if lesions.size else 0.0
    if lesion > spread:
        return lesion, "what a lesion put in does"
    return (spread if spread > 0 else float("nan")), "twice the spread of the scores"


def without_it(inserted: pd.DataFrame) -> pd.DataFrame:
    """What was put into scans without the label, or into all where there are none.

    A second effusion need not raise a score that says effusion already, and a softer kernel takes findings away.
    """
    absent = inserted[~inserted["present"].astype(bool)]
    return inserted if absent.empty else absent


def judge(
    label: str,
    separation: float,
    inserted: pd.DataFrame,
    areas: Mapping[str, tuple[float, float, float]],
    outline: float = float("nan"),
    few: bool = False,
) -> Verdict:
    """Weigh what interventions did to one label.

    Args:
        label: which one.
        separation: of ``separation_of``.
        inserted: rows of this label: ``inserted, group, wanted, present, change``; weighed by ``without_it``.
        areas: ``full``, ``only`` and ``without`` -> AUROC with its interval; NaN where it is not known.
        outline: how well the volume of its organs alone tells the label. Organs that are painted over keep their
            outline, so that from `OUTLINE` on what is told without them is no proof against the model.
        few: whether labels are known, and one of the classes has too few scans.
    """
    shares, sure = {}, {}
    groups = dict(zip(inserted["inserted"], inserted["group"], strict=True))
    for name, rows in inserted.groupby("inserted", sort=False):
        change = without_it(rows)["change"].to_numpy() / separation
        shares[str(name)] = float(change.mean())
        error = change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.inf
        sure[str(name)] = len(change) >= LEAST_SCANS and abs(change.mean()) > CERTAIN * error
    others = {name: share for name, share in shares.items() if groups[name] != "lesion"}
    # A poorer acquisition takes findings away and is no shortcut for that; one that makes a finding appear is.
    counted = {name: share for name, share in others.items() if groups[name] == "confounder" or share > 0}
    strong = {name: share for name, share in counted.items() if sure[name] and abs(share) >= SHORTCUT}
    traces = {name: share for name, share in counted.items() if sure[name] and abs(share) >= TRACE}
    lesions = without_it(inserted[inserted["wanted"].astype(bool)])["change"].to_numpy(dtype=float) / separation
    without = areas.get("without", (np.nan,) * 3)
    told = [_areas(areas), _of_outline(outline), _lesions(lesions), _moves(strong or traces)]
    words = f"{label}: {' '.join(part for part in told if part)}"
    if not np.isfinite(separation):
        return Verdict(label, "cannot be told", f"{label}: its scores do not differ from scan to scan.", shares)
    if few:
        return Verdict(label, "cannot be told", f"{label}: too few scans with it, or without it.", shares)
    if not others and not np.isfinite(without[0]):
        missing = "nothing was put in beside lesions, and no AUROC without the organ is known"
        return Verdict(label, "cannot be told", f"{label}: {missing}.", shares)
    elsewhere = without[1] >= TOLD_WITHOUT and not outline >= OUTLINE
    proof = areas["only"][0] >= LEARNED or (lesions.size > 0 and lesions.mean() >= TRACE)
    # What moves a score is a shortcut if it is at work in these scans: they are told without the organ, or worse by it.
    leaks = without[1] > CHANCE and not outline >= OUTLINE
    used = not np.isfinite(without[0]) or leaks or areas["full"][0] - areas["only"][0] >= LOST
    named = ", ".join(sorted(strong, key=lambda name: -abs(strong[name])))
    rules = (
        (areas["full"][0] < LEARNED, "not learned"),
        (bool(strong) and used, f"shortcut: {named}"),
        (elsewhere and without[0] >= areas["only"][0], "shortcut: what lies outside its organs"),
        (bool(strong) or (bool(traces) and used) or elsewhere or (lesions.size > 0 and lesions.mean() <= 0), "mixed"),
        (proof, "uses the organ"),
        (True, "no shortcut found"),
    )
    return Verdict(label, next(verdict for holds, verdict in rules if holds), words, shares)


def _areas(areas: Mapping[str, tuple[float, float, float]]) -> str:
    known = {name: area for name, area in areas.items() if np.isfinite(area[0])}
    if {"full", "only", "without"} - known.keys():
        return "AUROC is not known (no labels, or one class only)."
    (full, *_), (only, *_), (without, low, high) = known["full"], known["only"], known["without"]
    limits = f" ({low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    return f"AUROC {full:.2f} on the full scan, {only:.2f} on its organs alone, {without:.2f}{limits} without them."


def _of_outline(outline: float) -> str:
    if not outline >= OUTLINE:
        return ""
    return f"The volume of its organs alone tells it too ({outline:.2f}), and their outline stays when they are taken."


def _lesions(shares: np.ndarray) -> str:
    if not shares.size:
        return ""
    rises = int((shares > 0).sum())
    return f"A lesion put in moves the score by {shares.mean():+.0%} of the way ({rises} of {shares.size} rise)."


def _moves(shares: Mapping[str, float]) -> str:
    if not shares:
        return "Nothing that was put in beside lesions moves it by much."
    parts = [f"{name} {share:+.0%}" for name, share in sorted(shares.items(), key=lambda item: -abs(item[1]))]
    return f"Without any finding it moves by: {', '.join(parts)}."
