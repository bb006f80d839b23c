"""What attention methods give: maps with all that is needed to read, place, show and keep them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor

from ..data.writers import write_nifti
from ..geometry import FeatureGrid
from ..runner.atomic import atomic_path
from .on_source import SourceGrid, map_on_source
from .picture import draw_planes
from .resample import resized_grid, reversed_grid, to_input_grid

__all__ = ["AttentionMaps"]

SHOWN = 4
"""Maps that a notebook shows: those of the first item with the highest scores."""
ENDINGS = (".npz", ".nii", ".nii.gz", ".png")


@dataclass(frozen=True, repr=False)
class AttentionMaps:
    """Attention of some outputs.

    Args:
        values: ``[B, M, *grid]``, raw and signed; for a slab-wise network the grid is (S, h, w).
        logits: ``[B, M]``, the scores that are explained.
        method: its name.
        targets: index of each of the M outputs among the network's; where every item has its own, a row for each item.
        layer: dotted name of the layer that was explained, "input" for methods that look at the input itself.
        grid: where the cells lie in the network's input; None where they have no regular places there.
        closed_form: whether the maps came from the linear layer's weights instead of a backward pass.
        affines: ``[B, 4, 4]``, the input's voxel indices to RAS+ mm, where it was MONAI's MetaTensor.
    """

    values: Tensor
    logits: Tensor
    method: str
    targets: tuple[int, ...] | tuple[tuple[int, ...], ...]
    layer: str
    grid: FeatureGrid | None
    closed_form: bool
    affines: Tensor | None = None
    image: ref[Tensor] | None = field(default=None, compare=False)
    """The input while somebody else holds it, to draw maps over."""

    def __repr__(self) -> str:
        """Everything but the numbers."""
        shape, names = list(self.values.shape), self.layer
        return f"AttentionMaps({self.method} of {names!r}, values {shape}, targets {self.targets}, grid {self.grid})"

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes; the input stays behind."""
        return {**self.__dict__, "image": None}

    def select(self, item: int | None = None, target: int | None = None) -> AttentionMaps:
        """The maps of one item of the batch, of one of the M targets (by its place among them), or of both.

        Raises:
            IndexError: if there is none there.
        """
        items = _one(item, len(self.values), "item")
        targets = _one(target, self.values.shape[1], "target")
        rows: Any = self.targets
        by_item = bool(rows) and isinstance(rows[0], tuple)
        rows = tuple(row[targets] for row in rows[items]) if by_item else rows[targets]
        affines = None if self.affines is None else self.affines[items]
        image = self.image if item in (None, 0) else None
        return replace(
            self,
            values=self.values[items, targets],
            logits=self.logits[items, targets],
            targets=rows,
            affines=affines,
            image=image,
        )

    def on_image(self, size: Sequence[int] | None = None, *, affine: Any = None, input_affine: Any = None) -> Tensor:
        """The maps on voxels, interpolated between the true centres of the cells; 0 where the network has no cell.

        Differentiable without an affine. Of many maps of a large volume choose first (``select``): each has as many
        values as the volume.

        Args:
            size: voxels of the image, axis by axis; None for those of the network's input. Without an affine the image
                is taken to be the input at another resolution, edges on edges.
            affine: 4 x 4, voxel indices to RAS+ mm, of a volume that is flipped, turned, cropped or spaced otherwise
                than the input; its ``size`` must then be given. Voxels outside the input are NaN: it does not say
                anything of them (``organcam.placement.map_on_source``).
            input_affine: of the network's input, where it was no MetaTensor.

        Returns:
            ``[B, M, *size]``, float32 (float64 without an affine, if the maps are).

        Raises:
            ValueError: if the maps have no grid or not three axes, or the size does not fit.
        """
        grid = self._placed()
        if affine is None:
            return to_input_grid(self.values, grid if size is None else resized_grid(grid, size))
        if size is None:
            msg = "an affine alone does not say how many voxels there are: give size too"
            raise ValueError(msg)
        source, items = SourceGrid(tuple(size), np.asarray(affine, dtype=np.float64)), []
        for item, maps in enumerate(self.values.detach().float().cpu().numpy()):
            own = self._affine(item, input_affine)
            items.append(np.stack([map_on_source(cells, grid, own, source).array for cells in maps]))
        return torch.from_numpy(np.stack(items))

    def save(
        self,
        path: str | Path,
        *,
        labels: Sequence[str] | None = None,
        affine: Any = None,
        size: Sequence[int] | None = None,
    ) -> list[Path]:
        """Write the maps; the path's ending says how, and several files get the item and the label before it.

        ``.npz`` holds all maps of an item at their own resolution (``read_attention`` reads it). ``.nii`` and
        ``.nii.gz`` hold one map on the voxels of the input, float32, raw and signed, in millimetres; ``.png`` is a
        picture. A file is complete or not there.

        Args:
            path: with one of these endings.
            labels: names of the M targets; default ``label0`` and so on, by index.
            affine: of the network's input, for NIfTI; default that of the MetaTensor it was.
            size: voxels of the files, edges on edges with the input; None for those of the input.

        Returns:
            The files.

        Raises:
            ValueError: for another ending, for NIfTI without an affine or of an image, or if the labels are not M
                different ones.
        """
        path = Path(path)
        ending = next((one for one in sorted(ENDINGS, key=len, reverse=True) if path.name.endswith(one)), None)
        if ending is None:
            msg = f"{path}: maps are kept as {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
            raise ValueError(msg)
        stem = path.name.removesuffix(ending)
        written = []
        for item in range(len(self.values)):
            names = self._labels(item, labels)
            alone = stem if len(self.values) == 1 else f"{stem}_{item}"
            if ending == ".npz":
                final = path.with_name(f"{alone}{ending}")
                self._write_npz(final, item, names)
                written.append(final)
                continue
            for number, label in enumerate(names):
                final = path.with_name(f"{alone if len(names) == 1 else f'{alone}_{label}'}{ending}")
                one = self.select(item, number)
                if ending == ".png":
                    one._write_png(final)
                else:
                    one._write_nifti(final, affine, size)
                written.append(final)
        return written

    def _repr_html_(self) -> str:
        """A table of what they are, and pictures of the strongest maps of the first item."""
        facts = {
            "method": self.method + (", in closed form" if self.closed_form else ""),
            "layer": self.layer,
            "values": f"{list(self.values.shape)}, raw and signed",
            "cells": "no regular places in the input"
            if self.grid is None
            else f"{self.grid.shape}, every {self.grid.stride} voxels of {self.grid.input_shape}",
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
        return f"<table>{rows}</table>{self._pictures()}"

    def _pictures(self) -> str:
        if self.grid is None or not self.values.numel():
            return ""
        names = self._labels(0, None)
        best = self.logits[0].detach().float().argsort(descending=True)[:SHOWN].tolist()
        shown = []
        for number in best:
            data = b64encode(self.select(0, number)._png()).decode()
            caption = f"{names[number]}, score {float(self.logits[0, number]):.3g}"
            shown.append(
                f'<figure><img src="data:image/png;base64,{data}"/><figcaption>{caption}</figcaption></figure>'
            )
        return "".join(shown)

    def _png(self) -> bytes:
        image = None if self.image is None else self.image()
        item = None if image is None else image.as_subclass(Tensor)[0]
        return draw_planes(self.values[0, 0].detach().cpu(), self._placed(), item)

    def _write_png(self, final: Path) -> None:
        with atomic_path(final) as temporary:
            temporary.write_bytes(self._png())

    def _write_npz(self, final: Path, item: int, names: Sequence[str]) -> None:
        from .export import scan_attention, write_attention  # noqa: PLC0415

        with atomic_path(final) as temporary, temporary.open("wb") as stream:
            write_attention(stream, scan_attention({self.method: self}, item, names))

    def _write_nifti(self, final: Path, given: Any, size: Sequence[int] | None) -> None:
        grid = self._placed()
        if grid.axes != 3:
            msg = f"maps with {grid.axes} axes cannot be NIfTI volumes; use .png or .npz"
            raise ValueError(msg)
        affine = self._affine(0, given)
        if size is not None:
            scale = np.asarray(grid.input_shape) / np.asarray(size)
            resized = np.diag([*scale, 1.0])
            resized[:3, 3] = (scale - 1) / 2
            affine = affine @ resized
        # The file runs along the first axis: interpolated with its axes reversed, nothing is copied into that order.
        turned = reversed_grid(grid if size is None else resized_grid(grid, size))
        dense = to_input_grid(self.values[0, 0].detach().float().cpu().permute(2, 1, 0), turned).numpy().T
        with atomic_path(final) as temporary:
            write_nifti(temporary, dense, affine)

    def _labels(self, item: int, labels: Sequence[str] | None) -> list[str]:
        row = self.targets[item] if self.targets and isinstance(self.targets[0], tuple) else self.targets
        assert isinstance(row, tuple)
        if labels is None:
            return [f"label{target}" for target in row]
        if len(labels) != len(row) or len(set(labels)) != len(row):
            names = (
                f"{len(labels)} labels" if len(labels) != len(row) else f"labels of which some are the same ({labels})"
            )
            msg = f"there are {len(row)} targets and {names}; give one for each target"
            raise ValueError(msg)
        return list(labels)

    def _placed(self) -> FeatureGrid:
        if self.grid is None:
            msg = (
                f"the cells of layer {self.layer!r} have no regular places in the input; choose a layer that keeps them"
            )
            raise ValueError(msg)
        return self.grid

    def _affine(self, item: int, given: Any) -> np.ndarray:
        if given is not None:
            return np.asarray(given, dtype=np.float64)
        if self.affines is None:
            msg = "the input's affine is not known: give it, or MONAI's MetaTensor as inputs"
            raise ValueError(msg)
        return self.affines[item].numpy()


def _one(place: int | None, count: int, what: str) -> slice:
    if place is None:
        return slice(None)
    if not 0 <= place < count:
        msg = f"{what} {place} is out of range; there are {what}s 0 to {count - 1}"
        raise IndexError(msg)
    return slice(place, place + 1)
