"""Maps on disk and on voxels: one bright voxel at a known point of the world, whatever the axes."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from organcam.attention import (
    ScanAttention,
    attention_by_method,
    read_attention,
    scan_attention,
    write_attention,
)
from organcam.data.network_input import input_start
from organcam.errors import DataError
from organcam.geometry import FeatureGrid
from organcam.networks import AxialNet
from organcam.placement import SourceGrid, map_on_source
from organcam.stages.explain import map_on_scan

GRID = FeatureGrid((4, 5, 6), (3, 4, 4), (1, 1.5, 1.5), (3, 9, 9), (12, 20, 24))
CROPPED = np.array([2, -1, 2])
CELL = (2, 1, 4)  # centred on voxel (7, 5.5, 17.5) of the input


def turn(degrees: float, axis: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    plane = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def affine_of(directions: np.ndarray, spacing, origin) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


# columns: where the first, second and third array axis point, in RAS+
IPL = np.array([[0, 0, -1], [0, -1, 0], [-1, 0, 0]], dtype=float)
LPS = np.diag([-1.0, -1.0, 1.0])
RAS = np.eye(3)
SAR = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=float)

SCANS = {
    "as the network sees it": (np.eye(3), IPL, (0.8, 0.8, 0.8)),
    "left, posterior, superior": (np.eye(3), LPS, (0.8, 0.8, 0.8)),
    "right, anterior, superior": (np.eye(3), RAS, (0.8, 0.8, 0.8)),
    "sagittal slices": (np.eye(3), SAR, (0.8, 0.8, 0.8)),
    "anisotropic": (np.eye(3), LPS, (1.4, 1.1, 2.0)),
    "oblique": (turn(17, 0) @ turn(-9, 2), LPS, (0.7, 0.7, 1.5)),
}


def scan_of(name: str) -> tuple[np.ndarray, tuple[int, int, int], dict[str, object]]:
    """A scan and the details of its stored volume around the same middle: network axes, 1 mm, turned as the scan is."""
    turned, axes, spacing = SCANS[name]
    directions = turned @ axes
    shape = tuple(int(26 + 4 * axis) for axis in range(3))
    affine = affine_of(directions, spacing, (10, -20, 30))
    middle = affine @ [*(np.asarray(shape) - 1) / 2, 1]
    stored_shape = (16, 18, 28)  # two axes are cropped to the input, one is padded
    stored = affine_of(turned @ IPL, (1.0, 1.0, 1.0), (0, 0, 0))
    stored[:3, 3] = middle[:3] - stored[:3, :3] @ ((np.asarray(stored_shape) - 1) / 2)
    details = {
        "shape": list(stored_shape),
        "affine": stored.tolist(),
        "scan_shape": list(shape),
        "scan_affine": affine.tolist(),
    }
    return affine, shape, details


def world_of_cell(details) -> np.ndarray:
    """By hand: centre of the cell -> voxel of the input -> voxel of the stored volume -> millimetres."""
    stored = np.array([7, 5.5, 17.5]) + CROPPED  # (16 - 12) // 2 cropped, (20 - 18) // 2 padded, (28 - 24) // 2 cropped
    return (np.asarray(details["affine"]) @ [*stored, 1])[:3]


@pytest.mark.parametrize("name", SCANS)
def test_one_bright_cell_lies_at_its_point_of_the_world(name):
    affine, shape, details = scan_of(name)
    assert input_start(tuple(details["shape"]), GRID.input_shape) == tuple(CROPPED)
    cells = np.zeros(GRID.shape, np.float32)
    cells[CELL] = 5.0
    volume = map_on_scan(cells, GRID, details)
    assert volume.array.shape == shape
    np.testing.assert_allclose(volume.affine, affine, atol=1e-9)
    weight = np.nan_to_num(volume.array.astype(float))
    assert weight.max() <= 5.0
    voxels = np.argwhere(weight > 0)
    centre = (voxels * weight[tuple(voxels.T)][:, None]).sum(0) / weight.sum()
    found = (affine @ [*centre, 1])[:3]
    # the tent of a cell is as wide as two strides; sampling it at voxels shifts its middle by a fraction of a voxel
    np.testing.assert_allclose(found, world_of_cell(details), atol=0.25)
    peak = (affine @ [*np.unravel_index(weight.argmax(), shape), 1])[:3]
    assert np.abs(np.linalg.inv(affine[:3, :3]) @ (peak - world_of_cell(details))).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("name", SCANS)
def test_values_at_cell_centres_are_kept_with_their_sign_and_nothing_is_lit_outside(name):
    affine, _, details = scan_of(name)
    cells = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    volume = map_on_scan(cells, GRID, details)
    inverse = np.linalg.inv(affine)
    checked = 0
    for cell in np.ndindex(GRID.shape):
        voxel = [offset + stride * at for offset, stride, at in zip(GRID.offset, GRID.stride, cell, strict=True)]
        world = np.asarray(details["affine"]) @ [*(np.asarray(voxel) + CROPPED), 1]
        at = (inverse @ world)[:3]
        if np.abs(at - np.rint(at)).max() < 1e-6 and (at >= 0).all() and (np.rint(at) < volume.array.shape).all():
            np.testing.assert_allclose(volume.array[tuple(np.rint(at).astype(int))], cells[cell], atol=1e-5)
            checked += 1
    far = np.argwhere(np.ones(volume.array.shape, bool))
    world = (affine @ np.c_[far, np.ones(len(far))].T)[:3]
    inside = (np.linalg.inv(np.asarray(details["affine"])) @ np.r_[world, np.ones((1, len(far)))])[:3].T - CROPPED
    outside = ((inside < -0.5 - 1e-6) | (inside > np.asarray(GRID.input_shape) - 0.5 + 1e-6)).any(1)
    assert outside.any()
    assert np.isnan(volume.array[tuple(far[outside].T)]).all()
    assert np.isfinite(volume.array[tuple(far[~outside].T)]).all()


def test_an_input_in_other_axes_than_the_networks():
    """A bundle's input may lie in any axes: its map, saved on itself, stays where it is."""
    affine = affine_of(turn(20, 1) @ SAR, (2.0, 1.0, 0.5), (1, 2, 3))
    cells = np.zeros(GRID.shape, np.float32)
    cells[CELL] = 1.0
    volume = map_on_source(cells, GRID, affine, SourceGrid(GRID.input_shape, affine))
    np.testing.assert_allclose(volume.affine, affine, atol=1e-12)
    assert volume.array.shape == GRID.input_shape
    assert volume.array[7, 5, 17] == volume.array.max() == np.float32(0.875**2)


def some_attention(grid=GRID) -> ScanAttention:
    rng = np.random.default_rng(2)
    maps = {name: rng.normal(size=(2, 4, 5, 6)).astype(np.float32) for name in ("hirescam", "gradcam")}
    return ScanAttention(maps, np.array([0.5, -2.0], np.float32), ("lung_nodule", "heart_stent"), grid)


@pytest.mark.parametrize("grid", [GRID, None])
def test_npz_comes_back_as_it_was(tmp_path, grid):
    attention = some_attention(grid)
    path = tmp_path / "scan.npz"
    with path.open("wb") as stream:
        write_attention(stream, attention)
    for found in (read_attention(path), read_attention(str(path)), read_attention(io.BytesIO(path.read_bytes()))):
        assert found.labels == attention.labels
        assert found.known_grid == grid
        np.testing.assert_array_equal(found.scores, attention.scores)
        assert list(found.maps) == ["hirescam", "gradcam"]
        for method, maps in attention.maps.items():
            np.testing.assert_array_equal(found.maps[method], maps)
    if grid is None:
        with pytest.raises(DataError, match="these maps have no feature grid"):
            found.grid  # noqa: B018
    again = io.BytesIO()
    write_attention(again, attention)
    assert again.getvalue() == path.read_bytes()


def test_maps_of_no_output_come_back():
    nothing = ScanAttention({"hirescam": np.zeros((0, 4, 5, 6), np.float32)}, np.zeros(0, np.float32), (), GRID)
    stream = io.BytesIO()
    write_attention(stream, nothing)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as archive:
        assert archive["labels"].dtype.kind == "U"
    stream.seek(0)
    found = read_attention(stream)
    assert (found.labels, found.maps["hirescam"].shape) == ((), (0, 4, 5, 6))


def test_one_item_of_a_batch():
    torch.manual_seed(0)
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,)).eval()
    found = attention_by_method(network, torch.rand(3, 2, 3, 16, 16))
    attention = scan_attention(found, 1, ("a", "b"))
    np.testing.assert_array_equal(attention.maps["gradcam"], found["gradcam"].values[1].numpy())
    np.testing.assert_array_equal(attention.scores, found["hirescam"].logits[1].numpy())
    assert (attention.labels, attention.grid) == (("a", "b"), network.feature_grid((6, 16, 16)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": ("one",)}, "scores .* and 1 labels do not belong together"),
        ({"scores": np.zeros(3, np.float32)}, "do not belong together"),
        ({"maps": {}}, "do not belong together"),
        ({"maps": {"hirescam": np.zeros((2, 3, 5, 6), np.float32)}}, r"do not have the grid's \(4, 5, 6\) cells"),
    ],
)
def test_what_does_not_belong_together_is_not_written(change, words):
    attention = some_attention()
    values = {"maps": attention.maps, "scores": attention.scores, "labels": attention.labels, **change}
    stream = io.BytesIO()
    with pytest.raises(ValueError, match=words):
        write_attention(stream, ScanAttention(**values, known_grid=GRID))
    assert not stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no zip at all", None])
def test_unreadable_files_are_named(tmp_path, content):
    path = tmp_path / "scan7.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_attention(path)
    assert str(caught.value).startswith(f"{path}: {'no such file' if content is None else 'unreadable or truncated'}")
    assert str(caught.value).endswith("; run explain again")
    if content is not None:
        with path.open("rb") as stream, pytest.raises(DataError) as of_the_stream:
            read_attention(stream)
        assert str(of_the_stream.value) == str(caught.value)
        with pytest.raises(DataError, match="^the stream: unreadable or truncated .*; run explain again$"):
            read_attention(io.BytesIO(content))


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "regions.npz"
    np.savez(path, bits=np.zeros(3))
    with pytest.raises(DataError, match=r"regions.npz: not a readable attention file \(KeyError\)"):
        read_attention(path)


def test_a_bomb_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "bomb.npz"
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999, 99999, 9), }".ljust(117) + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hirescam.npy", magic + header + bytes(10**7))
    tracemalloc.start()
    with pytest.raises(DataError, match="bomb.npz: declares 99999 x 99999 x 9 voxels, .*; run explain again"):
        read_attention(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6
