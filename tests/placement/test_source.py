"""One bright voxel of a scan lights one cell, and the map lies at the same voxel again, whatever was done between."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Flipd,
    Invertd,
    LoadImaged,
    Orientationd,
    RandRotated,
    Resized,
    ResizeWithPadOrCropd,
    Rotated,
    Spacingd,
)

from organcam.attention import on_source, to_input_grid
from organcam.errors import DataError
from organcam.geometry import FeatureGrid
from organcam.placement import SourceGrid, map_on_source, source_grid_of


def turn(degrees: float, axis: int) -> np.ndarray:
    angle = np.deg2rad(degrees)
    plane = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


def affine_of(directions, spacing, origin=(10.0, -20.0, 30.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


SHAPE = (40, 44, 30)
BRIGHT = (25, 17, 12)
SCANS = {
    "upright": affine_of(np.eye(3), (1.5, 1.5, 2.0)),
    "flipped": affine_of(np.diag([-1.0, -1.0, 1.0]), (1.5, 1.5, 2.0)),
    "anisotropic": affine_of(np.diag([-1.0, 1.0, -1.0]), (1.1, 1.4, 5.0)),
    "sagittal": affine_of(np.array([[0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]]), (1.5, 1.2, 2.0)),
    "oblique": affine_of(turn(17, 0) @ turn(-9, 2) @ np.diag([-1.0, -1.0, 1.0]), (1.2, 1.2, 2.5)),
}
CHAINS = {
    "as loaded": [],
    "oriented, resampled, padded and cropped": [
        Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        Spacingd("image", (2.0, 2.0, 2.0)),
        ResizeWithPadOrCropd("image", (24, 32, 40)),
    ],
    "resized": [Resized("image", (32, 32, 32), mode="trilinear")],
    "foreground cropped and flipped": [
        CropForegroundd("image", "image", select_fn=lambda x: x > 0.05, margin=4),
        Flipd("image", 0),
    ],
    "turned": [Rotated("image", 0.3, keep_size=False)],
    "turned at random": [RandRotated("image", range_x=0.4, range_z=0.3, prob=1.0, keep_size=False)],
}


def loaded(tmp_path, affine, chain):
    """A scan with a bright spot, as a network would be given it."""
    distance = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) - np.asarray(BRIGHT)
    spot = np.exp(-((distance @ affine[:3, :3].T) ** 2).sum(-1) / (2 * 8.0**2)).astype(np.float32)
    nib.save(nib.Nifti1Image(spot, affine), tmp_path / "scan.nii.gz")
    compose = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), *CHAINS[chain]])
    compose.set_random_state(3)
    return compose({"image": str(tmp_path / "scan.nii.gz")})["image"], compose, spot


def cells_of(image, stride=2):
    """What a layer of stride 2 makes of the image: its values at the cells' centres."""
    values = np.asarray(image.as_tensor())[0][::stride, ::stride, ::stride]
    grid = FeatureGrid(values.shape, (stride,) * 3, (0,) * 3, (1,) * 3, tuple(image.shape[1:]))
    return np.ascontiguousarray(values), grid


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("scan", SCANS)
def test_a_spot_comes_back_to_its_place(tmp_path, scan, chain):
    affine = SCANS[scan]
    image, _, spot = loaded(tmp_path, affine, chain)
    cells, grid = cells_of(image)
    source = source_grid_of(image)
    assert source.shape == SHAPE
    np.testing.assert_allclose(source.affine, affine, atol=1e-5)
    volume = map_on_source(cells, grid, image.affine.numpy(), source)
    assert volume.array.shape == SHAPE
    assert volume.array.dtype == np.float32
    weight = np.nan_to_num(volume.array).clip(0)
    weight *= weight > 0.5 * weight.max()
    middle = [
        (weight.sum(tuple(b for b in range(3) if b != a)) * np.arange(n)).sum() / weight.sum()
        for a, n in enumerate(SHAPE)
    ]
    # millimetres; a cell is up to 10 mm long, so the interpolated spot is a little lopsided
    assert np.abs(affine[:3, :3] @ (np.asarray(middle) - BRIGHT)).max() < 1.0
    assert np.nanmax(np.abs(volume.array - spot)) < 0.75


def test_what_was_cropped_away_is_not_a_number_and_what_was_padded_is_of_no_consequence(tmp_path):
    image, _, _ = loaded(tmp_path, SCANS["upright"], "foreground cropped and flipped")
    cells, grid = cells_of(image)
    volume = map_on_source(cells, grid, image.affine.numpy(), source_grid_of(image))
    crop = image.applied_operations[-2]["extra_info"]["cropped"]
    seen = np.zeros(SHAPE, dtype=bool)
    seen[tuple(slice(crop[2 * a], SHAPE[a] - crop[2 * a + 1]) for a in range(3))] = True
    np.testing.assert_array_equal(~np.isnan(volume.array), seen)
    zero = map_on_source(cells, grid, image.affine.numpy(), source_grid_of(image), unseen=0.0)
    np.testing.assert_array_equal(zero.array, np.nan_to_num(volume.array))


def test_it_equals_monais_inverse_where_that_interpolates_nothing(tmp_path):
    image, compose, _ = loaded(tmp_path, SCANS["flipped"], "foreground cropped and flipped")
    cells, grid = cells_of(image)
    dense = torch.from_numpy(to_input_grid(cells, grid))[None]
    item = {"image": image, "map": image.clone().copy_(dense)}
    back = Invertd("map", compose, orig_keys="image", nearest_interp=False)(item)["map"]
    found = map_on_source(cells, grid, image.affine.numpy(), source_grid_of(image), unseen=0.0)
    np.testing.assert_allclose(found.array, back.numpy()[0], atol=1e-5)


def test_parallel_axes_give_what_any_axes_give(tmp_path):
    """The quick way for parallel axes, and the general one agree."""
    from organcam.attention import on_source as module

    generator = np.random.default_rng(0)
    grid = FeatureGrid((4, 5, 6), (6, 6, 5), (4, 2.5, 1.5), (9, 9, 9), (26, 32, 30))
    cells = generator.normal(size=grid.shape).astype(np.float32)
    input_affine = affine_of(np.array([[0, 0, -1.0], [0, -1.0, 0], [-1.0, 0, 0]]), (2.0, 1.5, 1.5), (0, -25, 75))
    source = SourceGrid(SHAPE, SCANS["flipped"])
    quick = map_on_source(cells, grid, input_affine, source)
    to_input = np.linalg.inv(input_affine) @ source.affine
    slow = module._anywhere(cells, grid, to_input, SHAPE, np.nan)
    np.testing.assert_allclose(quick.array, slow, atol=1e-5)
    assert np.isnan(slow).any()
    assert not np.isnan(slow).all()


def test_an_image_without_metadata_is_refused_in_words():
    with pytest.raises(DataError, match="load it by LoadImaged"):
        source_grid_of(torch.zeros(1, 4, 4, 4))
    flat = FeatureGrid((2, 2), (1, 1), (0, 0), (1, 1), (2, 2))
    with pytest.raises(ValueError, match="three axes"):
        map_on_source(np.zeros((2, 2), np.float32), flat, np.eye(4), SourceGrid(SHAPE, np.eye(4)))


def test_a_turned_scan_is_looked_up_slab_by_slab(monkeypatch):
    grid = FeatureGrid((2, 3, 4), (4, 4, 4), (1.5, 1.5, 1.5), (4, 4, 4), (8, 12, 16))
    cells = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    source = SourceGrid((9, 5, 7), affine_of(turn(20, 0), (1.5, 1.5, 1.5), (0.0, 1.0, 2.0)))
    whole = map_on_source(cells, grid, np.eye(4), source).array
    assert np.isfinite(whole).any()
    for voxels in (1, 2 * 5 * 7, 4 * 5 * 7):  # one row, two rows and four rows of 9 at a time
        monkeypatch.setattr(on_source, "SLAB", voxels)
        np.testing.assert_array_equal(map_on_source(cells, grid, np.eye(4), source).array, whole)
