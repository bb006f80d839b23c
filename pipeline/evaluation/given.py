"""From files of maps, masks and labels to one row of figures a scan, label, method and model; one scan in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import DataError
from ..metrics.functional import energy_pointing, lesion_recall, localization_hits, mask_overlap, organ_iou_curve
from ..metrics.functional.localization import pointing_accuracy
from ..metrics.functional.organ_iou import Fidelity
from ..metrics.thresholds import THRESHOLDS
from ..runner import Failure
from .given_files import GivenLabels, GivenMaps, MapFolder, MaskFolder

__all__ = ["Contestant", "GivenFigures", "measure_files"]

LESION_CELLS = "lesion_cells"
MEASURES = ("pointing", "energy", "hit_iou_or_ior", "hit_dice", "recall_1", "recall_5", LESION_CELLS)


@dataclass(frozen=True, order=True)
class Contestant:
    """A model and a method, judged by one set of masks."""

    model: str
    method: str
    masks: str = ""


@dataclass
class GivenFigures:
    """All that is kept of the scans: no map, and curves of the labels that are present alone.

    Attributes:
        labels: the table.
        curves: contestant -> (row, column) of the table -> OrganIoU at every threshold ``[T]``, float32.
        local: contestant (of no masks) -> measure -> ``[N, M]``, NaN where there is no lesion.
        scores: model -> ``[N, M]``, NaN where there is none.
        empty: contestant -> number of maps without a positive value.
        seen: model -> rows with maps.
        failures: scans that a model could not be judged on, and why.
    """

    labels: GivenLabels
    curves: dict[Contestant, dict[tuple[int, int], NDArray[np.float32]]] = field(default_factory=dict)
    local: dict[Contestant, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    empty: dict[Contestant, int] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def values(self, contestant: Contestant, steps: NDArray[np.intp]) -> NDArray[np.float64]:
        """OrganIoU of each scan and label at that label's threshold, ``[N, M]``; NaN for absent labels."""
        found = np.full(self.labels.present.shape, np.nan)
        for (row, column), curve in self.curves[contestant].items():
            found[row, column] = curve[steps[column]]
        return found


def measure_files(
    labels: GivenLabels,
    maps: MapFolder,
    masks: Mapping[str, MaskFolder],
    lesions: MaskFolder | None = None,
    fidelity: Fidelity = "default",
) -> GivenFigures:
    """Read one scan after another; one that cannot be judged is a failure and stops nothing.

    Args:
        labels: true ones.
        maps: of all models and methods.
        masks: name -> allowed regions; several sources show how much the masks matter.
        lesions: whole numbers, one for each lesion.
        fidelity: of OrganIoU.
    """
    found = GivenFigures(labels)
    for row, scan_id in enumerate(labels.scan_ids):
        for model in maps.models:
            if not maps.holds(model, scan_id):
                reason = f"model {model}: {maps.root} holds no map of it"
                found.failures.append(Failure("evaluate", scan_id, reason, "unpaired"))
                continue
            try:
                _measure(found, row, model, maps.read(model, scan_id), masks, lesions, fidelity)
            except (DataError, ValueError, OSError) as error:
                reason = f"model {model}: {' '.join(str(error).split())}"
                found.failures.append(Failure("evaluate", scan_id, reason, "data"))
    return found


def _measure(
    found: GivenFigures,
    row: int,
    model: str,
    given: GivenMaps,
    masks: Mapping[str, MaskFolder],
    lesions: MaskFolder | None,
    fidelity: Fidelity,
) -> None:
    labels, scan_id = found.labels, found.labels.scan_ids[row]
    columns = np.flatnonzero(labels.present[row]).tolist()
    names = [labels.names[column] for column in columns]
    places = given.columns(names)
    chosen = {method: torch.from_numpy(values[places].astype(np.float32)) for method, values in given.maps.items()}
    curves = {}
    for source, folder in masks.items() if names else ():
        allowed = _fitting(folder.read(model, scan_id), names, chosen, "mask") > 0
        for method, attention in chosen.items():
            curve = organ_iou_curve(attention[None], allowed[None], THRESHOLDS, fidelity)[0].numpy()
            curves[Contestant(model, method, source)] = curve.astype(np.float32)
    local = {} if lesions is None or not names else _localized(lesions, model, scan_id, names, chosen)
    # from here on nothing can fail: a scan counts whole or not at all
    for contestant, curve in curves.items():
        own = found.curves.setdefault(contestant, {})
        own.update({(row, column): curve[place] for place, column in enumerate(columns)})
    for method, attention in chosen.items():
        alone = Contestant(model, method)
        found.empty[alone] = found.empty.get(alone, 0) + int((attention.flatten(1).amax(-1) <= 0).sum())
        for measure, values in local.get(method, {}).items():
            table = found.local.setdefault(alone, {})
            table.setdefault(measure, np.full(labels.present.shape, np.nan))[row, columns] = values
    found.seen.setdefault(model, []).append(row)
    if given.scores is not None:
        logits = found.scores.setdefault(model, np.full(labels.present.shape, np.nan))
        for place, name in enumerate(given.labels):
            if name in labels.names:
                logits[row, labels.names.index(name)] = given.scores[place]


def _fitting(given: GivenMaps, names: Sequence[str], maps: Mapping[str, torch.Tensor], what: str) -> torch.Tensor:
    """Masks of the labels, on the grid of the maps."""
    values = given.maps["mask"]
    grids = {tuple(attention.shape[1:]) for attention in maps.values()}
    if grids != {values.shape[1:]}:
        found = " and ".join(" x ".join(map(str, grid)) for grid in sorted(grids))
        msg = f"its maps have {found} cells, its {what} {' x '.join(map(str, values.shape[1:]))}; both must be the same"
        raise DataError(msg)
    try:
        return torch.from_numpy(values[given.columns(names)])
    except DataError as error:
        msg = str(error).replace("no map of", f"no {what} of")
        raise DataError(msg) from None


def _localized(
    lesions: MaskFolder, model: str, scan_id: str, names: Sequence[str], maps: Mapping[str, torch.Tensor]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Method -> measure -> one value a label, NaN without a lesion; nothing for a scan without a file."""
    try:
        given = lesions.read(model, scan_id)
    except DataError as error:
        if str(error).endswith("holds no mask of it"):
            return {}
        raise
    known = [name for name in names if name in given.labels]
    if not known:
        return {}
    there = [names.index(name) for name in known]
    numbers = _fitting(given, known, {method: values[there] for method, values in maps.items()}, "lesion mask")[None]
    found = {}
    for method, values in maps.items():
        attention, mask = values[there][None], numbers > 0
        hits = pointing_accuracy(attention, mask)[0]
        overlap, recall = mask_overlap(attention, mask), lesion_recall(attention, numbers, (1, 5))[0]
        energy = energy_pointing(attention, mask)[0].masked_fill(hits.isnan(), torch.nan)
        by_dice = localization_hits(overlap, 0.1, "dice")[0]
        cells = mask[0].flatten(1).sum(-1).double()
        parts = (hits, energy, localization_hits(overlap)[0], by_dice, recall[:, 0], recall[:, 1], cells)
        own = {measure: np.full(len(names), np.nan) for measure in MEASURES}
        for measure, part in zip(MEASURES, parts, strict=True):
            own[measure][there] = part.numpy()
        found[method] = own
    return found


def folders_of(paths: Sequence[Path], names: Sequence[str]) -> dict[str, MaskFolder]:
    """Folders of masks by name, the whole path where two have the same name."""
    short = [path.name for path in paths]
    return {(path.name if short.count(path.name) == 1 else str(path)): MaskFolder(path, names) for path in paths}
