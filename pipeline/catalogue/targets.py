"""From the abnormality x location matrix of a set of reports to training targets: the region labels and their organs.

Draelos and Carin's 80 labels are region x abnormality pairs. Each gets a 0/1 target per scan and, where it is present,
the organs in which its evidence may lie. Two rules are offered:

``default``
    A stated side is kept for every lung label; a lung finding without a side counts, in both lungs.
``reference``
    The published code. A lung-specific finding, wherever it is stated, is allowed in both lungs, its side dropped; a
    generic finding in "the lung" without a side becomes a *negative* target, which the mask loss then pushes down
    everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from organcam.errors import ConfigError, DataError, did_you_mean

from .tables import (
    OTHER_DISEASE,
    OTHER_LOCATION,
    REGION_LOCATIONS,
    RegionLabel,
    abnormalities,
    locations,
    region_labels,
)

__all__ = [
    "ORGANS",
    "Fidelity",
    "RegionTargets",
    "custom_targets",
    "possible_organs",
    "region_targets",
    "select_labels",
]

Fidelity = Literal["default", "reference"]

ORGANS: tuple[str, str, str] = ("right_lung", "left_lung", "heart_mediastinum")
"""Order of the organ bits."""


@dataclass(frozen=True)
class RegionTargets:
    """Targets of N scans and M labels.

    Attributes:
        ids: N scan or report ids, the rows.
        names: M label names, the columns.
        present: uint8 ``[N, M]``, 1 where the label is present.
        organs: uint8 ``[N, M, 3]``, 1 where evidence may lie in right lung, left lung, heart and mediastinum; all 0
            where the label is absent.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    present: np.ndarray
    organs: np.ndarray

    def __post_init__(self) -> None:
        shape = (len(self.ids), len(self.names))
        if self.present.shape != shape or self.organs.shape != (*shape, len(ORGANS)):
            msg = f"expected present {shape} and organs {(*shape, 3)}, got {self.present.shape} and {self.organs.shape}"
            raise ValueError(msg)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {scan_id: row for row, scan_id in enumerate(self.ids)}

    def of_scans(self, ids: Sequence[str]) -> RegionTargets:
        """These scans only, in this order.

        Raises:
            DataError: for an id without targets.
        """
        missing = [scan_id for scan_id in ids if scan_id not in self.rows]
        if missing:
            msg = f"no labels for scan '{missing[0]}'" + (f" and {len(missing) - 1} more" if missing[1:] else "")
            raise DataError(msg)
        chosen = [self.rows[scan_id] for scan_id in ids]
        return replace(self, ids=tuple(ids), present=self.present[chosen], organs=self.organs[chosen])

    def columns(self, names: Sequence[str]) -> RegionTargets:
        """The same scans with these labels only, in this order.

        Raises:
            ConfigError: for a label that is not among ``names``; the message holds the nearest one.
        """
        for name in names:
            if name not in self.names:
                msg = f"unknown label '{name}': {did_you_mean(name, self.names)}"
                raise ConfigError(msg)
        chosen = [self.names.index(name) for name in names]
        return replace(self, names=tuple(names), present=self.present[:, chosen], organs=self.organs[:, chosen])

    def join(self, other: RegionTargets) -> RegionTargets:
        """The labels of both, for the same scans.

        Raises:
            ConfigError: if a label is in both.
            ValueError: if the scans differ.
        """
        if self.ids != other.ids:
            msg = "only targets of the same scans in the same order can be joined"
            raise ValueError(msg)
        twice = sorted(set(self.names) & set(other.names))
        if twice:
            msg = f"label names must be unique, already in use: {', '.join(twice)}"
            raise ConfigError(msg)
        return RegionTargets(
            ids=self.ids,
            names=self.names + other.names,
            present=np.concatenate([self.present, other.present], axis=1),
            organs=np.concatenate([self.organs, other.organs], axis=1),
        )

    def to_frame(self) -> pd.DataFrame:
        """The present labels as a table: index the ids, one 0/1 column per label."""
        return pd.DataFrame(self.present, index=pd.Index(self.ids, name="scan_id"), columns=list(self.names))


def region_targets(labels_by_location: pd.DataFrame, fidelity: Fidelity = "default") -> RegionTargets:
    """The 80 region labels of every row, and where each may lie.

    A label on the heart's side is present if any of its region's location columns is 1, and lies in heart and
    mediastinum. For the lung labels see the module; in detail, under ``default``:

    * any ``right_*`` lung column allows the right lung, any ``left_*`` the left; for a lung-specific abnormality the
      plain ``right`` and ``left`` columns do too;
    * with no side stated, ``lung`` or ``airways`` (for a lung-specific abnormality any location outside the heart)
      makes the label present and allows both lungs;
    * a heart-specific abnormality counts at any location outside the lung, since it can lie in the heart only; the
      published code needs a heart column.

    Args:
        labels_by_location: one row per scan or report (the index is its id), columns ``abnormality*location`` with
            0 and 1 as in RAD-ChestCT. Columns of the 83 x 51 matrix that are missing count as 0; the catch-alls
            (``other_disease`` or ``other_path``, ``other_location``) may be there.
        fidelity: ``"default"`` or ``"reference"``.

    Returns:
        Targets with the 80 names in the published order.

    Raises:
        ConfigError: for an unknown ``fidelity``.
        DataError: for a column that is no abnormality x location pair, a value other than 0 and 1, or an id that
            occurs twice.

    Example:
        >>> cells = pd.DataFrame({"nodule*left_upper": [1, 0], "nodule*lung": [1, 1]}, index=["a", "b"])
        >>> targets = region_targets(cells).columns(["lung_nodule"])
        >>> targets.present.ravel().tolist(), targets.organs[:, 0].tolist()
        ([1, 1], [[0, 1, 0], [1, 1, 0]])
        >>> region_targets(cells, fidelity="reference").columns(["lung_nodule"]).present.ravel().tolist()
        [1, 0]
    """
    if fidelity not in get_args(Fidelity):
        msg = f"fidelity='{fidelity}' is unknown; {did_you_mean(str(fidelity), get_args(Fidelity))}"
        raise ConfigError(msg)
    cells = _Cells(labels_by_location)
    rule = _default_organs if fidelity == "default" else _reference_organs
    organs = np.stack([rule(cells, label) for label in region_labels()], axis=1).astype(np.uint8)
    return RegionTargets(
        ids=cells.ids,
        names=tuple(label.name for label in region_labels()),
        present=organs.max(axis=2),
        organs=organs,
    )


def possible_organs(name: str) -> tuple[int, int, int]:
    """Bits of right lung, left lung, heart and mediastinum: where a region label could lie, whatever a report says.

    Raises:
        ConfigError: for a name that is none of the 80.

    Example:
        >>> possible_organs("lung_nodule"), possible_organs("heart_stent")
        ((1, 1, 0), (0, 0, 1))
    """
    known = {label.name: label for label in region_labels()}
    if name not in known:
        msg = f"unknown label '{name}': {did_you_mean(name, known)}"
        raise ConfigError(msg)
    return (0, 0, 1) if known[name].organs == "heart_mediastinum" else (1, 1, 0)


def custom_targets(labels_by_location: pd.DataFrame, labels: Mapping[str, Mapping[str, Any]]) -> RegionTargets:
    """Targets of labels that a user defines: which cells make them present, and in which organs they may lie.

    Args:
        labels_by_location: as in :func:`region_targets`.
        labels: label name -> ``{"organs": [...], "cells": [...]}``. Organs are among ``right_lung, left_lung,
            heart_mediastinum``. A cell is ``abnormality*location``, or an abnormality alone for any location.

    Returns:
        Targets in the order of ``labels``; ``RegionTargets.join`` puts them beside the 80.

    Raises:
        ConfigError: for a missing or unknown key, organ, abnormality or location.
        DataError: as in :func:`region_targets`.

    Example:
        >>> cells = pd.DataFrame({"tuberculosis*right_upper": [1, 0]}, index=["a", "b"])
        >>> own = {"tuberculosis": {"organs": ["right_lung", "left_lung"], "cells": ["tuberculosis"]}}
        >>> custom_targets(cells, own).organs[:, 0].tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    cells = _Cells(labels_by_location)
    present = np.zeros((len(cells.ids), len(labels)), dtype=np.uint8)
    organs = np.zeros((len(cells.ids), len(labels), len(ORGANS)), dtype=np.uint8)
    for column, (name, definition) in enumerate(labels.items()):
        _validate_definition(name, definition)
        for cell in definition["cells"]:
            abnormality, _, location = str(cell).partition("*")
            places = (location,) if location else _EVERYWHERE
            present[:, column] |= cells.any(abnormality, places).astype(np.uint8)
        organs[:, column] = present[:, [column]] * np.isin(ORGANS, list(definition["organs"]))
    return RegionTargets(cells.ids, tuple(labels), present, organs)


def select_labels(targets: RegionTargets, min_positives: int) -> tuple[str, ...]:
    """Names of the labels that are frequent enough to learn, in the order of the targets.

    Counts the union of a label's cells; the published code counts its most frequent single location instead, and then
    keeps 80 of 131 labels with at least 200 (heart) or 125 (each lung) of 25,355 scans.

    Args:
        targets: targets of the training scans.
        min_positives: least number of scans with the label; 0 keeps all.

    Example:
        >>> targets = region_targets(pd.DataFrame({"nodule*lung": [1, 1], "mass*lung": [0, 1]}, index=["a", "b"]))
        >>> select_labels(targets, min_positives=2)
        ('lung_nodule',)
    """
    counts = targets.present.sum(axis=0, dtype=np.int64)
    return tuple(name for name, count in zip(targets.names, counts, strict=True) if count >= min_positives)


_ABNORMALITY_NAMES = tuple(a.name for a in abnormalities())
_KIND = {a.name: a.kind for a in abnormalities()}
_EVERYWHERE = (*(location.name for location in locations()), OTHER_LOCATION)
_RIGHT, _LEFT = REGION_LOCATIONS["right_lung"], REGION_LOCATIONS["left_lung"]
_UNSIDED: tuple[str, ...] = ("lung", "airways")
_OUTSIDE_HEART = tuple(n for n in _EVERYWHERE if n not in REGION_LOCATIONS["heart"])
_OUTSIDE_LUNG = tuple(n for n in _EVERYWHERE if n not in (*_RIGHT, *_LEFT, *_UNSIDED))


class _Cells:
    """The matrix as a lookup: which rows have an abnormality at any of some locations."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.ids = tuple(str(i) for i in table.index)
        twice = table.index[table.index.duplicated()]
        if len(twice):
            msg = f"id '{twice[0]}' occurs more than once among the labels"
            raise DataError(msg)
        self._columns: dict[tuple[str, str], list[int]] = {}  # the catch-alls may be there under two spellings
        for position, name in enumerate(table.columns):
            self._columns.setdefault(_parse_cell(str(name)), []).append(position)
        self._values = _binary_values(table)

    def any(self, abnormality: str, places: Sequence[str]) -> np.ndarray:
        """Bool ``[N]``: the abnormality is stated at one of the places."""
        columns = [column for place in places for column in self._columns.get((abnormality, place), ())]
        return np.asarray(self._values[:, columns].any(axis=1))


def _default_organs(cells: _Cells, label: RegionLabel) -> np.ndarray:
    kind = _KIND[label.abnormality]
    if label.organs == "heart_mediastinum":
        places = _OUTSIDE_LUNG if kind == "heart" else REGION_LOCATIONS[label.region]
        return _bits(heart=cells.any(label.abnormality, places))
    right, left, unsided = _RIGHT, _LEFT, _UNSIDED
    if kind == "lung":
        right, left, unsided = (*right, "right"), (*left, "left"), _OUTSIDE_HEART
    in_right, in_left = cells.any(label.abnormality, right), cells.any(label.abnormality, left)
    both = cells.any(label.abnormality, unsided) & ~in_right & ~in_left
    return _bits(right=in_right | both, left=in_left | both)


def _reference_organs(cells: _Cells, label: RegionLabel) -> np.ndarray:
    if label.organs == "heart_mediastinum":
        return _bits(heart=cells.any(label.abnormality, REGION_LOCATIONS[label.region]))
    if label.organs == "both_lungs":
        anywhere = cells.any(label.abnormality, _EVERYWHERE)
        return _bits(right=anywhere, left=anywhere)
    return _bits(right=cells.any(label.abnormality, _RIGHT), left=cells.any(label.abnormality, _LEFT))


def _bits(
    right: np.ndarray | None = None, left: np.ndarray | None = None, heart: np.ndarray | None = None
) -> np.ndarray:
    given = (right, left, heart)
    rows = next(len(bits) for bits in given if bits is not None)
    return np.stack([np.zeros(rows, bool) if bits is None else bits for bits in given], axis=1)


def _parse_cell(name: str) -> tuple[str, str]:
    """Split a column name; catch-alls are spelt differently in the papers' own files."""
    abnormality, star, location = name.partition("*")
    if not star:
        msg = f"column '{name}' is no abnormality*location pair, for example 'nodule*left_upper'"
        raise DataError(msg)
    abnormality = OTHER_DISEASE if abnormality.startswith("other") else abnormality
    location = OTHER_LOCATION if location.startswith("other") else location
    for word, legal in ((abnormality, (*_ABNORMALITY_NAMES, OTHER_DISEASE)), (location, _EVERYWHERE)):
        if word not in legal:
            msg = f"column '{name}': unknown '{word}'; {did_you_mean(word, legal)}"
            raise DataError(msg)
    return abnormality, location


def _binary_values(table: pd.DataFrame) -> np.ndarray:
    values = table.to_numpy()
    if values.dtype == object:
        values = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~np.isin(values, (0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        msg = (
            f"labels must be 0 or 1, got {table.iloc[row, column]!r} for id '{table.index[row]}' in column "
            f"'{table.columns[column]}'"
        )
        raise DataError(msg)
    return values.astype(bool)


def _validate_definition(name: str, definition: Mapping[str, Any]) -> None:
    if set(definition) != {"organs", "cells"}:
        msg = f"label '{name}' needs exactly the keys 'organs' and 'cells', got {sorted(map(str, definition))}"
        raise ConfigError(msg)
    if not definition["organs"] or not definition["cells"]:
        msg = f"label '{name}' needs at least one organ and one cell"
        raise ConfigError(msg)
    for key in ("organs", "cells"):
        if isinstance(definition[key], str):
            msg = f"label '{name}': '{key}' must be a list, got '{definition[key]}'"
            raise ConfigError(msg)
    for organ in definition["organs"]:
        if organ not in ORGANS:
            msg = f"label '{name}': unknown organ '{organ}'; {did_you_mean(str(organ), ORGANS)}"
            raise ConfigError(msg)
    for cell in definition["cells"]:
        abnormality, star, location = str(cell).partition("*")
        for word, legal in ((abnormality, (*_ABNORMALITY_NAMES, OTHER_DISEASE)), (location, _EVERYWHERE)):
            if (word or star) and word not in legal:
                msg = f"label '{name}', cell '{cell}': unknown '{word}'; {did_you_mean(word, legal)}"
                raise ConfigError(msg)
