"""Reading back what the explain stage wrote."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..geometry import FeatureGrid
from ..runner import DamagedFilesError

__all__ = ["ScanAttention", "read_attention"]


@dataclass(frozen=True)
class ScanAttention:
    """Maps and scores of one scan from one model.

    Attributes:
        maps: method -> raw signed values ``[M, S, h, w]``.
        scores: logits ``[M]``.
        labels: names of the M labels.
        grid: where the cells lie in the network's input.
    """

    maps: dict[str, NDArray[np.float32]]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    grid: FeatureGrid


def read_attention(path: Path, content: str | None = None) -> ScanAttention:
    """Read an ``attention/<m>/<id>.npz``.

    Args:
        path: the file.
        content: hash that it must have, compared on the bytes that are read; None takes the file as it is.

    Raises:
        DamagedFilesError: if the file is gone or has another hash.
    """
    try:
        data = path.read_bytes()
    except OSError:
        raise DamagedFilesError([str(path)]) from None
    if content is not None and f"sha256:{hashlib.sha256(data).hexdigest()}" != content:
        raise DamagedFilesError([str(path)])
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        others = {"scores", "labels", "grid"}
        return ScanAttention(
            {name: archive[name] for name in archive.files if name not in others},
            archive["scores"],
            tuple(str(label) for label in archive["labels"]),
            FeatureGrid.from_dict(json.loads(str(archive["grid"]))),
        )
