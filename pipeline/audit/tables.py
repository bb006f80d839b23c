"""The tables of an audit, from the facts of its scans: labels with verdicts, correlations, and sensitivity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from ..metrics import auroc, bootstrap_auroc, draw_weights, interval
from .parts import OUTSIDE, PARTS
from .scan import ScanFacts, allowed_parts
from .traits import TRAITS
from .verdict import judge, separation_of, without_it

__all__ = ["AuditTables", "audit_tables"]

LEAST_SCANS = 8
"""Fewer scans give no correlation."""
LEAST_OF_A_CLASS = 5
"""Scans with, and without, a label from which its AUROC is told."""
SHOWN = 3
VOLUMES = {1: "right_lung_ml", 2: "left_lung_ml", 3: "heart_mediastinum_ml"}


@dataclass(frozen=True)
class AuditTables:
    """Labels with verdicts; correlation of scores with traits; changes by what was put in; every single change."""

    labels: pd.DataFrame
    correlations: pd.DataFrame
    sensitivity: pd.DataFrame
    insertions: pd.DataFrame


def audit_tables(
    facts: Sequence[ScanFacts],
    labels: Sequence[str],
    present: NDArray[np.bool_] | None = None,
    patients: Sequence[str] | None = None,
) -> AuditTables:
    """Put the scans together.

    Args:
        facts: of each of N scans.
        labels: names of the M outputs.
        present: true labels ``[N, M]``; None where they are not known. A label that no table has may be told by NaN in
            a float array: it is then unknown.
        patients: of the scans, for intervals; None if each scan is a patient.
    """
    full = np.stack([one.logits["full"][()] for one in facts])
    inserted = pd.DataFrame([row for one in facts for row in one.inserted], columns=_COLUMNS)
    rows_of = {one.scan_id: row for row, one in enumerate(facts)}
    weights = draw_weights(list(patients) if patients is not None else [one.scan_id for one in facts])
    correlations = _correlations(facts, labels, full, present)
    rows = []
    for column, label in enumerate(labels):
        there = None if present is None or np.isnan(present[:, column]).any() else present[:, column].astype(bool)
        allowed = allowed_parts(label)
        ways = {"full": full[:, column]}
        for way in ("only", "without"):
            ways[way] = np.array([one.logits[way][allowed][column] for one in facts])
        areas = {way: _area(values, there, weights) for way, values in ways.items()}
        own = inserted[inserted["label"] == label].copy()
        own["present"] = [False if there is None else bool(there[rows_of[name]]) for name in own["scan_id"]]
        separation, source = separation_of(
            full[:, column], there, without_it(own[own["wanted"].astype(bool)])["change"].to_numpy(dtype=float)
        )
        outline = _outline(facts, allowed, there)
        few = there is not None and np.isnan(areas["full"][0])
        verdict = judge(label, separation, own, areas, outline, few)
        row: dict[str, Any] = {"label": label, "verdict": verdict.verdict, "scans": len(facts)}
        row["positives"] = np.nan if there is None else int(there.sum())
        for way, (area, low, high) in areas.items():
            row |= {f"auroc_{way}": area, f"auroc_{way}_low": low, f"auroc_{way}_high": high}
        row["auroc_organ_volume"] = outline
        row |= _evidence(facts, column, allowed) | {"separation": separation, "separation_from": source}
        row |= {f"moved_by_{name}": share for name, share in verdict.shares.items()}
        row["correlates_with"] = _strongest(correlations, label)
        row["top_slab"] = float(np.median([one.slabs[column] for one in facts]))
        row["words"] = verdict.words
        rows.append(row)
    return AuditTables(pd.DataFrame(rows), correlations, _sensitivity(inserted), inserted)


_COLUMNS = [
    *("scan_id", "inserted", "group", "size_mm", "place", "label", "wanted", "before", "after", "change"),
    *("peak_hits", "lit_there", "lit_in_organ"),
]


def _area(
    scores: NDArray[np.float64], present: NDArray[np.bool_] | None, weights: NDArray[np.float64]
) -> tuple[float, float, float]:
    if present is None or min(present.sum(), (~present).sum()) < LEAST_OF_A_CLASS:
        return (np.nan, np.nan, np.nan)
    low, high = interval(bootstrap_auroc(scores[:, None], present[:, None], weights))
    return float(auroc(scores, present)[0]), float(low[0]), float(high[0])


def _outline(facts: Sequence[ScanFacts], allowed: Sequence[int], present: NDArray[np.bool_] | None) -> float:
    """How well the volume of a label's organs alone tells it, whichever way; NaN where that is not known."""
    volumes = np.array([sum(one.traits[VOLUMES[value]] for value in allowed) for one in facts])
    if present is None or min(present.sum(), (~present).sum()) < LEAST_OF_A_CLASS or np.isnan(volumes).any():
        return float("nan")
    area = float(auroc(volumes, present)[0])
    return max(area, 1 - area)


def _evidence(facts: Sequence[ScanFacts], column: int, allowed: Sequence[int]) -> dict[str, float]:
    """Mean shares of the positive evidence inside the label's organs, elsewhere in the body, and outside."""
    known = [one.evidence[column] for one in facts if one.evidence is not None]
    known = [shares for shares in known if not np.isnan(shares).any()]
    names = ("evidence_in_organs", "evidence_elsewhere_in_body", "evidence_outside")
    if not known:
        return dict.fromkeys(names, np.nan)
    mean = dict(zip(PARTS, np.mean(known, axis=0), strict=True))
    inside = sum(mean[value] for value in allowed)
    return dict(zip(names, (inside, 1 - inside - mean[OUTSIDE], mean[OUTSIDE]), strict=True))


def _correlations(
    facts: Sequence[ScanFacts], labels: Sequence[str], full: NDArray[np.float64], present: NDArray | None
) -> pd.DataFrame:
    """Spearman's correlation of scores and traits, among scans without the label where these are enough."""
    rows = []
    traits = {name: np.array([one.traits[name] for one in facts]) for name in TRAITS}
    for column, label in enumerate(labels):
        absent = np.ones(len(facts), bool) if present is None else present[:, column] == 0
        among = "scans without it" if present is not None and absent.sum() >= LEAST_SCANS else "all scans"
        here = absent if among != "all scans" else np.ones(len(facts), bool)
        for name, values in traits.items():
            known = here & np.isfinite(values)
            if known.sum() < LEAST_SCANS or np.ptp(values[known]) == 0 or np.ptp(full[known, column]) == 0:
                continue
            found = spearmanr(values[known], full[known, column])
            told = (float(found.statistic), float(found.pvalue), int(known.sum()), among)
            rows.append((label, name, TRAITS[name], *told))
    columns = ["label", "trait", "in_words", "correlation", "p", "scans", "among"]
    return pd.DataFrame(rows, columns=columns)


def _strongest(correlations: pd.DataFrame, label: str) -> str:
    """The strongest of those that are no chance after as many looks as there were (Bonferroni)."""
    own = correlations[correlations["label"] == label]
    sure = own[own["p"] * max(len(own), 1) < 0.05]
    best = sure.reindex(sure["correlation"].abs().sort_values(ascending=False).index)[:SHOWN]
    return "; ".join(f"{row.in_words} {row.correlation:+.2f}" for row in best.itertuples())


def _sensitivity(inserted: pd.DataFrame) -> pd.DataFrame:
    """Mean change by kind, size and place, and how often the map lights up where the thing was put."""
    keys = ["inserted", "size_mm", "place", "label", "wanted"]
    grouped = inserted.groupby(keys, sort=False, dropna=False)
    found = grouped.agg(
        scans=("change", "size"),
        mean_change=("change", "mean"),
        rises=("change", lambda change: float((change > 0).mean())),
        peak_hits=("peak_hits", "mean"),
        lit_there=("lit_there", "mean"),
        lit_in_organ=("lit_in_organ", "mean"),
    )
    return found.reset_index()
