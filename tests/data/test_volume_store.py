from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.data.volume import Volume
from organcam.data.volume_store import read_stored, resampled, to_stored, write_stored
from organcam.errors import DataError

LPS = np.diag([-0.7, -0.8, 2.5, 1.0])


def world_of(volume: Volume, index) -> np.ndarray:
    return (volume.affine @ np.array([*index, 1.0]))[:3]


def test_what_is_written_is_read_back(tmp_path):
    array = np.random.default_rng(0).integers(-1000, 1000, (9, 7, 5), dtype=np.int16)
    write_stored(tmp_path / "x.b2nd", array)
    np.testing.assert_array_equal(read_stored(tmp_path / "x.b2nd"), array)


def test_stored_volume_has_network_axes_and_is_clipped_and_rounded():
    stored = to_stored(Volume(np.full((4, 5, 6), 2999.6, np.float32), LPS), None, (-1000, 1000))
    assert stored.axes == "IPL"
    assert stored.array.shape == (6, 5, 4)
    assert stored.array.dtype == np.int16
    assert set(stored.array.ravel()) == {1000}


def test_a_linear_ramp_survives_resampling_at_its_place_in_the_patient():
    """Independent truth: HU = 10 x + 3 y - 4 z in world mm, so any interpolated voxel can be checked by its place."""
    index = np.stack(np.meshgrid(*map(np.arange, (20, 22, 12)), indexing="ij"), -1)
    world = index @ LPS[:3, :3].T + LPS[:3, 3]
    array = (10 * world[..., 0] + 3 * world[..., 1] - 4 * world[..., 2]).astype(np.float32)
    found = resampled(Volume(array, LPS).reoriented(), (1.1, 0.9, 1.0))
    assert found.spacing == pytest.approx((1.1, 0.9, 1.0))
    for place in ((5, 6, 7), (13, 9, 3), (20, 12, 9)):
        x, y, z = world_of(found, place)
        assert found.array[place] == pytest.approx(10 * x + 3 * y - 4 * z, abs=0.01)


@given(
    shape=st.tuples(*[st.integers(4, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4.0)] * 3),
    target=st.tuples(*[st.floats(0.5, 4.0)] * 3),
)
def test_resampling_keeps_the_field_of_view(shape, spacing, target):
    volume = Volume(np.zeros(shape, np.int16), np.diag([*spacing, 1.0]))
    found = resampled(volume, target)
    for axis in range(3):
        assert abs(found.array.shape[axis] * target[axis] - shape[axis] * spacing[axis]) <= max(
            target[axis] / 2 + 1e-6, target[axis] - shape[axis] * spacing[axis]
        )
    first_edge = found.affine @ np.array([-0.5, -0.5, -0.5, 1])
    np.testing.assert_allclose(first_edge[:3], (volume.affine @ np.array([-0.5, -0.5, -0.5, 1]))[:3], atol=1e-9)


def test_thin_slices_are_averaged_not_skipped():
    """Alternating slices of 0 and 100 HU become about 50 everywhere when four are made one."""
    array = np.zeros((32, 4, 4), np.float32)
    array[1::2] = 100
    found = resampled(Volume(array, np.eye(4)), (4.0, 1.0, 1.0)).array
    assert np.abs(found[1:-1] - 50).max() < 5


def test_real_scan_keeps_its_mean_hu_and_field_of_view(shared_data):
    from organcam.data.readers import read_volume

    volume = read_volume(shared_data / "cip64" / "ct-64.nrrd")
    stored = to_stored(volume, (3.0, 3.0, 3.0), (-1000, 1000))
    assert stored.array.mean() == pytest.approx(np.clip(volume.array, -1000, 1000).mean(), abs=5)
    extent = np.array(stored.array.shape) * 3.0
    np.testing.assert_allclose(
        extent, np.array(volume.reoriented().array.shape) * volume.reoriented().spacing, atol=1.6
    )


def test_resampling_beyond_the_limit_is_refused_before_memory_is_taken():
    small = Volume(np.zeros((51, 51, 51), np.int16), np.diag([20.0, 20.0, 20.0, 1.0]))
    with pytest.raises(DataError, match=r"a\.nii\.gz: resamples to 1275 x 1275 x 1275 voxels, .* of data\.max_voxels"):
        to_stored(small, (0.8, 0.8, 0.8), (-1000, 1000), 10**9, "a.nii.gz")
    assert to_stored(small, (10.0, 10.0, 10.0), (-1000, 1000), 102**3).array.shape == (102, 102, 102)


def write_lazy(path: Path) -> None:
    """A store file that is a recipe: what it computes is up to who wrote it."""
    operand = blosc2.asarray(
        np.arange(24, dtype=np.int16).reshape(2, 3, 4), urlpath=str(path.with_name("operand.b2nd"))
    )
    (operand + 1).save(urlpath=str(path))


def write_reference(path: Path) -> None:
    source = blosc2.asarray(np.zeros((2, 3, 4), np.int16), urlpath=str(path.with_name("source.b2nd")))
    blosc2.Proxy(source, urlpath=str(path), mode="w")


def write_tree(path: Path) -> None:
    store = blosc2.EmbedStore(urlpath=str(path.with_suffix(".b2e")), mode="w")
    store["/a"] = np.zeros((2, 3, 4), np.int16)
    path.with_suffix(".b2e").replace(path)


def write_plain(array):
    return lambda path: blosc2.asarray(array, urlpath=str(path), mode="w")


STRANGERS = {
    "lazy expression": write_lazy,
    "proxy": write_reference,
    "store of stores": write_tree,
    "floats": write_plain(np.zeros((2, 3, 4), np.float32)),
    "two axes": write_plain(np.zeros((3, 4), np.int16)),
    "frame of bytes": lambda path: blosc2.SChunk(data=b"x" * 100, urlpath=str(path)),
    "noise": lambda path: path.write_bytes(b"not a volume"),
    "nothing": lambda path: path.write_bytes(b""),
    "absent": lambda path: None,
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_store_files_that_are_no_plain_volume_are_refused_unopened(tmp_path, kind):
    path = tmp_path / "scan.b2nd"
    STRANGERS[kind](path)
    with pytest.raises(DataError, match=r"scan\.b2nd: "):
        read_stored(path)


def test_a_stored_volume_must_have_the_shape_of_its_sidecar(tmp_path):
    path = tmp_path / "scan.b2nd"
    write_stored(path, np.zeros((2, 3, 4), np.int16))
    path.with_suffix(".json").write_text('{"details": {"shape": [2, 3, 4]}}')
    assert read_stored(path).shape == (2, 3, 4)
    path.with_suffix(".json").write_text('{"details": {"shape": [4, 3, 2]}}')
    with pytest.raises(DataError, match=r"scan\.b2nd: is damaged: shape \(2, 3, 4\)"):
        read_stored(path)


def test_a_damaged_stored_volume_is_named(tmp_path):
    path = tmp_path / "scan.b2nd"
    write_stored(path, np.random.default_rng(0).integers(-1000, 1000, (16, 20, 20), dtype=np.int16))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"scan\.b2nd"):
        read_stored(path)


def test_padding_outside_the_scanned_circle_is_air_and_casts_no_shadow_on_what_lies_beside():
    array = np.full((12, 12, 12), 40, np.int16)
    array[:, :, :4] = -3024
    affine = np.array([[0, 0, -1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]])
    stored = to_stored(Volume(array, affine), (2.0, 2.0, 2.0), (-1000, 1000)).array
    air = np.where(array < -1500, -1000, array).astype(np.int16)
    np.testing.assert_array_equal(stored, to_stored(Volume(air, affine), (2.0, 2.0, 2.0), (-1000, 1000)).array)
    assert stored[0, 0].tolist()[0] == -1000
    assert stored[0, 0].tolist()[-1] == 40
    assert array.min() == -3024


def test_the_file_does_not_depend_on_the_processors_of_the_machine(tmp_path, monkeypatch):
    import blosc2

    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    contents = []
    for threads in (1, 7):
        monkeypatch.setitem(blosc2.dparams_dflts, "nthreads", threads)
        write_stored(tmp_path / f"{threads}.b2nd", array)
        contents.append((tmp_path / f"{threads}.b2nd").read_bytes())
    assert contents[0] == contents[1]
