"""Volumes resampled once and kept compressed for training: blosc2 arrays that open in milliseconds.

One file a scan, ``<id>.b2nd``: int16 HU in the network's axes (superior to inferior, anterior to posterior, right to
left). Where its voxels lie in the patient is in the JSON beside it. Measured on a 405 x 420 x 420 scan: 63 MB, 0.09 s
to read, against 0.46 s for deflated npz.
"""

from __future__ import annotations

import json
from pathlib import Path

import blosc2
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..errors import DataError
from .limits import MAX_VOXELS, check_voxels
from .volume import Volume

__all__ = ["read_stored", "resampled", "to_stored", "write_stored"]

AIR_HU = -1000
PADDING_HU = -1500
"""Below it a voxel lies outside what the scanner saw (-2000, -2048, -3024 are usual); no noise of air gets there."""


def to_stored(
    volume: Volume,
    spacing_mm: tuple[float, float, float] | None,
    clip_hu: tuple[int, int],
    max_voxels: int = MAX_VOXELS,
    name: Path | str = "the volume",
) -> Volume:
    """The volume as it is stored: network axes, wanted spacing, clipped, int16.

    Padding counts as air: averaged with the skin it would make a dark rim inside the patient.

    Args:
        volume: a CT in HU, any axes.
        spacing_mm: wanted voxel size along (I, P, L); None keeps the scan's own.
        clip_hu: lowest and highest stored value.
        max_voxels: largest size after resampling.
        name: of the volume, for errors.

    Raises:
        DataError: if the resampled volume would be larger.
    """
    network = volume.reoriented()
    if network.array.min(initial=0) < PADDING_HU:
        network = Volume(np.where(network.array < PADDING_HU, AIR_HU, network.array), network.affine)
    if spacing_mm is not None:
        check_voxels(name, _resampled_shape(network, spacing_mm), max_voxels, "resamples to")
        network = resampled(network, spacing_mm)
    clipped = np.clip(network.array, *clip_hu)
    return Volume(
        np.ascontiguousarray(np.rint(clipped) if clipped.dtype.kind == "f" else clipped, np.int16), network.affine
    )


def resampled(volume: Volume, spacing_mm: tuple[float, float, float]) -> Volume:
    """Linear interpolation onto another voxel size along the same axes.

    The published preprocessing uses cubic B-splines, aligns the centres of the first voxels and fills what lies beyond
    with 8 HU (a pixel-type number taken for a value); here the field of view is kept (edges aligned), B-spline
    overshoot at bone is avoided, and nothing lies outside. SimpleITK, because it is three times faster than MONAI's
    Spacing on a chest CT. An axis that gets coarser by more than 1.5 is averaged first, so that thin slices do not
    alias.
    """
    source = np.asarray(volume.spacing)
    target = np.asarray(spacing_mm, dtype=float)
    size = _resampled_shape(volume, spacing_mm)
    if np.allclose(source, target, rtol=1e-3) and size == volume.array.shape:
        return volume
    image = sitk.GetImageFromArray(volume.array)  # numpy axis 0 is ITK's last
    image.SetSpacing([float(s) for s in source[::-1]])
    blur = np.where(target > 1.5 * source, 0.4 * target, 0.0)
    for axis, sigma in enumerate(blur[::-1]):
        if sigma > 0:
            image = sitk.RecursiveGaussian(sitk.Cast(image, sitk.sitkFloat32), float(sigma), False, 0, axis)
    first = (target - source) / 2  # the first voxel's centre, so that the outer edges stay where they are
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetSize([int(n) for n in size[::-1]])
    resampler.SetOutputSpacing([float(t) for t in target[::-1]])
    resampler.SetOutputOrigin([float(f) for f in first[::-1]])
    resampler.SetDefaultPixelValue(AIR_HU)
    resampler.SetUseNearestNeighborExtrapolator(True)  # half a coarse voxel at each edge has no neighbour
    array = sitk.GetArrayFromImage(resampler.Execute(image))
    scale = np.diag([*(target / source), 1.0])
    scale[:3, 3] = first / source
    return Volume(array, volume.affine @ scale)


def _resampled_shape(volume: Volume, spacing_mm: tuple[float, float, float]) -> tuple[int, ...]:
    lengths = np.asarray(volume.array.shape) * volume.spacing / np.asarray(spacing_mm, dtype=float)
    return tuple(int(n) for n in np.maximum(np.rint(lengths), 1))


def write_stored(path: Path, array: NDArray[np.int16]) -> None:
    """Write ``[D, H, W]`` int16 as a blosc2 array (zstd with bit shuffle, chunks of eight slices)."""
    depth, height, width = array.shape
    blosc2.asarray(
        np.ascontiguousarray(array),
        chunks=(min(8, depth), height, width),
        blocks=(1, height, width),
        cparams={"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1},
        dparams={"nthreads": 1},  # stands in the file too, and would be the machine's number of processors
        urlpath=str(path),
        mode="w",
    )


def read_stored(path: Path) -> NDArray[np.int16]:
    """Read back what `write_stored` wrote, and nothing else.

    ``blosc2.open`` would also follow references, open remote and nested containers and compile stored expressions. The
    file is taken as bytes instead and must be one plain int16 array, of the shape that the JSON beside it states.

    Raises:
        DataError: naming the file, if it is missing, damaged or anything else.
    """
    expected = _stated_shape(path)
    try:
        stored = blosc2.ndarray_from_cframe(path.read_bytes(), deserialize="safe")
        kind, layers = stored.dtype, sorted(stored.schunk.meta)
        if kind != np.int16 or stored.ndim != 3 or layers != ["b2nd"]:
            msg = f"{path}: is no stored volume ({stored.ndim} axes of {kind}, {', '.join(layers)}); store it again"
            raise DataError(msg)
        if expected is not None and stored.shape != expected:
            msg = f"{path}: is damaged: shape {stored.shape} where its JSON says {expected}; store it again"
            raise DataError(msg)
        if expected is None:
            check_voxels(path, stored.shape, MAX_VOXELS)
        array: NDArray[np.int16] = stored[:]
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        if isinstance(error, DataError):
            raise
        msg = f"{path}: cannot be read as a stored volume ({type(error).__name__}); store it again"
        raise DataError(msg) from None
    return array


def _stated_shape(path: Path) -> tuple[int, ...] | None:
    """Shape in the sidecar of the store stage; None where there is no sidecar."""
    try:
        return tuple(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["details"]["shape"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
