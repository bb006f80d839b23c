"""Labels of 2D images as their data sets tell them: NIH ChestX-ray14, VinDr-CXR, PASCAL VOC, or a matrix of one's own.

Labels are the data set's own words, written in small letters with underscores so that they can be columns and parts of
file names: "Pleural Thickening" and "Pleural_Thickening" are ``pleural_thickening``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ConfigError, DataError, did_you_mean
from . import voc
from .images import without_image_ending
from .label_csv import read_label_csv

__all__ = ["NIH_LABELS", "NO_FINDING", "image_label_ids", "image_label_names", "label_name", "read_image_labels"]

NIH_LABELS = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening", "hernia"),
)
"""The 14 findings of ChestX-ray14 in the order of its publications."""

NIH_ID, NIH_FINDINGS = "Image Index", "Finding Labels"
IMAGE_ID, READER, CLASS = "image_id", "rad_id", "class_name"
NO_FINDING = "no_finding"
OTHER_SPELLINGS = {"infiltrate": "infiltration", "other_disease": "other_diseases"}
"""Data sets spell some labels in two ways: the boxes of ChestX-ray14, the test table of VinDr-CXR."""


def label_name(text: str) -> str:
    """A data set's word for a label as the name of a network's output.

    Example:
        >>> label_name("Nodule/Mass"), label_name("Other disease(s)"), label_name("Infiltrate")
        ('nodule_mass', 'other_diseases', 'infiltration')
    """
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"[()]", "", text.strip().lower())).strip("_")
    return OTHER_SPELLINGS.get(name, name)


def read_image_labels(path: Path) -> pd.DataFrame:
    """Which labels each image has.

    Understood are ChestX-ray14's ``Data_Entry_2017.csv`` (``Finding Labels`` split at ``|``; "No Finding" is no label,
    but the absence of all 14), VinDr-CXR's ``image_labels_*.csv`` and its ``annotations_*.csv`` (a label is present
    where any of the readers of an image saw it), a folder of PASCAL VOC's XML ``Annotations`` or of its
    ``SegmentationClass`` masks (a label is present where one of its objects is), and a table of ids and 0/1 columns.

    Returns:
        uint8 0/1; index the ids without the ending of an image file, columns the labels.

    Raises:
        ConfigError: for a missing or unreadable file, or one of no known form.
        DataError: for a finding that the data set does not have, or a value other than 0 and 1.
    """
    if path.is_dir():
        return _one_hot(voc.labels(path), voc.CLASSES)
    header = _header(path)
    if {NIH_ID, NIH_FINDINGS} <= set(header):
        return _nih(path)
    if {IMAGE_ID, CLASS} <= set(header):
        table = read_label_csv(path, usecols=[IMAGE_ID, CLASS], dtype=str)
        found = dict.fromkeys(table[IMAGE_ID], frozenset[str]())
        for name, labels in table[CLASS].map(label_name).groupby(table[IMAGE_ID]):
            found[str(name)] = frozenset(labels)
        return _one_hot(found, image_label_names(path))
    return _matrix(path, header)


def image_label_ids(path: Path) -> list[str]:
    """The ids alone, as often as they are written."""
    if path.is_dir():
        return voc.ids(path)
    header = _header(path)
    column = next((name for name in (NIH_ID, IMAGE_ID) if name in header), header[0])
    return [without_image_ending(name) for name in read_label_csv(path, usecols=[column], dtype=str)[column]]


def image_label_names(path: Path) -> list[str]:
    """The labels that a file or folder tells of, without its rows where its form is known.

    Raises:
        ConfigError: as `read_image_labels`.
    """
    if path.is_dir():
        return list(voc.CLASSES)
    header = _header(path)
    if {NIH_ID, NIH_FINDINGS} <= set(header):
        return list(NIH_LABELS)
    if {IMAGE_ID, CLASS} <= set(header):
        words = read_label_csv(path, usecols=[CLASS], dtype=str)[CLASS]
        return sorted({label_name(word) for word in words.unique()} - {""})
    return [label_name(name) for name in _label_columns(path, header)]


def _header(path: Path) -> list[str]:
    return [str(name).strip() for name in read_label_csv(path, nrows=0, header=0).columns]


def _label_columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = [name for name in header[1:] if name != READER and not name.startswith("Unnamed:")]
    if not columns:
        msg = f"data.labels: {path} has no column beside its ids, '{header[0]}'"
        raise ConfigError(msg)
    names = [label_name(name) for name in columns]
    wrong = next((column for column, name in zip(columns, names, strict=True) if not name or names.count(name) > 1), "")
    if wrong or "" in names:
        msg = f"data.labels: {path}: the column '{wrong[:40]}' gives no label of its own"
        raise ConfigError(msg)
    return columns


def _matrix(path: Path, header: Sequence[str]) -> pd.DataFrame:
    columns = _label_columns(path, header)
    table = read_label_csv(path, dtype=str)
    table.columns = pd.Index(header)
    ids = [without_image_ending(name) for name in table[header[0]]]
    values = table[columns].set_axis(pd.Index(ids, name="id")).set_axis([label_name(name) for name in columns], axis=1)
    wrong = ~values.isin(("0", "1"))
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        told = f"id '{ids[row]}' in column '{columns[column]}'"
        msg = f"data.labels: {path}: labels must be 0 or 1, found '{values.iloc[row, column]}' for {told}"
        raise DataError(msg)
    matrix = values.astype(np.uint8)
    return matrix.groupby(level=0, sort=False).max() if READER in header else matrix


def _nih(path: Path) -> pd.DataFrame:
    table = read_label_csv(path, usecols=[NIH_ID, NIH_FINDINGS], dtype=str)
    meant: dict[str, frozenset[str]] = {}
    for text in table[NIH_FINDINGS].unique():
        words = {word: label_name(word) for word in text.split("|")}
        for word, name in words.items():
            if name not in NIH_LABELS and name != NO_FINDING:
                image = table.loc[table[NIH_FINDINGS] == text, NIH_ID].iloc[0]
                hint = did_you_mean(name, [*NIH_LABELS, NO_FINDING])
                msg = f"data.labels: {path}: image '{image}' has the unknown finding '{word[:40]}'; {hint}"
                raise DataError(msg)
        meant[text] = frozenset(words.values())
    ids = [without_image_ending(name) for name in table[NIH_ID]]
    values = {name: [int(name in meant[text]) for text in table[NIH_FINDINGS]] for name in NIH_LABELS}
    return pd.DataFrame(values, index=pd.Index(ids, name="id"), dtype=np.uint8)


def _one_hot(found: dict[str, frozenset[str]], names: Sequence[str]) -> pd.DataFrame:
    rows = [[int(name in labels) for name in names] for labels in found.values()]
    ids = pd.Index([without_image_ending(name) for name in found], name="id")
    return pd.DataFrame(rows, index=ids, columns=list(names), dtype=np.uint8)
