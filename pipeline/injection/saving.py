"""Maps of an injected network as files: NIfTI or PNG on the input's grid, npz at the layer's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..attention import AttentionMaps, ScanAttention, write_attention
from ..data.writers import write_nifti
from ..runner.atomic import atomic_path
from ..runner.identifiers import id_of_file

__all__ = ["item_names", "save_npz", "save_pictures"]


def item_names(inputs: Tensor, counter: int) -> list[str]:
    """A file name for each item: that of its scan where the input knows it, else by count.

    Args:
        inputs: MONAI's MetaTensor, or any tensor.
        counter: of the forward pass.
    """
    meta = getattr(inputs, "meta", {})
    files = meta.get("filename_or_obj", "")
    listed = list(files) if isinstance(files, (list, tuple)) else [files]
    known = [id_of_file(str(name)) for name in listed] if len(listed) == len(inputs) and all(listed) else []
    if known and len(set(known)) == len(known):
        return known
    return [f"attention_map_{counter}_{item}" for item in range(len(inputs))]


def save_pictures(
    folder: Path, names: Sequence[str], labels: Sequence[Sequence[str]], maps: Tensor, inputs: Tensor, under: Any = None
) -> list[Path]:
    """One file for each item and label: float32 NIfTI of a volume, PNG over the image in two dimensions.

    NIfTI holds the values as they are, on the voxels of the input and with its affine (identity where the input is no
    MetaTensor). In a PNG evidence for the label is red and evidence against it blue, both by one scale.

    Args:
        folder: made if missing.
        names: of the items.
        labels: of each item's maps.
        maps: ``[B, M, *voxels]``.
        inputs: what the network was given, ``[B, C, *voxels]``.
        under: images ``[B, C, H, W]`` or ``[B, H, W, 3]`` to lay the map over instead of the inputs.
    """
    paths = []
    for item, name in enumerate(names):
        for number, label in enumerate(labels[item]):
            values = maps[item, number].float().cpu().numpy()
            ending = "nii.gz" if values.ndim == 3 else "png"
            path = folder / f"{name}_{label}.{ending}"
            with atomic_path(path) as temporary:
                if values.ndim == 3:
                    write_nifti(temporary, values, _affine(inputs, item))
                else:
                    _write_picture(temporary, values, _grey(inputs if under is None else under, item, values.shape))
            paths.append(path)
    return paths


def save_npz(folder: Path, names: Sequence[str], labels: Sequence[Sequence[str]], maps: AttentionMaps) -> list[Path]:
    """One npz for each item, raw and signed at the layer's own resolution (``organcam.attention.read_attention``)."""
    paths = []
    for item, name in enumerate(names):
        cells = maps.values[item].detach().float().cpu().numpy()
        scores = maps.logits[item].detach().float().cpu().numpy()
        paths.append(folder / f"{name}.npz")
        with atomic_path(paths[-1]) as temporary, temporary.open("wb") as stream:
            write_attention(stream, ScanAttention({maps.method: cells}, scores, tuple(labels[item]), maps.grid))
    return paths


def _affine(inputs: Tensor, item: int) -> NDArray[np.float64]:
    affine = getattr(inputs, "affine", None)
    if affine is None:
        return np.eye(4)
    affine = affine[item] if affine.ndim == 3 else affine
    return np.asarray(affine.cpu(), dtype=np.float64)


def _grey(images: Any, item: int, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """The image in shades from 0 to 1; None where none of its axes fit the map."""
    one = images[item]
    values = np.asarray(one.detach().float().cpu() if isinstance(one, Tensor) else one, dtype=np.float64)
    if values.ndim == 3:
        values = values.mean(0) if values.shape[1:] == shape else values.mean(-1)
    if values.shape != shape:
        return None
    return (values - values.min()) / (np.ptp(values) or 1)


def _write_picture(path: Path, values: NDArray, image: NDArray[np.float64] | None) -> None:
    from PIL import Image  # noqa: PLC0415

    grey = np.zeros(values.shape) if image is None else image
    larger = max(np.abs(values).max(), np.finfo(np.float32).tiny)
    strength = np.abs(values) / larger
    colour = np.where((values > 0)[..., None], (1.0, 0.2, 0.1), (0.2, 0.4, 1.0))
    mixed = grey[..., None] * (1 - 0.6 * strength[..., None]) + colour * 0.6 * strength[..., None]
    Image.fromarray(np.round(mixed.clip(0, 1) * 255).astype(np.uint8)).save(path)
