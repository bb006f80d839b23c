"""One scan with its maps on one grid, and the dictionaries that its page is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organcam.catalogue import region_labels

from ..data.grey import WHITE
from ..data.volume import Volume
from ..geometry import FeatureGrid
from .panels import WINDOWS, Layers, Window, colour_ramp, data_uri, png_bytes, render_panel, stacked
from .planes import IMAGE, Plane, centre_voxel, cut, cut_aligned, cut_cells, cut_map, peak_voxel, planes_through
from .wording import inside_sentence

__all__ = ["ModelMaps", "ScanView", "label_window", "scan_context", "shown_labels"]

ORGAN_NAMES = ("right lung", "left lung", "heart and mediastinum")
LONGEST_SIDE = 400
"""Pixels of a picture's longer side; a chest CT at 0.8 mm keeps about its own."""

GREY = Window("grey", WHITE / 2, WHITE)
"""Of 2D images, which are stored from black to white."""
THROUGH_PEAK = " through its peak in axial, coronal and sagittal planes"

SOFT_TISSUE = frozenset(
    {"pleural_effusion", "pleural_thickening", "plaque", "calcification", "lymphadenopathy", "soft_tissue"}
)
"""Lung labels that are read in the mediastinal window."""


@dataclass(frozen=True)
class ModelMaps:
    """What one model says about the scan.

    Attributes:
        labels: names of its M outputs.
        maps: raw signed values ``[M, S, h, w]``.
        scores: logits ``[M]``.
        grid: the cells' place in voxels of the scan's stored volume.
        allowed: bool ``[M, S, h, w]``; None without a report.
    """

    labels: tuple[str, ...]
    maps: NDArray[np.float32]
    scores: NDArray[np.float32]
    grid: FeatureGrid
    allowed: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class ScanView:
    """A scan as its page shows it.

    Attributes:
        scan_id: its id.
        volume: stored volume, axes I, P, L.
        models: in the order of the workflow.
        organs: label map 1, 2, 3 on its own grid, axes I, P, L; None without one.
        present: label -> whether the report has it; None without a report.
        organ_bits: label -> where it may lie (right lung, left lung, heart and mediastinum).
        lesions: label -> known lesion, bool, on its own grid, axes I, P, L.
        confounder: known confounders of the scan, the same way.
        method: of the maps.
        of_image: whether the volume is a 2D image, which has one plane and stored values of grey.
    """

    scan_id: str
    volume: Volume
    models: Mapping[str, ModelMaps]
    organs: Volume | None = None
    present: Mapping[str, bool] | None = None
    organ_bits: Mapping[str, Sequence[int]] = field(default_factory=dict)
    lesions: Mapping[str, Volume] = field(default_factory=dict)
    confounder: Volume | None = None
    method: str = "HiResCAM"
    of_image: bool = False


def shown_labels(
    present: Mapping[str, bool] | None, scores: Mapping[str, tuple[Sequence[str], NDArray[np.float32]]], count: int
) -> list[str]:
    """Labels of the report first, then the others; in both the highest mean logit of the models first.

    Args:
        present: label -> whether the report has it.
        scores: model -> (labels, logits).
        count: how many to take.
    """
    logits: dict[str, list[float]] = {}
    for labels, values in scores.values():
        for label, value in zip(labels, values, strict=True):
            logits.setdefault(label, []).append(float(value))
    there = present or {}
    return sorted(logits, key=lambda label: (not there.get(label, False), -float(np.mean(logits[label])), label))[
        :count
    ]


def label_window(label: str) -> Window:
    """The window in which a label is looked for: lung for lung findings, mediastinum for everything else."""
    known = {item.name: item for item in region_labels()}.get(label)
    lung = known is not None and known.region == "lung" and known.abnormality not in SOFT_TISSUE
    return WINDOWS["lung" if lung else "mediastinum"]


def scan_context(view: ScanView, labels: Sequence[str], findings: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What the template ``scan.html`` shows of a scan.

    Args:
        view: the scan.
        labels: those with pictures.
        findings: of its report, see `quoted_findings`.
    """
    shape, spacing = view.volume.array.shape, view.volume.spacing
    if view.of_image:
        shape, spacing = shape[1:], spacing[1:]  # type: ignore[assignment]
    return {
        "scan_id": view.scan_id,
        "shape": " x ".join(map(str, shape)),
        "spacing": " x ".join(f"{step:.2f}" for step in spacing),
        "method": view.method,
        "models": list(view.models),
        "labels": [_label_section(view, label) for label in labels],
        "scores": _score_table(view),
        "findings": list(findings),
        "has_report": view.present is not None,
        "has_organs": view.organs is not None,
        "has_lesions": any(label in view.lesions for label in labels),
        "has_confounder": view.confounder is not None,
        "of_image": view.of_image,
        "ramp": data_uri(png_bytes(colour_ramp(240, 12))),
    }


def _label_section(view: ScanView, label: str) -> dict[str, Any]:
    window, lesion = GREY if view.of_image else label_window(label), view.lesions.get(label)
    columns = {name: _LabelMap(model, label) for name, model in view.models.items() if label in model.labels}
    scale = max((float(np.abs(column.cells).max()) for column in columns.values()), default=0.0)
    bits = view.organ_bits.get(label) or _catalogue_bits(label)
    there = view.present.get(label, False) if view.present is not None else None
    last = list(columns.values())[-1]
    where = _lesion_centre(view, lesion) if lesion is not None else last.peak
    pictures = [
        {
            "title": "Image" if view.of_image else "CT",
            "lines": [_place_in_words(view, lesion is not None, list(columns)[-1])],
            "image": _picture(view, None, where, window, 1.0, bits, lesion),
            "alt": f"{'Image' if view.of_image else 'CT'} of {label} without a map",
        }
    ]
    for name, column in columns.items():
        pictures.append(
            {
                "title": name,
                "lines": column.lines(scale),
                "image": _picture(view, column, column.peak, window, scale, bits, lesion),
                "alt": f"{view.method} of {name} for {label}{'' if view.of_image else THROUGH_PEAK}",
            }
        )
    return {
        "label": label,
        "present": there,
        "window": _window_in_words(view, window),
        "organs": [name for name, bit in zip(ORGAN_NAMES, bits, strict=True) if bit],
        "scale": scale,
        "pictures": pictures,
        "lesion": lesion is not None,
    }


def _place_in_words(view: ScanView, has_lesion: bool, last: str) -> str:
    """Where the picture without a map is taken."""
    if view.of_image:
        return "with the known place" if has_lesion else "without a map"
    return "through the known lesion" if has_lesion else f"as {last}, without the map"


def _window_in_words(view: ScanView, window: Window) -> str:
    if view.of_image:
        return "black to white as stored (store.grey)"
    return f"{window.name} window (level {window.level:g}, width {window.width:g} HU)"


class _LabelMap:
    """One label's map of one model."""

    def __init__(self, model: ModelMaps, label: str) -> None:
        place = model.labels.index(label)
        self.cells = model.maps[place]
        self.grid = model.grid
        self.logit = float(model.scores[place])
        self.allowed = None if model.allowed is None else model.allowed[place]
        self.peak = peak_voxel(self.cells, self.grid)

    def lines(self, scale: float) -> list[str]:
        """Score, where the evidence lies, and how strong the peak is."""
        highest = float(self.cells.max())
        lines = [f"logit {self.logit:+.2f}, probability {_sigmoid(self.logit):.2f}"]
        if highest <= 0:
            return [*lines, "no positive evidence anywhere"]
        if self.allowed is not None and self.allowed.any():
            positive = np.maximum(self.cells, 0)
            lines.append(inside_sentence(float(positive[self.allowed].sum() / positive.sum())))
        return [*lines, f"peak {highest:.3g}, {highest / scale:.0%} of the colour scale"]


def _picture(
    view: ScanView,
    column: _LabelMap | None,
    where: Sequence[int],
    window: Window,
    scale: float,
    bits: Sequence[int],
    lesion: Volume | None,
) -> str:
    """Axial, coronal and sagittal plane through a voxel, one below the other; a 2D image is its only plane."""
    sides = [count * step for count, step in zip(view.volume.array.shape, view.volume.spacing, strict=True)]
    pixel_mm = max(sides) / LONGEST_SIDE
    panels = []
    for plane in [IMAGE] if view.of_image else planes_through(where):
        layers = _layers(view, column, plane, where, bits, lesion)
        slices = view.volume.array.shape[plane.axis]
        panels.append(render_panel(layers, plane, slices, window, scale if scale > 0 else 1.0, pixel_mm))
    return data_uri(png_bytes(stacked(panels)))


def _layers(
    view: ScanView,
    column: _LabelMap | None,
    plane: Plane,
    where: Sequence[int],
    bits: Sequence[int],
    lesion: Volume | None,
) -> Layers:
    volume = view.volume
    wanted = [value + 1 for value, bit in enumerate(bits) if bit]
    organs = _cut_volume(view.organs, volume, plane)
    inside, beside = _cut_volume(lesion, volume, plane), _cut_volume(view.confounder, volume, plane)
    others = [axis for axis in range(3) if axis != plane.axis]
    return Layers(
        hu=cut(volume.array, plane),
        spacing=(volume.spacing[others[0]], volume.spacing[others[1]]),
        attention=None if column is None else cut_map(column.cells, column.grid, plane),
        organs=None if organs is None else np.isin(organs, wanted),
        other_organs=None if organs is None else (organs > 0) & ~np.isin(organs, wanted),
        cells=None if column is None or column.allowed is None else cut_cells(column.allowed, column.grid, plane),
        lesion=None if inside is None else inside > 0,
        confounder=None if beside is None else beside > 0,
        mark=(int(where[others[0]]), int(where[others[1]])),
    )


def _cut_volume(other: Volume | None, volume: Volume, plane: Plane) -> NDArray | None:
    if other is None:
        return None
    return cut_aligned(other.array, other.affine, volume.affine, volume.array.shape, plane)


def _lesion_centre(view: ScanView, lesion: Volume) -> tuple[int, int, int]:
    return centre_voxel(lesion.array, lesion.affine, view.volume.affine, view.volume.array.shape)


def _score_table(view: ScanView) -> list[dict[str, Any]]:
    """Every label with its truth and each model's logit; labels of the report first."""
    tables = {name: (model.labels, model.scores) for name, model in view.models.items()}
    order = shown_labels(view.present, tables, sum(len(labels) for labels, _ in tables.values()))
    known = {name: dict(zip(labels, map(float, scores), strict=True)) for name, (labels, scores) in tables.items()}
    rows = []
    for label in order:
        logits = [known[name].get(label) for name in tables]
        rows.append(
            {
                "label": label,
                "present": None if view.present is None else view.present.get(label, False),
                "scores": [{"logit": x, "probability": None if x is None else _sigmoid(x)} for x in logits],
            }
        )
    return rows


def _catalogue_bits(label: str) -> tuple[int, int, int]:
    """Where a label may lie in any patient; nowhere known for one outside the catalogue."""
    known = {item.name: item.organs for item in region_labels()}.get(label)
    if known is None:
        return 0, 0, 0
    return (0, 0, 1) if known == "heart_mediastinum" else (1, 1, 0)


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -60, 60))))
