"""From one scan's files to its figures: maps, regions and known lesions read, checked and reduced to a few numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..catalogue.targets import RegionTargets
from ..data.network_input import grid_key
from ..data.region_store import read_regions
from ..errors import DataError
from ..evaluation import ScanFigures
from ..metrics import organ_iou_curve
from ..metrics.functional import energy_pointing, pointing_accuracy
from ..metrics.thresholds import THRESHOLDS
from ..runner import DamagedFilesError, is_damaged
from ..transforms import expand_regions
from .attention_files import ScanAttention, read_attention
from .image_places import ImagePlaces
from .lesions import Lesions

__all__ = ["FigureReader"]


@dataclass
class FigureReader:
    """Reads the files of one scan after another and keeps none of them.

    Attributes:
        root: the run directory.
        maps: model -> scan -> content hash of its attention file.
        regions: scan -> content hash of its regions file; None for 2D images, which have none.
        targets: which labels are present where.
        geometry: scan -> details of its stored volume.
        lesions: known ones, if there are any.
        fidelity: of OrganIoU, see `EvaluateConfig`.
        tolerance: cells by which a peak may miss a lesion.
        damaged: files that are not what was written; their scans were passed over.
        problems: scan -> why a figure of it could not be had.
    """

    root: Path
    maps: Mapping[str, Mapping[str, str]]
    regions: Mapping[str, str] | None
    targets: RegionTargets
    geometry: Mapping[str, Mapping[str, Any]]
    lesions: Lesions | ImagePlaces | None
    fidelity: Literal["default", "reference"]
    tolerance: int
    damaged: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def refuse_damaged(self) -> None:
        """Stop where damaged files were met, all of them named.

        Raises:
            DamagedFilesError: if there were any.
        """
        if self.damaged:
            raise DamagedFilesError(dict.fromkeys(self.damaged))

    def curves(self, model: str, scan_id: str) -> Iterator[tuple[tuple[str, ...], str, NDArray, NDArray]]:
        """Labels, method, present labels and OrganIoU at every threshold ``[M, T]``, for each method of a scan."""
        read = self._read(model, scan_id)
        if read is None:
            return
        found, present, allowed = read
        if allowed is not None:
            for method, attention in _tensors(found):
                curve = self._curve(attention, allowed)
                yield found.labels, method, present, curve

    def figures(
        self, model: str, split: str, scan_id: str, steps: Mapping[str, NDArray[np.intp]]
    ) -> tuple[tuple[str, ...], ScanFigures] | None:
        """Labels and figures of a scan at the chosen thresholds; None if the model lacks it.

        Args:
            model: which one.
            split: the split that the scan is scored in.
            scan_id: which one.
            steps: method -> position of each label's threshold ``[M]``.
        """
        read = self._read(model, scan_id)
        if read is None:
            return None
        found, present, allowed = read
        lesion = self._lesion(scan_id, found)
        overlap, pointing, energy = {}, {}, {}
        for method, attention in _tensors(found):
            overlap[method] = np.full(len(found.labels), np.nan)
            if allowed is not None:
                chosen = np.take_along_axis(self._curve(attention, allowed), steps[method][:, None], axis=1)[:, 0]
                overlap[method] = np.where(present, chosen, np.nan)
            if lesion is not None:
                hits = self._hits(scan_id, found, method, lesion)
                share = energy_pointing(attention, lesion)[0].numpy()
                pointing[method], energy[method] = hits, np.where(np.isnan(hits), np.nan, share)
        return found.labels, ScanFigures(scan_id, split, present, found.scores, overlap, pointing, energy)

    def _hits(self, scan_id: str, found: ScanAttention, method: str, lesion: torch.Tensor) -> NDArray:
        """Which maps peak on their label's lesion ``[M]``; NaN where there is none."""
        if isinstance(self.lesions, ImagePlaces) and self.fidelity == "reference":
            told = scan_id, found.labels, found.maps[method], found.grid, self.geometry[scan_id]
            return self.lesions.peaks_inside(*told)
        attention = torch.from_numpy(found.maps[method])[None]
        hits: NDArray = pointing_accuracy(attention, lesion, self.tolerance)[0].numpy()
        return hits

    def logit(self, model: str, scan_id: str, label: str) -> float | None:
        """The score of a label; None for a scan or label that the model lacks."""
        found = self._maps(model, scan_id)
        return float(found.scores[found.labels.index(label)]) if found and label in found.labels else None

    def _read(self, model: str, scan_id: str) -> tuple[ScanAttention, NDArray[np.bool_], torch.Tensor | None] | None:
        found = self._maps(model, scan_id)
        path = self.root / "regions" / f"{scan_id}.npz"
        if found is None:
            return None
        row, columns = self.targets.rows[scan_id], [self.targets.names.index(name) for name in found.labels]
        present = self.targets.present[row, columns].astype(bool)
        if self.regions is None:
            return found, present, None
        if scan_id not in self.regions:
            return None
        if is_damaged((str(path), self.regions[scan_id])):
            self.damaged.append(str(path))
            return None
        bitmaps = torch.from_numpy(read_regions(path, grid_key(found.grid)))
        allowed = expand_regions(bitmaps, torch.from_numpy(self.targets.places[row, columns]))
        return found, present, allowed

    def _maps(self, model: str, scan_id: str) -> ScanAttention | None:
        content = self.maps[model].get(scan_id)
        if content is None:
            return None
        try:
            found = read_attention(self.root / "attention" / model / f"{scan_id}.npz", content)
        except DamagedFilesError as error:
            self.damaged += error.files
            return None
        except DataError as error:
            self.problems[scan_id] = f"model {model}: {error}"
            return None
        if not all(np.isfinite(values).all() for values in (found.scores, *found.maps.values())):
            self.problems[scan_id] = f"model {model}: its maps or scores hold NaN or infinity"
            return None
        return found

    def _curve(self, attention: torch.Tensor, allowed: torch.Tensor) -> NDArray[np.float64]:
        curve: NDArray[np.float64] = organ_iou_curve(attention, allowed[None], THRESHOLDS, self.fidelity)[0].numpy()
        return curve

    def _lesion(self, scan_id: str, found: ScanAttention) -> torch.Tensor | None:
        if self.lesions is None or scan_id not in self.lesions:
            return None
        try:
            share = self.lesions.occupancy(scan_id, found.labels, found.grid, self.geometry[scan_id])
        except (OSError, ValueError) as error:
            self.problems[scan_id] = f"its known lesions cannot be used: {error}"
            return None
        return torch.from_numpy(share)[None]


def _tensors(found: ScanAttention) -> Iterator[tuple[str, torch.Tensor]]:
    for method, values in found.maps.items():
        yield method, torch.from_numpy(values)[None]
