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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from organcam.errors import ConfigError, DataError, did_you_mean

from .label_table import OwnLabel, check_label_table
from .tables import (
    ORGANS,
    OTHER_LOCATION,
    REGION_LOCATIONS,
    RegionLabel,
    abnormalities,
    locations,
    parse_cell,
    region_labels,
)

__all__ = [
    "ORGANS",
    "THIRDS",
    "Fidelity",
    "RegionTargets",
    "custom_targets",
    "possible_places",
    "region_targets",
    "select_labels",
]

Fidelity = Literal["default", "reference"]

THIRDS: tuple[str, ...] = ("right_upper", "right_mid", "right_lower", "left_upper", "left_mid", "left_lower")
"""Locations that name a third of a lung, in the order of the third bits."""


@dataclass(frozen=True)
class RegionTargets:
    """Targets of N scans and M labels.

    Attributes:
        ids: N scan or report ids, the rows.
        names: M label names, the columns.
        present: uint8 ``[N, M]``, 1 where the label is present.
        organs: uint8 ``[N, M, 3]``, 1 where evidence may lie in right lung, left lung, heart and mediastinum; all 0
            where the label is absent.
        thirds: uint8 ``[N, M, 6]``, 1 where a lobe is stated whose place is the upper, middle or lower third of the
            right, then of the left lung; zeros where not given.
        at_base: uint8 ``[N, M]``, 1 where evidence may also hide under the back of the lung's base; zeros where not
            given.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    present: np.ndarray
    organs: np.ndarray
    thirds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    at_base: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))

    def __post_init__(self) -> None:
        if self.at_base.size == 0:
            object.__setattr__(self, "at_base", np.zeros((len(self.ids), len(self.names)), np.uint8))
        if self.thirds.size == 0:
            object.__setattr__(self, "thirds", np.zeros((len(self.ids), len(self.names), len(THIRDS)), np.uint8))
        shape = (len(self.ids), len(self.names))
        if self.present.shape != shape or self.organs.shape != (*shape, len(ORGANS)):
            msg = f"expected present {shape} and organs {(*shape, 3)}, got {self.present.shape} and {self.organs.shape}"
            raise ValueError(msg)
        if self.thirds.shape != (*shape, len(THIRDS)) or self.at_base.shape != shape:
            msg = (
                f"expected thirds {(*shape, len(THIRDS))} and at_base {shape}, got {self.thirds.shape} and "
                f"{self.at_base.shape}"
            )
            raise ValueError(msg)

    @cached_property
    def places(self) -> np.ndarray:
        """Organs, thirds and base side by side, ``[N, M, 10]``: what the region of a label is put together from."""
        return np.concatenate([self.organs, self.thirds, self.at_base[..., None]], axis=2)

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
        parts = (part[chosen] for part in (self.present, self.organs, self.thirds, self.at_base))
        return RegionTargets(tuple(ids), self.names, *parts)

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
        parts = (part[:, chosen] for part in (self.present, self.organs, self.thirds, self.at_base))
        return RegionTargets(self.ids, tuple(names), *parts)

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
            thirds=np.concatenate([self.thirds, other.thirds], axis=1),
            at_base=np.concatenate([self.at_base, other.at_base], axis=1),
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
    * what is stated at the hilum may lie in the stated lung (both, if no side is) and in heart and mediastinum; it
      makes the lung label present too, except for what lymph nodes there have (lymphadenopathy, calcification);
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
    present = organs.max(axis=2)
    thirds, at_base = np.zeros((*organs.shape[:2], len(THIRDS)), np.uint8), np.zeros_like(present)
    if fidelity == "default":
        at_base = present * np.array([label.at_base for label in region_labels()], np.uint8)
        for column, label in enumerate(region_labels()):
            if label.organs != "heart_mediastinum":
                thirds[:, column] = _thirds(cells, {label.abnormality: None})
    return RegionTargets(cells.ids, tuple(label.name for label in region_labels()), present, organs, thirds, at_base)


def possible_places(label: str | OwnLabel) -> tuple[int, ...]:
    """Ten bits as in :attr:`RegionTargets.places`: where a label could lie, whatever a report says.

    Args:
        label: name of a region label, or a label of a user's table.

    Raises:
        ConfigError: for a name that is none of the 80.

    Example:
        >>> possible_places("lung_nodule")[:3], possible_places("heart_stent")[:3]
        ((1, 1, 0), (0, 0, 1))
        >>> possible_places("lung_atelectasis")  # it may hide under the lung's base
        (1, 1, 0, 0, 0, 0, 0, 0, 0, 1)
    """
    if isinstance(label, OwnLabel):
        return (*label.bits, *(0,) * len(THIRDS), int(_hides_at_base(label)))
    known = {each.name: each for each in region_labels()}
    if label not in known:
        msg = f"unknown label '{label}': {did_you_mean(label, known)}"
        raise ConfigError(msg)
    organs = (0, 0, 1) if known[label].organs == "heart_mediastinum" else (1, 1, 0)
    return (*organs, *(0,) * len(THIRDS), int(known[label].at_base))


def _hides_at_base(label: OwnLabel) -> bool:
    """Whether one of the findings that make a label present is one that hides at the base of a lung."""
    hiding = {each.abnormality for each in region_labels() if each.at_base}
    return any(label.bits[:2]) and any(cell.partition("*")[0] in hiding for cell in label.cells)


def custom_targets(labels_by_location: pd.DataFrame, labels: Mapping[str, Any]) -> RegionTargets:
    """Targets of labels that a user defines: which cells make them present, and in which organs they may lie.

    A stated side is kept as for the catalogue's labels: where both lungs are among the organs and the cells are stated
    in one of them only, that one counts.

    Args:
        labels_by_location: as in :func:`region_targets`.
        labels: label name -> :class:`OwnLabel`, or plain data as in ``label_table``: ``{"organs": [...], "cells":
            [...]}``. Organs are among ``right_lung, left_lung, heart_mediastinum``. A cell is
            ``abnormality*location``, or an abnormality alone for any location.

    Returns:
        Targets in the order of ``labels``; ``RegionTargets.join`` puts them beside the 80.

    Raises:
        ConfigError: for missing or unknown keys, organs, abnormalities or locations, all of them together.
        DataError: as in :func:`region_targets`.

    Example:
        >>> cells = pd.DataFrame({"mass*right_upper": [1, 0, 0], "mass*lung": [1, 1, 0]}, index=[*"abc"])
        >>> own = {"tumour": {"organs": ["right_lung", "left_lung"], "cells": ["mass", "cancer"]}}
        >>> custom_targets(cells, own).organs[:, 0].tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    """
    cells = _Cells(labels_by_location)
    plain = {name: entry for name, entry in labels.items() if not isinstance(entry, OwnLabel)}
    known = {**labels, **(check_label_table(plain) if plain else {})}
    shape = (len(cells.ids), len(known))
    present, organs = np.zeros(shape, np.uint8), np.zeros((*shape, len(ORGANS)), np.uint8)
    thirds, at_base = np.zeros((*shape, len(THIRDS)), np.uint8), np.zeros(shape, np.uint8)
    for column, label in enumerate(known.values()):
        stated = _stated(label.cells)
        for abnormality, where in stated.items():
            present[:, column] |= cells.any(abnormality, _EVERYWHERE if where is None else where).astype(np.uint8)
        organs[:, column] = present[:, [column]] * np.array(label.bits, np.uint8)
        if label.keep_side and label.bits[:2] == (1, 1):
            on_right, on_left = (_on_side(cells, stated, side) for side in ((*_RIGHT, "right"), (*_LEFT, "left")))
            organs[on_right & ~on_left, column, 1] = 0
            organs[on_left & ~on_right, column, 0] = 0
        if label.keep_side:
            thirds[:, column] = _thirds(cells, stated) * np.repeat(organs[:, column, :2], 3, axis=1)
        at_base[:, column] = present[:, column] * _hides_at_base(label)
    return RegionTargets(cells.ids, tuple(known), present, organs, thirds, at_base)


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
_HILUM = ("hilum",)
_OF_HILAR_NODES = frozenset({"lymphadenopathy", "calcification", "scattered_calc", "granuloma"})
"""What is said of a hilum and means its lymph nodes, which are no finding of the lung."""
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
            self._columns.setdefault(parse_cell(str(name)), []).append(position)
        self._values = _binary_values(table)

    def any(self, abnormality: str, where: Sequence[str]) -> np.ndarray:
        """Bool ``[N]``: the abnormality is stated at one of these locations."""
        columns = [column for location in where for column in self._columns.get((abnormality, location), ())]
        return np.asarray(self._values[:, columns].any(axis=1))


def _default_organs(cells: _Cells, label: RegionLabel) -> np.ndarray:
    kind = _KIND[label.abnormality]
    if label.organs == "heart_mediastinum":
        where = _OUTSIDE_LUNG if kind == "heart" else REGION_LOCATIONS[label.region]
        present = cells.any(label.abnormality, where)
        if kind == "heart" or label.region != "h_mediastinum":
            return _bits(heart=present)
        hilar_right, hilar_left = _hilar_sides(cells, label.abnormality)
        return _bits(right=hilar_right, left=hilar_left, heart=present)
    right, left, unsided = _RIGHT, _LEFT, _UNSIDED
    if kind == "lung":
        right, left, unsided = (*right, "right"), (*left, "left"), _OUTSIDE_HEART
    in_right, in_left = cells.any(label.abnormality, right), cells.any(label.abnormality, left)
    if label.abnormality in _OF_HILAR_NODES:
        hilar_right = hilar_left = np.zeros(len(cells.ids), bool)
    else:
        hilar_right, hilar_left = _hilar_sides(cells, label.abnormality)
    in_right, in_left = in_right | hilar_right, in_left | hilar_left
    both = cells.any(label.abnormality, unsided) & ~in_right & ~in_left
    return _bits(right=in_right | both, left=in_left | both, heart=hilar_right | hilar_left)


def _hilar_sides(cells: _Cells, abnormality: str) -> tuple[np.ndarray, np.ndarray]:
    """Where a hilar finding may lie in the right and in the left lung: in both where no side is stated."""
    hilar = cells.any(abnormality, _HILUM)
    on_right, on_left = (cells.any(abnormality, side) for side in ((*_RIGHT, "right"), (*_LEFT, "left")))
    unsided = ~on_right & ~on_left
    return hilar & (on_right | unsided), hilar & (on_left | unsided)


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


def _stated(cells: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    """Abnormality -> the locations that count for it, None for all."""
    out: dict[str, tuple[str, ...] | None] = {}
    for cell in cells:
        abnormality, _, location = str(cell).partition("*")
        earlier = out.get(abnormality, ())
        out[abnormality] = None if earlier is None or not location else (*earlier, location)
    return out


def _on_side(cells: _Cells, stated: Mapping[str, tuple[str, ...] | None], side: Sequence[str]) -> np.ndarray:
    """Bool ``[N]``: one of the abnormalities is stated at a location of this side that counts for it."""
    found = np.zeros(len(cells.ids), bool)
    for abnormality, where in stated.items():
        found |= cells.any(abnormality, [location for location in side if where is None or location in where])
    return found


def _thirds(cells: _Cells, stated: Mapping[str, tuple[str, ...] | None]) -> np.ndarray:
    """0/1 ``[N, 6]``: the lobes that are stated. A lobe implies its lung, which therefore does not widen it again."""
    return np.stack([_on_side(cells, stated, (third,)) for third in THIRDS], axis=1).astype(np.uint8)


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
