"""What is kept of maps that are read one after another: a number a scan, label and method, no map and no curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..metrics.thresholds import THRESHOLDS, fill_thresholds

__all__ = ["ModelScores", "ScanFigures", "SplitScores", "ThresholdSearch"]


class ThresholdSearch:
    """The best OrganIoU threshold of each label, from running sums over the validation scans.

    The same choice as `organcam.metrics.find_thresholds` (highest mean over the scans that have the label, the smallest
    of equals) without the ``[N, M, T]`` curves in memory.

    Args:
        labels: names of the M labels.

    Example:
        >>> search = ThresholdSearch(("nodule",))
        >>> curve = np.zeros((1, len(THRESHOLDS)))
        >>> curve[0, 4] = 1.0
        >>> search.add(curve, np.array([True]))
        >>> search.best().tolist() == [THRESHOLDS[4]]
        True
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._sums = np.zeros((len(labels), len(THRESHOLDS)))
        self._counts = np.zeros(len(labels), dtype=int)

    def add(self, curve: NDArray[np.float64], present: NDArray[np.bool_]) -> None:
        """Add one scan: its OrganIoU at every threshold ``[M, T]``, and which labels it has ``[M]``."""
        self._sums[present] += curve[present]
        self._counts += present

    def add_one(self, label: int, curve: NDArray) -> None:
        """Add one scan that has a label, by the label's place: its OrganIoU at every threshold ``[T]``."""
        self._sums[label] += curve
        self._counts[label] += 1

    def best(self) -> NDArray[np.float64]:
        """Thresholds ``[M]``, NaN for a label that no scan had."""
        chosen = np.asarray(THRESHOLDS)[np.argmax(self._sums / np.maximum(self._counts, 1)[:, None], axis=1)]
        return np.where(self._counts > 0, chosen, np.nan)

    def steps(self) -> NDArray[np.intp]:
        """Index of each label's threshold in the curve; labels without one take the median of the others."""
        wanted = fill_thresholds(self.best())
        return np.abs(np.asarray(THRESHOLDS)[None, :] - wanted[:, None]).argmin(axis=1)


@dataclass(frozen=True)
class ScanFigures:
    """What one model did on one scan.

    Attributes:
        scan_id: the scan.
        split: where it is scored.
        present: true labels ``[M]``.
        logits: scores ``[M]``.
        organ_iou: method -> ``[M]``, NaN for absent labels.
        pointing: method -> hits ``[M]``, NaN without a known lesion; empty for a scan without any.
        energy: method -> share of positive evidence on the lesion ``[M]``, in the same way.
    """

    scan_id: str
    split: str
    present: NDArray[np.bool_]
    logits: NDArray[np.float32]
    organ_iou: Mapping[str, NDArray[np.float64]]
    pointing: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    energy: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitScores:
    """What one model did on the N scans of one split, a row a scan.

    Attributes:
        scan_ids: the N scans.
        present: true labels ``[N, M]``.
        logits: scores ``[N, M]``.
        organ_iou: method -> ``[N, M]``.
        pointing: method -> ``[N, M]``; empty if no scan has a known lesion.
        energy: method -> ``[N, M]``, in the same way.
    """

    scan_ids: tuple[str, ...]
    present: NDArray[np.bool_]
    logits: NDArray[np.float32]
    organ_iou: Mapping[str, NDArray[np.float64]]
    pointing: Mapping[str, NDArray[np.float64]]
    energy: Mapping[str, NDArray[np.float64]]


@dataclass
class ModelScores:
    """All scans of one model.

    Attributes:
        labels: names of the M labels.
        scans: figures in the order in which they were added.
    """

    labels: tuple[str, ...]
    scans: list[ScanFigures] = field(default_factory=list)

    def splits(self) -> tuple[str, ...]:
        """Splits with at least one scan, in the order in which they came."""
        return tuple(dict.fromkeys(scan.split for scan in self.scans))

    def of_split(self, split: str) -> SplitScores:
        """The scans of one split as arrays."""
        here = [scan for scan in self.scans if scan.split == split]
        methods = list(dict.fromkeys(method for scan in here for method in scan.organ_iou))
        nothing = np.full(len(self.labels), np.nan)
        known = any(scan.pointing for scan in here)
        return SplitScores(
            tuple(scan.scan_id for scan in here),
            np.stack([scan.present for scan in here]),
            np.stack([scan.logits for scan in here]),
            {method: np.stack([scan.organ_iou[method] for scan in here]) for method in methods},
            {m: np.stack([scan.pointing.get(m, nothing) for scan in here]) for m in methods} if known else {},
            {m: np.stack([scan.energy.get(m, nothing) for scan in here]) for m in methods} if known else {},
        )
