"""Maps, masks and labels that another program wrote: where the files of a scan are, and what they hold.

A folder of maps holds ``MODEL/METHOD/SCAN.npz``; without a level for the methods the arrays of an npz are the methods
(as ``organcam explain`` writes them), without any level there is one model. Beside npz there may be one NIfTI a label,
``SCAN_LABEL.nii.gz``. A folder of masks holds ``SCAN.npz`` or ``SCAN_LABEL.nii.gz``, with a level for the models where
their grids differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.discover import read_table
from ..data.formats.npz import npz_names, read_npz
from ..data.readers import read_volume
from ..errors import ConfigError, DataError, did_you_mean, some_of

__all__ = ["GivenLabels", "GivenMaps", "MapFolder", "MaskFolder", "read_labels"]

BESIDE = ("labels", "scores", "grid")
"""What an npz holds beside its maps."""
NIFTI = re.compile(r"\.nii(\.gz)?$")
SHOWN = 3


@dataclass(frozen=True)
class GivenLabels:
    """The table of true labels.

    Attributes:
        names: of the M labels.
        present: true labels ``[N, M]``.
        scan_ids: of the N rows.
        patients: of the rows; the scan where the table does not say.
        splits: of the rows; "test" where the table does not say.
    """

    names: tuple[str, ...]
    present: NDArray[np.bool_]
    scan_ids: tuple[str, ...]
    patients: tuple[str, ...]
    splits: tuple[str, ...]


def read_labels(path: Path) -> GivenLabels:
    """Read ``scan_id``, a 0/1 column for each label, and where they are there ``patient_id`` and ``split``.

    Raises:
        ConfigError: naming file, scan and column, for a missing column, another value than 0 and 1, or an id twice.
    """
    table = read_table(path, ("scan_id",), "--labels")
    names = [str(name) for name in table.columns if name not in ("scan_id", "patient_id", "split")]
    if not names or table.empty:
        msg = f"--labels: {path} needs a row for each scan and a column for each label beside scan_id"
        raise ConfigError(msg)
    ids = [name.strip() for name in table["scan_id"]]
    twice = sorted({name for name in ids if ids.count(name) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        msg = f"--labels: {path}: scan '{twice[0]}' has more than one row"
        raise ConfigError(msg)
    cells = table[names].apply(lambda column: column.str.strip())
    wrong = np.argwhere(~cells.isin(["0", "1", "0.0", "1.0"]).to_numpy())
    if len(wrong):
        row, column = wrong[0]
        found = cells.iloc[row, column]
        msg = f"--labels: {path}: scan '{ids[row]}', column '{names[column]}' holds '{found[:20]}'; 0 or 1 is needed"
        raise ConfigError(msg)

    def of(column: str, otherwise: Sequence[str]) -> tuple[str, ...]:
        given = [value.strip() for value in table[column]] if column in table.columns else list(otherwise)
        return tuple(value or other for value, other in zip(given, otherwise, strict=True))

    present = cells.isin(["1", "1.0"]).to_numpy()
    return GivenLabels(tuple(names), present, tuple(ids), of("patient_id", ids), of("split", ["test"] * len(ids)))


@dataclass(frozen=True)
class GivenMaps:
    """Maps of some labels of one scan: method -> ``[M, *grid]``, their labels, and scores ``[M]`` if there are any."""

    maps: Mapping[str, NDArray]
    labels: tuple[str, ...]
    scores: NDArray[np.float64] | None = None

    def columns(self, wanted: Sequence[str]) -> list[int]:
        """Place of each wanted label among the maps.

        Raises:
            DataError: if one is missing.
        """
        missing = [name for name in wanted if name not in self.labels]
        if missing:
            msg = f"no map of {some_of(missing, SHOWN)}"
            raise DataError(msg)
        return [self.labels.index(name) for name in wanted]


class MapFolder:
    """The files of a folder of maps, by model, method and scan; nothing is read before it is asked for.

    Args:
        root: see the module.
        names: labels of the table; the names of NIfTI files end in one, and an npz without labels has these in order.
        scan_ids: of the table.

    Raises:
        ConfigError: if there is no such folder, or it holds no file of any of the scans.
    """

    def __init__(self, root: Path, names: Sequence[str], scan_ids: Sequence[str]) -> None:
        self.root, self.names = root, tuple(names)
        self._files: dict[str, dict[str, list[tuple[str, str, Path]]]] = {}
        self.unknown: list[str] = []
        known, endings = set(scan_ids), sorted(names, key=len, reverse=True)
        for path in _walk(root, "--maps"):
            levels = path.relative_to(root).parts[:-1]
            scan_id, label = _scan_and_label(path.name, endings)
            if scan_id not in known:
                self.unknown.append(str(path.relative_to(root)))
                continue
            model = levels[0] if levels else root.name
            method = levels[1] if len(levels) > 1 else ""
            self._files.setdefault(model, {}).setdefault(scan_id, []).append((method, label, path))
        if not self._files:
            example = f", such as {self.unknown[0]}; ids of the table are {some_of(list(scan_ids), SHOWN)}"
            msg = f"--maps: {root} holds no map of a scan of the table{example if self.unknown else ''}"
            raise ConfigError(msg)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models."""
        return tuple(sorted(self._files))

    def holds(self, model: str, scan_id: str) -> bool:
        """Whether a model has maps of a scan."""
        return scan_id in self._files.get(model, {})

    def read(self, model: str, scan_id: str) -> GivenMaps:
        """The maps of one scan.

        Raises:
            DataError: if a file is damaged, or its arrays do not belong together.
        """
        found: dict[str, NDArray] = {}
        labels: tuple[str, ...] = ()
        scores = None
        singles: dict[str, dict[str, NDArray]] = {}
        for method, label, path in self._files[model][scan_id]:
            if NIFTI.search(path.name):
                singles.setdefault(method or "map", {})[label] = read_volume(path).array
                continue
            maps, own, scored = _read_npz(path, self.names)
            scores = scored if scores is None else scores
            if labels and own != labels:
                msg = f"{path}: its labels are others than those of the scan's other methods"
                raise DataError(msg)
            labels = own
            found.update({method or "map": next(iter(maps.values()))} if len(maps) == 1 and method else maps)
        for method, maps in singles.items():
            own = tuple(maps)
            if labels and own != labels:
                msg = f"scan {scan_id}, method {method}: its labels are others than those of the scan's other methods"
                raise DataError(msg)
            found[method], labels = _stacked(maps, f"scan {scan_id}, method {method}"), own
        for method, values in found.items():
            if not np.isfinite(values).all():
                msg = f"the maps of method {method} hold NaN or infinity"
                raise DataError(msg)
        return GivenMaps(found, labels, scores)


class MaskFolder:
    """The masks of a folder: whole numbers ``[M, *grid]`` for each scan; see ``MapFolder`` for the arguments."""

    def __init__(self, root: Path, names: Sequence[str], key: str = "--masks") -> None:
        self.root, self.names = root, tuple(names)
        endings = sorted(names, key=len, reverse=True)
        self._files: dict[str, dict[str, list[tuple[str, Path]]]] = {}
        for path in _walk(root, key):
            scan_id, label = _scan_and_label(path.name, endings)
            levels = path.relative_to(root).parts[:-1]
            model = levels[0] if levels else ""
            self._files.setdefault(model, {}).setdefault(scan_id, []).append((label, path))

    def read(self, model: str, scan_id: str) -> GivenMaps:
        """The masks of one scan for one model's maps; of labels without a file there are none.

        Raises:
            DataError: if there is no file of the scan, or it is damaged or holds something else.
        """
        files = self._files.get(model, {}).get(scan_id) or self._files.get("", {}).get(scan_id)
        if not files:
            msg = f"{self.root} holds no mask of it"
            raise DataError(msg)
        volumes = {label: read_volume(path).array for label, path in files if NIFTI.search(path.name)}
        if volumes:
            masks, labels = _stacked(volumes, f"masks of scan {scan_id}"), tuple(volumes)
        else:
            arrays, labels, _ = _read_npz(files[0][1], self.names)
            masks = next(iter(arrays.values()))
        whole = masks.astype(np.int64)
        if (whole != masks).any() or (whole < 0).any():
            msg = f"{files[0][1]}: masks hold whole numbers from 0"
            raise DataError(msg)
        return GivenMaps({"mask": whole}, labels)


def _walk(root: Path, key: str) -> Iterator[Path]:
    if not root.is_dir():
        msg = f"{key}: no such folder: {root}"
        raise ConfigError(msg)
    for path in sorted(root.rglob("*")):
        if path.is_file() and (path.suffix == ".npz" or NIFTI.search(path.name)):
            yield path


def _scan_and_label(name: str, labels: Sequence[str]) -> tuple[str, str]:
    """Scan id and label of a file's name; the longest label first, for one may end like another."""
    if name.endswith(".npz"):
        return name[: -len(".npz")], ""
    stem = NIFTI.sub("", name)
    label = next((one for one in labels if stem.endswith(f"_{one}")), "")
    return (stem[: -len(label) - 1], label) if label else (stem, "")


def _read_npz(path: Path, names: Sequence[str]) -> tuple[dict[str, NDArray], tuple[str, ...], NDArray | None]:
    there = [name for name in npz_names(path) if name != "grid"]
    arrays = read_npz(path, there)
    labels = tuple(str(label) for label in arrays["labels"]) if "labels" in arrays else tuple(names)
    maps = {name: values for name, values in arrays.items() if name not in BESIDE}
    scores = arrays.get("scores")
    wrong = [name for name, values in maps.items() if values.ndim < 2 or len(values) != len(labels)]
    if not maps or wrong or (scores is not None and scores.shape != (len(labels),)):
        shapes = {name: values.shape for name, values in arrays.items() if name != "labels"}
        msg = f"{path}: arrays must be [labels, *grid] for {len(labels)} labels, with scores [labels], got {shapes}"
        raise DataError(msg)
    unknown = [label for label in labels if label not in names]
    if len(unknown) == len(labels):
        msg = f"{path}: none of its labels is in the table, such as '{unknown[0]}': {did_you_mean(unknown[0], names)}"
        raise DataError(msg)
    return maps, labels, None if scores is None else scores.astype(np.float64)


def _stacked(maps: Mapping[str, NDArray], what: str) -> NDArray:
    shapes = {label: values.shape for label, values in maps.items()}
    if len(set(shapes.values())) > 1:
        msg = f"{what}: its labels have different grids, {shapes}"
        raise DataError(msg)
    if "" in shapes:
        msg = f"{what}: a file's name ends in no label of the table (SCAN_LABEL.nii.gz)"
        raise DataError(msg)
    return np.stack(list(maps.values()))
