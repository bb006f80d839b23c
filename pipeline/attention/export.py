"""Attention on disk: one form of npz for all outputs of a scan.

Maps are raw and signed. An npz holds them at the network's own resolution (80 maps of 405 x 420 x 420 voxels are
23 GB), with what is needed to bring them to voxels later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..data.formats.npz import read_npz
from ..errors import DataError
from ..geometry import FeatureGrid
from .result import AttentionMaps

__all__ = [
    "ScanAttention",
    "read_attention",
    "scan_attention",
    "write_attention",
]

OTHERS = ("scores", "labels", "grid")  # what an npz holds beside one array a method


@dataclass(frozen=True)
class ScanAttention:
    """Maps and scores of one scan from one network.

    Attributes:
        maps: method -> raw signed values ``[M, *grid]``, float32.
        scores: logits ``[M]``.
        labels: names of the M outputs.
        known_grid: where the cells lie in the network's input; None where they have no regular places there.
    """

    maps: dict[str, NDArray[np.float32]]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    known_grid: FeatureGrid | None

    @property
    def grid(self) -> FeatureGrid:
        """Where the cells lie in the network's input.

        Raises:
            DataError: if they have no regular places there.
        """
        if self.known_grid is None:
            msg = "these maps have no feature grid: the explained layer's cells keep no regular places in the input"
            raise DataError(msg)
        return self.known_grid


def scan_attention(found: Mapping[str, AttentionMaps], item: int, labels: Sequence[str]) -> ScanAttention:
    """One item of a batch's maps, on the processor.

    Args:
        found: method -> maps of the same forward pass (``attention_by_method``).
        item: which one.
        labels: names of the outputs that were explained, in their order.
    """
    first = next(iter(found.values()))
    maps = {method: one.values[item].detach().float().cpu().numpy() for method, one in found.items()}
    return ScanAttention(maps, first.logits[item].detach().float().cpu().numpy(), tuple(labels), first.grid)


def write_attention(stream: IO[bytes], attention: ScanAttention) -> None:
    """Write an npz: one array ``[M, *grid]`` a method, ``scores``, ``labels`` and ``grid`` as JSON.

    Raises:
        ValueError: if shapes and labels do not belong together.
    """
    sizes = {(len(maps), *maps.shape[1:]) for maps in attention.maps.values()}
    count = len(attention.labels)
    grid = attention.known_grid
    if len(sizes) != 1 or attention.scores.shape != (count,) or {size[0] for size in sizes} != {count}:
        msg = f"maps {sorted(sizes)}, scores {attention.scores.shape} and {count} labels do not belong together"
        raise ValueError(msg)
    if grid is not None and {size[1:] for size in sizes} != {grid.shape}:
        msg = f"maps {sorted(sizes)} do not have the grid's {grid.shape} cells"
        raise ValueError(msg)
    arrays: dict[str, Any] = {**attention.maps, "scores": attention.scores}
    arrays["labels"] = np.asarray(attention.labels, dtype=np.str_)
    if grid is not None:
        arrays["grid"] = np.asarray(json.dumps(grid.to_dict()))
    np.savez(stream, **arrays)


def read_attention(source: str | Path | IO[bytes]) -> ScanAttention:
    """Read what ``write_attention`` wrote.

    Args:
        source: path of the file, or an open one.

    Raises:
        DataError: if it is missing, damaged or of another kind.
    """
    name = source if isinstance(source, (str, Path)) else getattr(source, "name", "the stream")
    try:
        held = read_npz(source)
        grid = FeatureGrid.from_dict(json.loads(str(held["grid"]))) if "grid" in held else None
        return ScanAttention(
            {name: values for name, values in held.items() if name not in OTHERS},
            held["scores"],
            tuple(str(label) for label in held["labels"]),
            grid,
        )
    except DataError as error:
        msg = f"{error}; run explain again"
        raise DataError(msg) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        msg = f"{name}: not a readable attention file ({type(error).__name__}); run explain again"
        raise DataError(msg) from None
