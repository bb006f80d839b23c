"""What the gain of a mask loss comes from: models that differ in nothing but whose masks they were trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import Workflow
from .paired import Difference, auroc_median, difference, mean_of_pairs, patient_draws
from .scores import ModelScores, SplitScores

__all__ = ["Ladder", "find_ladders", "ladder_sentence", "ladder_table"]

BASELINE = "none"
"""The rung of the model without a mask loss."""

USUAL_PLACE = ("permuted", "atlas")
"""Controls that teach where organs usually lie."""

MASKS = {
    "permuted": "another patient's masks",
    "atlas": "the mean mask",
    "shuffled": "the same cells at random places",
    "swapped": "other organs' masks",
}


@dataclass(frozen=True)
class Ladder:
    """Models that differ by the control of their mask loss alone.

    Attributes:
        rungs: control -> model: ``own`` first, then what the workflow has of the others, in the order of
            `organcam.losses.CONTROLS`.
        baseline: the same network, trained in the same way without a mask loss; None where there is none.
    """

    rungs: Mapping[str, str]
    baseline: str | None

    @property
    def models(self) -> dict[str, str]:
        """Rung -> model, the baseline (``none``) first."""
        return {**({BASELINE: self.baseline} if self.baseline else {}), **self.rungs}


def find_ladders(workflow: Workflow) -> list[Ladder]:
    """The ladders of a workflow: own masks and at least one control, all else alike."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    plain: dict[str, str] = {}
    for model, settings in workflow.models.items():
        network = {"name": "axialnet", **workflow.network_of(model)}
        alike = f"{sorted(network.items())} {workflow.training_of(model).model_dump_json()}"
        loss = settings.mask_loss
        if loss is None:
            plain.setdefault(alike, model)
        else:
            found.setdefault((alike, loss.model_dump_json(exclude={"control"})), {}).setdefault(loss.control, model)
    order = ("own", *MASKS)
    return [
        Ladder({name: rungs[name] for name in order if name in rungs}, plain.get(alike))
        for (alike, _), rungs in found.items()
        if "own" in rungs and len(rungs) > 1
    ]


def ladder_table(
    ladder: Ladder, scores: Mapping[str, ModelScores], split: str, patients: Mapping[str, str], seed: int
) -> pd.DataFrame:
    """One row a rung and figure: its value, and own masks' value minus it, with a paired bootstrap interval.

    OrganIoU is the mean over all pairs of a scan and a label that its report has, of HiResCAM where it was made; the
    same for pointing; AUROC is the median over labels, in the split and in the shifted one.

    Args:
        ladder: the models.
        scores: model -> figures of its scans; models without any are left out.
        split: that the figures are of.
        patients: scan -> patient; patients are drawn, not scans. A scan that is missing is its own patient.
        seed: of the draws.

    Returns:
        ``own, control, model, figure, split, value, gain, low, high, change``: ``own`` is the model of own masks,
        ``gain`` is what it has above the rung, ``change`` is ``gained`` or ``lost`` where the interval leaves 0 out,
        else ``unclear``. Empty if own masks or everything else is missing.
    """
    there = {rung: scores[model] for rung, model in ladder.models.items() if model in scores}
    if "own" not in there or len(there) < 2:
        return pd.DataFrame()
    rows = []
    for figure, of_split, measure in _figures(there["own"], split):
        parts = {rung: found.of_split(of_split) for rung, found in there.items() if of_split in found.splits()}
        shared = _shared_scans(list(parts.values()))
        if "own" not in parts or not shared:
            continue
        draws = patient_draws([patients.get(name, name) for name in shared], seed)
        values = {rung: measure(found, _rows_of(found, shared), draws) for rung, found in parts.items()}
        for rung, drawn in values.items():
            gain = difference(values["own"], drawn) if rung != "own" else Difference(nan, nan, nan)
            row = {
                "own": ladder.rungs["own"],
                "control": rung,
                "model": ladder.models[rung],
                "figure": figure,
                "split": of_split,
            }
            rows.append({**row, "value": float(drawn[0]), **_gain(gain)})
    return pd.DataFrame(rows)


Measure = Callable[[SplitScores, NDArray[np.intp], NDArray[np.float64]], NDArray[np.float64]]


def _figures(own: ModelScores, split: str) -> Iterator[tuple[str, str, Measure]]:
    here = own.of_split(split)
    method = "hirescam" if "hirescam" in here.organ_iou else next(iter(here.organ_iou))

    def overlap(found: SplitScores, rows: NDArray[np.intp], draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean_of_pairs(found.organ_iou[method][rows], draws)

    def pointing(found: SplitScores, rows: NDArray[np.intp], draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean_of_pairs(found.pointing[method][rows], draws)

    def area(found: SplitScores, rows: NDArray[np.intp], draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return auroc_median(found.logits[rows], found.present[rows], draws)

    yield "organ_iou", split, overlap
    if here.pointing:
        yield "pointing", split, pointing
    yield "auroc_median", split, area
    if "shifted" in own.splits() and split != "shifted":
        yield "auroc_median", "shifted", area


def _shared_scans(parts: Sequence[SplitScores]) -> list[str]:
    common = set.intersection(*(set(found.scan_ids) for found in parts)) if parts else set()
    return sorted(common)


def _rows_of(found: SplitScores, scan_ids: Sequence[str]) -> NDArray[np.intp]:
    rows = {name: row for row, name in enumerate(found.scan_ids)}
    return np.array([rows[name] for name in scan_ids])


def _gain(gain: Difference) -> dict[str, Any]:
    change = "" if isnan(gain.low) else "gained" if gain.low > 0 else "lost" if gain.high < 0 else "unclear"
    return {"gain": gain.value, "low": gain.low, "high": gain.high, "change": change}


def ladder_sentence(table: pd.DataFrame) -> str:
    """What the gain in OrganIoU comes from, in words: regularisation, where organs usually lie, the patient's anatomy.

    The share of regularisation is what masks of random cells reach of the way from the baseline to own masks; that of
    the usual place is how much further the better of another patient's and the mean mask gets; the rest is the
    patient's own anatomy.

    Args:
        table: of `ladder_table`.

    Returns:
        Empty for an empty table.
    """
    rows = {} if table.empty else table[table["figure"] == "organ_iou"].set_index("control").to_dict("index")
    if not rows or isnan(rows["own"]["value"]):
        return ""
    own = rows["own"]["model"]
    if BASELINE not in rows:
        return f"OrganIoU of {own}: {_list(rows, [rung for rung in rows if rung != 'own'])}."
    gain, baseline = rows[BASELINE], rows[BASELINE]["model"]
    if gain["change"] != "gained":
        return (
            f"OrganIoU of {own} is {gain['gain']:+.3f} beside {baseline} ({_interval(gain)}): no gain beyond chance, "
            "so there is none to trace."
        )
    return f"{own} gains {gain['gain']:.3f} in OrganIoU over {baseline} ({_interval(gain)}){_source(rows)}."


def _source(rows: Mapping[Any, Mapping[str, Any]]) -> str:
    """The end of the sentence: where a gain over the baseline comes from, as far as the controls tell."""
    usual = max((rung for rung in USUAL_PLACE if rung in rows), key=lambda rung: rows[rung]["value"], default=None)
    tried = [rung for rung in (usual, "shuffled") if rung is not None and rung in rows]
    reached = {rung: 1 - rows[rung]["gain"] / rows[BASELINE]["gain"] for rung in tried}
    random = min(max(reached.get("shuffled", 0.0), 0.0), 1.0)
    if usual is None:
        if not tried:
            return "; whether from more than regularisation, no control of the workflow tells"
        source = "where the masks' cells lie" if random < 1 / 2 else "mere regularisation"
        return f", mostly from {source}: {_list(rows, tried)}"
    best = max(random, min(reached[usual], 1.0))
    shares = {"mere regularisation": random} if "shuffled" in rows else {}
    shares |= {"where organs usually lie": best - random, "the patient's own anatomy": 1 - best}
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f", mostly from {max(shares, key=lambda name: shares[name])} ({told}): {_list(rows, tried)}"


def _beside(rows: Mapping[Any, Mapping[str, Any]], rung: str) -> str:
    row = rows[rung]
    verdict = ", within chance" if row["change"] == "unclear" else ""
    return f"own masks are {row['gain']:+.3f} beside {MASKS[rung]} ({_interval(row)}{verdict})"


def _interval(row: Mapping[str, Any]) -> str:
    return f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}"


def _list(rows: Mapping[Any, Mapping[str, Any]], rungs: Sequence[str]) -> str:
    return "; ".join(_beside(rows, rung) for rung in rungs)
