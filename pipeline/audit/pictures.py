"""A picture of one insertion: the scan before, the scan after, and what lit up over it."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..attention.on_source import SourceGrid, map_on_source
from ..data.volume import Volume
from .insertion import Insertion
from .model import Answer

__all__ = ["draw_insertion"]

HEIGHT = 256
LUNG, SOFT = (-1350.0, 150.0), (-160.0, 240.0)
RED = np.array([214.0, 39.0, 40.0])
STRONGEST = 0.6


def draw_insertion(scan: Volume, made: Insertion, before: Answer, after: Answer, label: int) -> bytes:
    """PNG of the axial slice with the most of what was put in.

    Args:
        scan: before.
        made: after.
        before: what the model said.
        after: what it says now.
        label: whose map is drawn.
    """
    old, new = scan.reoriented(), made.volume.reoriented()
    covered = Volume(made.covered, scan.affine).reoriented().array
    z = int(covered.sum(axis=(1, 2)).argmax())
    window = LUNG if made.place.startswith(("right", "left")) else SOFT
    size = (max(1, round(HEIGHT * old.spacing[2] * old.array.shape[2] / (old.spacing[1] * old.array.shape[1]))), HEIGHT)
    panels = [_grey(volume.array[z], window, size) for volume in (old, new)]
    lit = _change(before, after, label, new, z)
    if lit is not None:
        share = np.asarray(Image.fromarray(lit.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
        opacity = STRONGEST * np.clip(share, 0, 1)
        panels.append((1 - opacity) * panels[1] + opacity * RED)
    gap = np.full((HEIGHT, 4, 3), 255.0)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def _grey(plane: NDArray, window: tuple[float, float], size: tuple[int, int]) -> NDArray:
    share = np.clip((plane.astype(np.float32) - window[0]) / (window[1] - window[0]), 0, 1) * 255
    grey = np.asarray(Image.fromarray(share.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    return np.repeat(grey[..., None].astype(np.float64), 3, axis=2)


def _change(before: Answer, after: Answer, label: int, scan: Volume, z: int) -> NDArray | None:
    """What lit up in one slice, as a share of the largest of the whole map."""
    if after.grid is None or after.affine is None or after.grid.axes != 3:
        return None
    change = np.clip(after.maps[label] - before.maps[label], 0, None)
    largest = float(change.max())
    if not largest > 0:
        return np.zeros(scan.array.shape[1:])
    source = SourceGrid(scan.array.shape, scan.affine)
    placed = map_on_source(change.astype(np.float32), after.grid, after.affine, source)
    return np.nan_to_num(placed.array[z]) / largest  # NaN where the network did not look
