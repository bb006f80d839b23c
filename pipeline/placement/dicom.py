"""Maps as DICOM: a Parametric Map of their values and a Segmentation of where they are high, beside the source series.

Frames are joined to the slices of the series by position, never by order: highdicom sorts them in its own way.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..data.readers import read_geometry
from ..data.volume import Volume
from ..errors import ConfigError, DataError
from ..runner.atomic import atomic_path
from ..version import __version__

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomSeries", "attention_regions", "write_parametric_map", "write_segmentation"]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
NEAR = 0.01
"""Millimetres by which a frame may miss the slice that it belongs to."""
SCHEME = "99ORGANCAM"
"""Designator of codes that no standard vocabulary has."""
MAKER: dict[str, Any] = {
    "manufacturer": "organcam",
    "manufacturer_model_name": "organcam",
    "software_versions": __version__,
    "device_serial_number": "0",
}


class DicomSeries:
    """A CT series as the source that DICOM objects refer to; pixels are not read.

    Args:
        folder: with one series of single-frame slices, as ``organcam`` reads scans.

    Attributes:
        shape: voxels ``(x, y, z)``, the grid on which maps are wanted.
        affine: voxel index to RAS+ millimetres.

    Raises:
        ConfigError: if highdicom is not installed.
        DataError: if the folder holds no whole series, or one of multi-frame objects.
    """

    def __init__(self, folder: str | Path) -> None:
        _require_highdicom()
        from pydicom import dcmread  # noqa: PLC0415 - comes with the extra

        self.folder = Path(folder)
        shape, self.affine = read_geometry(self.folder)
        self.shape = tuple(int(size) for size in shape)
        self.slices: list[Dataset] = []
        for path in sorted(self.folder.iterdir()):
            try:
                header = dcmread(path, stop_before_pixels=True)
            except Exception:
                continue
            if "ImagePositionPatient" in header and header.get("Rows") == self.shape[1]:
                self.slices.append(header)
        self.order = self._places()

    def _places(self) -> list[int]:
        """For each slice its index along the third axis.

        Raises:
            DataError: if the slices are not those of the grid.
        """
        to_voxels = np.linalg.inv(self.affine) @ LPS
        places = []
        for header in self.slices:
            voxel = to_voxels @ [*(float(value) for value in header.ImagePositionPatient), 1.0]
            place = round(float(voxel[2]))
            error = np.abs(self.affine[:3, :3] @ (voxel[:3] - [0, 0, place])).max()
            if error < NEAR and 0 <= place < self.shape[2]:
                places.append(place)
        if sorted(places) != list(range(self.shape[2])) or len(places) != len(self.slices):
            msg = f"{self.folder}: its files are not one slice each of one series, so that no map can refer to them"
            raise DataError(msg)
        return places

    def frames(self, volume: Volume) -> NDArray:
        """Values of a volume as frames ``[slices, rows, columns]`` in the order of ``slices``.

        Raises:
            DataError: if the volume lies on another grid than the series.
        """
        codes = Volume(np.broadcast_to(np.zeros(1), self.shape), self.affine).axes
        same = volume.reoriented(codes)
        corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=np.float64).T
        corners[:3] *= np.asarray(self.shape)[:, None] - 1
        if same.array.shape != self.shape or np.abs((same.affine - self.affine) @ corners).max() > NEAR:
            msg = f"{self.folder}: the map lies on another grid than the series; place it on the series first"
            raise DataError(msg)
        return np.ascontiguousarray(same.array.transpose(2, 1, 0)[self.order])


def write_parametric_map(
    path: str | Path, volume: Volume, series: DicomSeries, *, label: str, method: str = "", number: int = 900
) -> None:
    """Write a map's raw signed values as a DICOM Parametric Map, float32, without a unit.

    highdicom and pydicom read it; SimpleITK knows no DICOM with floating-point pixels (it reads the Segmentation).

    Voxels that the network has not seen (NaN) are stored as 0, since DICOM's readers know no NaN;
    ``write_segmentation`` can mark them.

    Args:
        path: of the file.
        volume: the map on the voxels of the series (``map_on_source`` with its ``shape`` and ``affine``).
        series: the source series.
        label: what the map is of.
        method: how it was made.
        number: series number of the object; the same for all of a study.

    Raises:
        DataError: if the map lies on another grid.
    """
    import highdicom as hd  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    values = np.nan_to_num(series.frames(volume), nan=0.0).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    bound = max(abs(low), abs(high), float(np.finfo(np.float32).tiny))
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=_text(label, 16),
        lut_explanation=_text(f"{method} attention for {label}".strip(), 64),
        unit=codes.UCUM.NoUnits,
        value_range=(-bound, bound),
        slope=1.0,
        intercept=0.0,
        quantity_definition=hd.sr.CodedConcept("attention", SCHEME, "Attention of a neural network"),
    )
    with _no_names_in_warnings():
        made = hd.pm.ParametricMap(
            source_images=series.slices,
            pixel_array=values,
            real_world_value_mappings=[mapping],
            series_instance_uid=hd.UID(),
            sop_instance_uid=hd.UID(),
            series_number=number,
            instance_number=1,
            contains_recognizable_visual_features=False,
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.0, window_width=2 * bound)],
            content_label="ATTENTION",
            content_description=_text(f"{method} {label}".strip(), 64),
            **MAKER,
        )
    made.SeriesDescription = _text(f"Attention {label}", 64)
    _save(made, path)


def write_segmentation(
    path: str | Path, masks: Mapping[str, Volume], series: DicomSeries, *, number: int = 901
) -> None:
    """Write masks as a binary DICOM Segmentation, one segment each.

    Args:
        path: of the file.
        masks: name -> volume of 0 and 1 on the voxels of the series, such as where a map exceeds a share of its
            maximum, or where the network has not seen the scan.
        series: the source series.
        number: series number of the object.

    Raises:
        DataError: if no mask has a voxel, or one lies on another grid.
    """
    import highdicom as hd  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    frames = {name: series.frames(volume).astype(bool) for name, volume in masks.items()}
    frames = {name: mask for name, mask in frames.items() if mask.any()}
    if not frames:
        msg = f"{path}: none of {', '.join(masks)} has a voxel, so that there is nothing to write"
        raise DataError(msg)
    algorithm = hd.AlgorithmIdentificationSequence("organcam", codes.DCM.ArtificialIntelligence, __version__)
    segments = [
        hd.seg.SegmentDescription(
            segment_number=place,
            segment_label=_text(name, 64),
            segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=hd.sr.CodedConcept("region", SCHEME, "Region of a network's attention"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for place, name in enumerate(frames, start=1)
    ]
    with _no_names_in_warnings():
        made = hd.seg.Segmentation(
            source_images=series.slices,
            pixel_array=np.stack(list(frames.values()), axis=-1).astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            sop_instance_uid=hd.UID(),
            series_number=number,
            instance_number=1,
            content_label="ATTENTION",
            content_description="Where attention is high",
            **MAKER,
        )
    made.SeriesDescription = "Attention regions"
    _save(made, path)


def attention_regions(volume: Volume, share: float = 0.5) -> dict[str, Volume]:
    """Masks for ``write_segmentation``: where a map exceeds a share of its maximum, and where it is NaN (not seen)."""
    highest = np.nanmax(volume.array, initial=0.0)
    lit = (np.nan_to_num(volume.array) > share * highest) & (highest > 0)
    return {
        "High attention": Volume(lit, volume.affine),
        "Not seen by the network": Volume(np.isnan(volume.array), volume.affine),
    }


def _save(made: Any, path: str | Path) -> None:
    with atomic_path(path) as temporary:
        made.save_as(temporary, enforce_file_format=True)


@contextmanager
def _no_names_in_warnings() -> Iterator[None]:
    """highdicom's advice on how patients' and physicians' names are written quotes them, and warnings end in logs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*person name", category=UserWarning)
        yield


def _text(text: str, longest: int) -> str:
    """Text that a DICOM element takes."""
    return text.replace("\\", "/")[:longest]


def _require_highdicom() -> None:
    try:
        import highdicom  # noqa: F401, PLC0415
    except ImportError:
        msg = "DICOM objects of maps need highdicom: pip install 'organcam[dicom]'"
        raise ConfigError(msg) from None
