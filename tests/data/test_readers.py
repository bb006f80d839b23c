import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from organcam.data.readers import read_volume
from organcam.errors import DataError


@pytest.fixture
def ramp() -> np.ndarray:
    """Every voxel differs, so that a swapped or flipped axis shows."""
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 1000


AFFINE = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])


def save_nifti(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_nifti_and_nrrd_of_one_scan_give_the_same_voxels_and_places(tmp_path, ramp):
    image = sitk.GetImageFromArray(ramp.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10, -20, -30))  # ITK's world is LPS: both signs flip against RAS, so do the directions
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    expected = read_volume(save_nifti(tmp_path / "scan.nii.gz", ramp))
    for name in ("scan.nrrd", "scan.mha"):
        found = read_volume(tmp_path / name)
        np.testing.assert_array_equal(found.array, expected.array)
        np.testing.assert_allclose(found.affine, expected.affine)


def test_axes_and_spacing_are_told_from_the_affine(tmp_path, ramp):
    volume = read_volume(save_nifti(tmp_path / "scan.nii", ramp))
    assert volume.axes == "LPS"
    assert volume.spacing == pytest.approx((0.7, 0.8, 2.5))


def test_reorienting_keeps_every_voxel_at_its_place_in_the_patient(tmp_path, ramp):
    volume = read_volume(save_nifti(tmp_path / "scan.nii", ramp))
    turned = volume.reoriented()
    assert turned.axes == "IPL"
    index = np.array([1, 2, 3, 1])
    where = np.linalg.inv(turned.affine) @ volume.affine @ index
    assert turned.array[tuple(np.rint(where[:3]).astype(int))] == volume.array[1, 2, 3]
    np.testing.assert_array_equal(turned.reoriented("LPS").array, volume.array)


def test_rad_chestct_npz_is_read_with_its_own_axes(tmp_path, ramp):
    np.savez_compressed(tmp_path / "trn00001.npz", ct=ramp)
    volume = read_volume(tmp_path / "trn00001.npz")
    assert volume.axes == "IPL"
    assert volume.spacing == pytest.approx((0.8, 0.8, 0.8))


def test_whole_number_slope_stays_integer(tmp_path, ramp):
    image = nib.Nifti1Image(ramp + 1000, AFFINE)
    image.header.set_slope_inter(1, -1024)
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    assert volume.array.dtype == np.int16
    assert volume.array.min() == -1024


def test_trailing_time_axis_of_one_is_dropped(tmp_path, ramp):
    assert read_volume(save_nifti(tmp_path / "scan.nii", ramp[..., None])).array.shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5), np.int16), "3 axes"),
        (np.zeros((4, 5, 6, 2), np.int16), "3 axes, this file has 4"),
        (np.zeros((4, 5, 1), np.int16), "at least 2"),
        (np.full((4, 5, 6), np.nan, np.float32), "120 voxels that are NaN"),
    ],
)
def test_a_file_that_is_no_ct_volume_is_refused_by_name(tmp_path, array, words):
    path = save_nifti(tmp_path / "bad.nii", array)
    with pytest.raises(DataError, match=words) as caught:
        read_volume(path)
    assert "bad.nii" in str(caught.value)


def test_truncated_file_is_told_as_such(tmp_path, ramp):
    path = save_nifti(tmp_path / "cut.nii.gz", np.random.default_rng(0).integers(-1000, 1000, (40, 40, 40), np.int16))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match="unreadable or truncated"):
        read_volume(path)
    noise = tmp_path / "noise.nii.gz"
    noise.write_bytes(gzip.compress(b"not a scan"))
    with pytest.raises(DataError, match=r"noise\.nii\.gz"):
        read_volume(noise)


def test_singular_affine_missing_file_and_foreign_format_are_refused(tmp_path, ramp):
    np.savez(tmp_path / "flat.npz", ct=ramp, affine=AFFINE * [[1], [1], [0], [1]])
    with pytest.raises(DataError, match="affine"):
        read_volume(tmp_path / "flat.npz")
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "absent.nii")
    (tmp_path / "scan.txt").write_text("hello")
    with pytest.raises(DataError, match=r"\.nrrd"):
        read_volume(tmp_path / "scan.txt")


def test_npz_without_ct_names_what_is_inside(tmp_path):
    np.savez(tmp_path / "x.npz", volume=np.zeros((3, 3, 3)))
    with pytest.raises(DataError, match="found volume"):
        read_volume(tmp_path / "x.npz")


def test_npz_with_a_pickle_inside_is_refused_not_loaded(tmp_path):
    np.savez(tmp_path / "x.npz", ct=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="unreadable"):
        read_volume(tmp_path / "x.npz")


def test_dicom_series_equals_its_nifti(shared_data):
    folder = shared_data / "lung_pet_ct_dx"
    dicom, nifti = read_volume(folder / "A0002_dicom").reoriented(), read_volume(folder / "A0002.nii.gz").reoriented()
    np.testing.assert_array_equal(dicom.array, nifti.array)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-3)


def test_dicom_series_with_a_missing_slice_is_refused(shared_data, tmp_path):
    for file in sorted((shared_data / "lung_pet_ct_dx" / "A0002_dicom").iterdir()):
        if "1-10" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="slices are missing"):
        read_volume(tmp_path)
