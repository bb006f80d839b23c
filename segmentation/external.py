"""Masks made elsewhere (TotalSegmentator, lungmask, own): values mapped to our organs, checked for grid and sense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from organcam.errors import ConfigError, DataError, did_you_mean
from organcam.yaml_file import problems_error, read_yaml

from .grid import to_frame
from .types import HEART_MEDIASTINUM, LEFT_LUNG, ORGANS, RIGHT_LUNG, Flag, LabelArray, OrganSegmentation, Quality
from .validate import check_geometry

__all__ = ["LABEL_TABLES", "STRUCTURES", "check_value_table", "external_organs", "read_value_table"]

LABEL_TABLES: dict[str, dict[str, tuple[int, ...]]] = {
    "organcam": {"right_lung": (1,), "left_lung": (2,), "heart_mediastinum": (3,)},
    "lungmask": {"right_lung": (1,), "left_lung": (2,), "heart_mediastinum": ()},
    "lungmask_lobes": {"right_lung": (3, 4, 5), "left_lung": (1, 2), "heart_mediastinum": ()},
    # Version 2, task "total": lobes 10 to 14; oesophagus, heart, aorta, pulmonary vein, the vessels of the arch and the
    # two venae cavae. The trachea (16) is left out, as in our own masks of the lungs.
    "totalsegmentator": {
        "right_lung": (12, 13, 14),
        "left_lung": (10, 11),
        "heart_mediastinum": (15, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62),
    },
}
"""Values of known tools for each organ."""

STRUCTURES: dict[str, tuple[str, ...]] = {
    "right_lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "left_lung": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
    "heart_mediastinum": (
        *("esophagus", "heart", "aorta", "pulmonary_vein", "brachiocephalic_trunk", "atrial_appendage_left"),
        *("subclavian_artery_right", "subclavian_artery_left", "common_carotid_artery_right"),
        *("common_carotid_artery_left", "brachiocephalic_vein_left", "brachiocephalic_vein_right"),
        *("superior_vena_cava", "inferior_vena_cava"),
        # Version 1 and the task "heartchambers".
        *("heart_myocardium", "heart_atrium_left", "heart_ventricle_left", "heart_atrium_right"),
        *("heart_ventricle_right", "pulmonary_artery"),
    ),
}
"""Names of TotalSegmentator's files, one a structure, for each organ."""

MIN_LUNG_ML, MAX_LUNG_ML = 150.0, 7000.0


def external_organs(
    labels: npt.ArrayLike,
    *,
    affine: npt.ArrayLike,
    table: str | Mapping[str, int | Iterable[int]],
    ct_shape: tuple[int, ...] | None = None,
    ct_affine: npt.ArrayLike | None = None,
) -> OrganSegmentation:
    """Organs from a label map of another tool.

    Args:
        labels: integer label map, [D0, D1, D2].
        affine: its 4x4 matrix to RAS+ millimetres.
        table: name of a known table, or organ to value(s): ``right_lung``, ``left_lung``, ``heart_mediastinum``; where
            organs share a value or overlap, the first wins.
        ct_shape: shape of the CT that the masks must match.
        ct_affine: its matrix; a difference of more than 0.1 mm at any corner is refused.

    Returns:
        Labels on the same grid; flags where a lung is missing, too large or on the wrong side.

    Raises:
        ValueError: for an unknown table or organ name.
        DataError: if the grid is not that of the CT, or the label map holds none of the values.
    """
    check_geometry(affine, None)
    values = _values(table)
    array = np.asarray(labels)
    if array.ndim != 3 or array.dtype.kind not in "iufb":
        msg = f"expected a 3D label map of numbers, got shape {array.shape} and dtype {array.dtype}"
        raise ValueError(msg)
    _check_grid(array.shape, np.asarray(affine, dtype=float), ct_shape, ct_affine)
    out = np.zeros(array.shape, dtype=np.uint8)
    for organ in reversed(ORGANS):
        out[np.isin(array, values[organ])] = ORGANS.index(organ) + 1
    if not out.any():
        present = np.unique(array)[:12].tolist()
        msg = f"the label map holds none of the values {values}; it holds {present}: is it the right label table?"
        raise DataError(msg)
    return OrganSegmentation(out, _plausibility(out, affine, bool(values["heart_mediastinum"])))


def _values(table: str | Mapping[str, int | Iterable[int]]) -> dict[str, tuple[int, ...]]:
    if isinstance(table, str):
        if table not in LABEL_TABLES:
            msg = f"unknown label table {table!r}; {did_you_mean(table, LABEL_TABLES)}"
            raise ValueError(msg)
        return LABEL_TABLES[table]
    out: dict[str, tuple[int, ...]] = dict.fromkeys(ORGANS, ())
    for organ, value in table.items():
        if organ not in out:
            msg = f"unknown organ {organ!r} in the label table; {did_you_mean(organ, ORGANS)}"
            raise ValueError(msg)
        out[organ] = (value,) if isinstance(value, int) else tuple(int(v) for v in value)
    return out


def read_value_table(name_or_path: str) -> dict[str, tuple[int, ...]]:
    """Values of each organ: of a known tool, or from a YAML file such as ``{right_lung: [1], left_lung: [2]}``.

    Raises:
        ConfigError: for an unknown name, an unreadable file, or a table that does not fit; all mistakes together.
    """
    if name_or_path in LABEL_TABLES:
        return dict(LABEL_TABLES[name_or_path])
    path = Path(name_or_path)
    if not path.is_file():
        msg = (
            f"label table '{name_or_path}': neither a file nor a known one; {did_you_mean(name_or_path, LABEL_TABLES)}"
        )
        raise ConfigError(msg)
    return check_value_table(read_yaml(path, f"label table {path}"), f"label table {path}")


def check_value_table(document: Any, source: str = "label table") -> dict[str, tuple[int, ...]]:
    """Check a table of values that is plain data already.

    Raises:
        ConfigError: with every mistake and the nearest legal word.

    Example:
        >>> check_value_table({"right_lung": 1, "left_lung": [2, 3]})["left_lung"]
        (2, 3)
    """
    if not isinstance(document, Mapping) or not document:
        msg = (
            f"{source}: expected organs with their values, such as 'right_lung: [10, 11]'; organs: {', '.join(ORGANS)}"
        )
        raise ConfigError(msg)
    problems = list(_table_problems(document))
    if problems:
        raise problems_error(source, problems)
    given = {organ: (value,) if isinstance(value, int) else tuple(value) for organ, value in document.items()}
    return {organ: given.get(organ, ()) for organ in ORGANS}


def _table_problems(document: Mapping[Any, Any]) -> Iterator[str]:
    owner: dict[int, Any] = {}
    for organ, values in document.items():
        if organ not in ORGANS:
            yield f"unknown organ '{organ}', {did_you_mean(str(organ), ORGANS)}"
        for value in values if isinstance(values, (list, tuple)) else [values]:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                yield f"{organ}: values are whole numbers from 1, found {value!r}"
            elif owner.setdefault(value, organ) != organ:
                yield f"{organ}: the value {value} is taken by {owner[value]}"
    if not {"right_lung", "left_lung"} <= set(document):
        yield "both right_lung and left_lung need values"


def _check_grid(
    shape: tuple[int, ...], affine: npt.NDArray[np.float64], ct_shape: tuple[int, ...] | None, ct_affine: Any
) -> None:
    if ct_shape is not None and tuple(ct_shape) != tuple(shape):
        msg = f"the masks have shape {tuple(shape)}, the CT has {tuple(ct_shape)}: resample them to the CT first"
        raise DataError(msg)
    if ct_affine is None:
        return
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])], dtype=float)
    apart = float(np.abs(corners @ (affine - np.asarray(ct_affine, dtype=float)).T).max())
    if apart > 0.1:
        msg = f"the masks' affine puts a corner {apart:.1f} mm from where the CT's affine puts it: another grid or scan"
        raise DataError(msg)


def _plausibility(labels: LabelArray, affine: npt.ArrayLike, has_heart: bool) -> Quality:
    frame, spacing = to_frame(labels, affine)
    ml = np.bincount(labels.ravel(), minlength=4) * float(np.prod(spacing)) / 1000.0
    measures = dict(zip(("right_lung_ml", "left_lung_ml", "heart_mediastinum_ml"), map(float, ml[1:4]), strict=True))
    flags = []
    for side, label in (("right", RIGHT_LUNG), ("left", LEFT_LUNG)):
        if ml[label] < MIN_LUNG_ML:
            sentence = f"The {side} lung of the external mask holds {ml[label]:.0f} ml."
            flags.append(Flag(f"{side}_lung_missing", float(ml[label]), MIN_LUNG_ML, sentence))
        elif ml[label] > MAX_LUNG_ML:
            sentence = f"The {side} lung of the external mask holds {ml[label]:.0f} ml."
            flags.append(Flag("volume_high", float(ml[label]), MAX_LUNG_ML, sentence))
    if has_heart and ml[HEART_MEDIASTINUM] == 0:
        flags.append(Flag("heart_small", 0.0, 0.0, "The external mask holds no heart or mediastinum."))
    if ml[RIGHT_LUNG] and ml[LEFT_LUNG]:
        columns = np.arange(frame.shape[2])
        right, left = ((frame == v).sum(axis=(0, 1)) for v in (RIGHT_LUNG, LEFT_LUNG))
        apart = float((columns * left).sum() / left.sum() - (columns * right).sum() / right.sum()) * spacing[2]
        measures["sides_apart_mm"] = apart
        if apart < 0:
            sentence = f"The right lung lies {-apart:.0f} mm left of the left lung: labels or affine are swapped."
            flags.append(Flag("left_right_flip", apart, 0.0, sentence))
    return Quality(tuple(flags), measures)
