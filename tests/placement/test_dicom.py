"""Parametric Maps and Segmentations that refer to their series: read again by other libraries, at the same points."""

from __future__ import annotations

import sys

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from organcam.data.readers import read_volume
from organcam.data.volume import Volume
from organcam.errors import ConfigError, DataError
from organcam.geometry import FeatureGrid
from organcam.placement import SourceGrid, map_on_source
from organcam.placement.dicom import DicomSeries, attention_regions, write_parametric_map, write_segmentation

COLUMNS, ROWS = 20, 16


def bright(series, voxel=(13, 4, 5)):
    """A map of 1 at one voxel of the series, 0.25 at its right neighbour, -0.5 at another; a slab not seen."""
    values = np.zeros(series.shape, np.float32)
    values[voxel] = 1.0
    values[voxel[0] + 1, voxel[1], voxel[2]] = 0.25
    values[2, 2, 2] = -0.5
    values[:, :, 0] = np.nan
    return Volume(values, series.affine), (series.affine @ [*voxel, 1])[:3]


def world_of(frame_groups, orientation, spacing, frame, row, column):
    """LPS point of a pixel from the object's own plane positions, turned to RAS; by hand."""
    origin = np.asarray(frame_groups[frame].PlanePositionSequence[0].ImagePositionPatient, dtype=float)
    across, down = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    point = origin + column * float(spacing[1]) * across + row * float(spacing[0]) * down
    return point * [-1, -1, 1]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_parametric_map_has_its_values_at_the_same_points(tmp_path, write_series, reverse):
    series = DicomSeries(write_series(tmp_path / "ct", reverse))
    assert series.shape == (COLUMNS, ROWS, 7)
    np.testing.assert_allclose(series.affine, read_volume(tmp_path / "ct").affine, atol=1e-4)
    volume, point = bright(series)
    write_parametric_map(tmp_path / "map.dcm", volume, series, label="lung_nodule", method="hirescam")

    held = pydicom.dcmread(tmp_path / "map.dcm")
    assert held.SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"
    assert (held.StudyInstanceUID, held.FrameOfReferenceUID, held.PatientID) == ("1.2.3", "1.2.3.5", "P1")
    assert held.SeriesInstanceUID != "1.2.3.4"
    pixels = np.frombuffer(held.FloatPixelData, np.float32).reshape(-1, ROWS, COLUMNS)
    frame, row, column = np.unravel_index(pixels.argmax(), pixels.shape)
    shared = held.SharedFunctionalGroupsSequence[0]
    groups = held.PerFrameFunctionalGroupsSequence
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    np.testing.assert_allclose(world_of(groups, orientation, spacing, frame, row, column), point, atol=1e-3)
    frame, row, column = np.unravel_index(pixels.argmin(), pixels.shape)
    found = world_of(groups, orientation, spacing, frame, row, column)
    np.testing.assert_allclose(found, (series.affine @ [2, 2, 2, 1])[:3], atol=1e-3)
    assert sorted(np.unique(pixels)) == pytest.approx([-0.5, 0, 0.25, 1.0])
    # every frame refers to the slice that lies where it lies
    slices = {header.SOPInstanceUID: header.ImagePositionPatient for header in series.slices}
    for group in groups:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(slices[source], group.PlanePositionSequence[0].ImagePositionPatient, atol=1e-4)

    again = hd.imread(tmp_path / "map.dcm").get_volume()
    place = np.unravel_index(again.array.argmax(), again.array.shape)
    np.testing.assert_allclose((again.affine @ [*place, 1])[:3] * [-1, -1, 1], point, atol=1e-3)


def test_a_segmentation_marks_high_attention_and_what_was_not_seen(tmp_path, write_series):
    series = DicomSeries(write_series(tmp_path / "ct"))
    volume, point = bright(series)
    write_segmentation(tmp_path / "seg.dcm", attention_regions(volume), series)

    again = hd.seg.segread(tmp_path / "seg.dcm")
    assert [one.SegmentLabel for one in again.SegmentSequence] == ["High attention", "Not seen by the network"]
    lit = again.get_volume(segment_numbers=[1], combine_segments=True)
    (place,) = np.argwhere(lit.array)
    np.testing.assert_allclose((lit.affine @ [*place, 1])[:3] * [-1, -1, 1], point, atol=1e-3)
    hidden = again.get_volume(segment_numbers=[2], combine_segments=True)
    assert (hidden.array > 0).sum() == COLUMNS * ROWS
    (slab,) = np.unique(np.argwhere(hidden.array)[:, 0])
    assert (hidden.affine @ [slab, 0, 0, 1])[2] == pytest.approx(30.0)

    write_segmentation(tmp_path / "lit.dcm", {"lit": attention_regions(volume)["High attention"]}, series)
    image = sitk.ReadImage(str(tmp_path / "lit.dcm"))
    (place,) = np.argwhere(sitk.GetArrayFromImage(image))
    found = image.TransformIndexToPhysicalPoint([int(value) for value in place[::-1]])
    np.testing.assert_allclose(np.asarray(found) * [-1, -1, 1], point, atol=1e-3)


def test_no_patients_name_gets_into_a_warning(tmp_path, write_series, recwarn):
    """highdicom quotes names that are not written as it would write them."""
    series = DicomSeries(write_series(tmp_path / "ct"))
    for header in series.slices:
        header.PatientName, header.ReferringPhysicianName = "Secretname", "Othersecret"
    volume, _ = bright(series)
    write_parametric_map(tmp_path / "map.dcm", volume, series, label="x")
    write_segmentation(tmp_path / "seg.dcm", attention_regions(volume), series)
    assert not [one for one in recwarn if "secret" in str(one.message).lower()]
    assert pydicom.dcmread(tmp_path / "map.dcm").PatientName == "Secretname"


def test_a_map_of_other_axes_is_brought_to_the_series(tmp_path, write_series):
    series = DicomSeries(write_series(tmp_path / "ct"))
    volume, _ = bright(series)
    other = volume.reoriented("SAR")
    assert other.array.shape != volume.array.shape
    np.testing.assert_array_equal(series.frames(other), series.frames(volume))


def test_a_map_of_another_grid_is_refused(tmp_path, write_series):
    series = DicomSeries(write_series(tmp_path / "ct"))
    volume, _ = bright(series)
    moved = volume.affine.copy()
    moved[2, 3] += 1.0
    for wrong in (Volume(volume.array, moved), Volume(volume.array[..., 1:], volume.affine)):
        with pytest.raises(DataError, match="another grid than the series"):
            write_parametric_map(tmp_path / "map.dcm", wrong, series, label="x")
    assert not (tmp_path / "map.dcm").exists()


def test_nothing_lit_is_no_object(tmp_path, write_series):
    series = DicomSeries(write_series(tmp_path / "ct"))
    empty = Volume(np.zeros(series.shape, np.float32), series.affine)
    with pytest.raises(DataError, match="none of High attention"):
        write_segmentation(tmp_path / "seg.dcm", attention_regions(empty), series)


def test_without_highdicom_the_extra_is_named(tmp_path, write_series, monkeypatch):
    write_series(tmp_path / "ct")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"organcam\[dicom\]"):
        DicomSeries(tmp_path / "ct")


def test_a_real_series(shared_data, tmp_path):
    """A cell of a coarse map over a real CT, told by its middle of the world."""
    series = DicomSeries(shared_data / "lung_pet_ct_dx" / "A0002_dicom")
    grid = FeatureGrid((5, 8, 8), (6, 64, 64), (2.5, 31.5, 31.5), (6, 64, 64), (30, 512, 512))
    cells = np.zeros(grid.shape, np.float32)
    cells[3, 2, 5] = 1
    turned = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # the network sees [z, y, x]
    volume = map_on_source(cells, grid, series.affine @ turned, SourceGrid(series.shape, series.affine))
    point = (series.affine @ [31.5 + 64 * 5, 31.5 + 64 * 2, 2.5 + 6 * 3, 1])[:3]
    write_parametric_map(tmp_path / "map.dcm", volume, series, label="tumour")
    again = hd.imread(tmp_path / "map.dcm").get_volume()
    weights = again.array * (again.array > 0.2)
    middle = [
        (weights.sum(tuple(b for b in range(3) if b != a)) * np.arange(n)).sum() / weights.sum()
        for a, n in enumerate(weights.shape)
    ]
    np.testing.assert_allclose((again.affine @ [*middle, 1])[:3] * [-1, -1, 1], point, atol=0.5)


def test_regions_are_what_exceeds_a_share_of_the_maximum_and_what_was_not_seen():
    volume = Volume(np.array([[[4.0, 2.0, 2.1, -9.0, np.nan]]], np.float32), np.eye(4))
    found = {name: mask.array.ravel().tolist() for name, mask in attention_regions(volume).items()}
    assert found == {
        "High attention": [True, False, True, False, False],
        "Not seen by the network": [False, False, False, False, True],
    }
    few = attention_regions(volume, share=0.9)["High attention"].array.ravel().tolist()
    assert few == [True, False, False, False, False]
    against = Volume(-np.abs(volume.array), np.eye(4))
    assert not attention_regions(against)["High attention"].array.any()
