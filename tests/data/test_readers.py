import gzip
import tracemalloc
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from organcam.data.readers import read_geometry, read_volume, source_files
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


def test_arrays_of_objects_and_arrays_that_lie_about_their_size_are_refused(tmp_path):
    header = b"{'descr': '<i2', 'fortran_order': False, 'shape': (900, 900, 900), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("ct.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(2000))
    with pytest.raises(DataError, match=r"lie.npz: the array 'ct' declares 1,458,000,\d+ bytes, the archive holds"):
        read_volume(tmp_path / "lie.npz")
    np.savez(tmp_path / "named.npz", ct=np.zeros((3, 3, 3), np.int16), affine=np.array([None]))
    with pytest.raises(DataError, match="'affine' holds Python objects"):
        read_volume(tmp_path / "named.npz")


BOMB = (3000, 3000, 3000)


def write_bomb(folder, name):
    """A small file whose header declares 27 thousand million voxels, or whose stream holds far more than declared."""
    path = folder / name
    if name == "declared.nii.gz":
        header = nib.Nifti1Header()
        header.set_data_shape(BOMB)
        header.set_data_dtype(np.int16)
        header["magic"], header["vox_offset"] = b"n+1", 352
        path.write_bytes(gzip.compress(header.binaryblock + bytes(100_000)))
    elif name == "inflated.nii.gz":
        image = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE).to_bytes()
        path.write_bytes(gzip.compress(image + bytes(300_000_000), compresslevel=1))
    elif name.endswith(".nrrd"):
        shape = BOMB if name.startswith("declared") else (4, 4, 4)
        text = (
            f"NRRD0004\ntype: short\ndimension: 3\nsizes: {' '.join(map(str, shape))}\nencoding: gzip\nendian: little\n"
        )
        place = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
        path.write_bytes((text + place).encode() + gzip.compress(bytes(300_000_000), compresslevel=1))
    else:
        shape = BOMB if name.startswith("declared") else (4, 4, 4)
        text = f"NDims = 3\nCompressedData = True\nDimSize = {' '.join(map(str, shape))}\nElementType = MET_SHORT\n"
        path.write_bytes((text + "ElementDataFile = LOCAL\n").encode() + zlib.compress(bytes(300_000_000), 1))
    return path


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
@pytest.mark.parametrize("kind", ["declared", "inflated"])
def test_a_bomb_is_refused_before_memory_is_taken(tmp_path, ending, kind):
    path = write_bomb(tmp_path, f"{kind}.{ending}")
    tracemalloc.start()
    words = (
        "3000 x 3000 x 3000 voxels, more than the .* of data.max_voxels" if kind == "declared" else "holds more than"
    )
    with pytest.raises(DataError, match=f"{kind}.{ending}: .*{words}"):
        read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_the_limit_can_be_set(tmp_path, ramp):
    path = save_nifti(tmp_path / "scan.nii.gz", ramp)
    assert read_volume(path, max_voxels=120).array.shape == (4, 5, 6)
    with pytest.raises(DataError, match="scan.nii.gz: declares 4 x 5 x 6 voxels, more than the 119 of data.max_voxels"):
        read_volume(path, max_voxels=119)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/hostname", "outside"),
        ("../scan.raw", "outside"),
        ("sub/../../scan.raw", "outside"),
        ("LIST", "several files"),
        ("slice%03d.raw 1 4 1", "several files"),
        ("absent.raw", "not there"),
    ],
)
@pytest.mark.parametrize("ending", ["mhd", "nrrd"])
def test_headers_that_point_elsewhere_are_not_followed(tmp_path, ramp, name, words, ending):
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / f"scan.{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(ramp), str(folder / f"scan.{'mhd' if ending == 'mhd' else 'nhdr'}"))
    if ending == "nrrd":
        (folder / "scan.nhdr").rename(path)
    text = path.read_text()
    data = next(file.name for file in folder.iterdir() if file != path)
    (folder / data).replace(folder / "scan.raw")
    path.write_text(text.replace(data, "scan.raw"))
    assert read_volume(path).array.shape == (6, 5, 4)
    assert source_files(path) == sorted([path, folder / "scan.raw"])
    (folder / "scan.raw").replace(tmp_path / "scan.raw")
    path.write_text(text.replace(data, name))
    with pytest.raises(DataError, match=f"scan.{ending}: .*{words}"):
        read_volume(path)


ABSURD = {
    "nan": np.full((4, 4), np.nan),
    "singular": np.diag([1.0, 1.0, 0.0, 1.0]),
    "huge voxels": np.diag([1e9, 1e9, 1e9, 1.0]),
    "tiny voxels": np.diag([1e-5, 1.0, 1.0, 1.0]),
    "far away": np.array([[1, 0, 0, 1e9], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    "sheared": np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    "no affine": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1.0]]),
    "3 x 3": np.eye(3),
}


@pytest.mark.parametrize("kind", ABSURD)
def test_absurd_affines_are_refused(tmp_path, ramp, kind):
    np.savez(tmp_path / "scan.npz", ct=ramp, affine=ABSURD[kind])
    with pytest.raises(DataError, match=r"scan\.npz: its affine"):
        read_volume(tmp_path / "scan.npz")


def test_turned_scans_are_not_sheared(tmp_path, ramp):
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.7, 0.7, 5.0])
    np.savez(tmp_path / "scan.npz", ct=ramp, affine=affine)
    np.testing.assert_allclose(read_volume(tmp_path / "scan.npz").affine, affine)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha", "scan.npz"])
def test_the_header_alone_tells_shape_and_place(tmp_path, ramp, name):
    path = tmp_path / name
    if ".nii" in name:
        save_nifti(path, ramp)
    elif name.endswith(".npz"):
        np.savez(path, ct=ramp, affine=AFFINE)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(ramp), str(path))
    shape, affine = read_geometry(path)
    volume = read_volume(path)
    assert shape == volume.array.shape
    np.testing.assert_array_equal(affine, volume.affine)


def test_a_fourth_axis_of_one_keeps_the_place_of_the_other_three(tmp_path, ramp):
    image = sitk.GetImageFromArray(ramp[None], isVector=False)
    image.SetSpacing((0.7, 0.8, 2.5, 1.0))
    image.SetOrigin((-10, -20, -30, 0))
    with_time = tmp_path / "scan.nrrd"
    sitk.WriteImage(sitk.JoinSeries([image[:, :, :, 0]]), str(with_time))
    assert read_volume(with_time).spacing == pytest.approx((0.7, 0.8, 2.5))


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f4", "u1", "<i4", "<f8"])
def test_byte_orders_and_types_are_read_as_nibabel_reads_them(tmp_path, ramp, dtype):
    values = np.abs(ramp) % 200
    image = nib.Nifti1Image(values.astype(dtype), AFFINE, nib.Nifti1Header(endianness=dtype[0].replace("u", "<")))
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, tmp_path / "scan.nii")
    found = read_volume(tmp_path / "scan.nii").array
    np.testing.assert_allclose(found, nib.load(tmp_path / "scan.nii").get_fdata(), rtol=1e-6)
    assert found.dtype == np.float32
    assert found.dtype.isnative
