"""No part of a scan makes the segmentation fall over, and no half of a chest passes for a whole one."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.errors import DataError
from organcam.segmentation import segment_organs


def parts_of(shape):
    """Halves and thirds of every axis, quadrants of the axial plane, slabs of three slices."""
    for axis, n in enumerate(shape):
        for count in (2, 3):
            for part in range(count):
                yield tuple(
                    slice(part * n // count, (part + 1) * n // count) if a == axis else slice(None) for a in range(3)
                )
    rows, columns = shape[1] // 2, shape[2] // 2
    for row in (slice(None, rows), slice(rows, None)):
        for column in (slice(None, columns), slice(columns, None)):
            yield slice(None), row, column
    for start in range(0, shape[0] - 3, max(3, shape[0] // 8)):
        yield slice(start, start + 3), slice(None), slice(None)


def segmented(volume, spacing):
    """The organs, or None where the part is refused in words."""
    try:
        result = segment_organs(volume, spacing=spacing)
    except DataError as error:
        assert str(error)
        return None
    assert result.labels.shape == volume.shape
    assert result.labels.max() <= 3
    assert not (result.quality.ok and result.rough)
    return result


def read_frame(path):
    """A volume with axes (I, P, L)."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    return sitk.GetArrayFromImage(image)[::-1], tuple(reversed(image.GetSpacing()))


def test_every_part_of_a_phantom(phantom, phantom_mm):
    for part in parts_of(phantom.hu.shape):
        segmented(phantom.hu[part], phantom_mm)


@settings(max_examples=20)
@given(data=st.data())
def test_any_box_out_of_a_phantom(phantom, phantom_mm, data):
    box = []
    for n in phantom.hu.shape:
        size = data.draw(st.integers(1, n))
        start = data.draw(st.integers(0, n - size))
        box.append(slice(start, start + size))
    segmented(phantom.hu[tuple(box)], phantom_mm)


LARGE = (
    "lung_pet_ct_dx/A0001.nii.gz",
    "lung_pet_ct_dx/A0002.nii.gz",
    "ct_dev/lidc_idri_0001.nii.gz",
    "ct_dev/cmb_crc.nii.gz",
)


@pytest.mark.parametrize(
    "name",
    [
        "cip64/ct-64.nrrd",
        "ct_dev/elastix_half_chest_small.mha",
        *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE),
    ],
)
def test_every_part_of_a_real_scan(shared_data, name):
    if not (shared_data / name).is_file():
        pytest.skip(f"needs {name}")
    volume, spacing = read_frame(shared_data / name)
    every = max(1, round(2.0 / spacing[1]))  # the steps work on about 2 mm
    volume, spacing = volume[:, ::every, ::every], (spacing[0], spacing[1] * every, spacing[2] * every)
    segmented(volume, spacing)
    for part in parts_of(volume.shape):
        result = segmented(volume[part], spacing)
        assert result is None or not result.quality.ok, part
