"""What maps know of themselves: on images of any size and axes, on disk, in a notebook."""

from __future__ import annotations

import base64
import copy
import io
import pickle
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from torch import nn
from torch.nn import functional

from organcam.attention import AttentionMaps, attention_maps, read_attention
from organcam.attention.picture import draw_planes
from organcam.geometry import FeatureGrid
from organcam.placement import SourceGrid, map_on_source

AFFINE = np.array([[0, 0, -2.0, 10], [0, -1.5, 0, 20], [-1.0, 0, 0, 30], [0, 0, 0, 1]])


def network(dims=3):
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    return nn.Sequential(conv(1, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 2**dims, 3)).double().eval()


def maps_of(batch=2, dims=3, meta=True):
    x = torch.randn(batch, 1, *(8, 8, 8)[:dims], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = MetaTensor(x, affine=torch.from_numpy(AFFINE)) if meta else x
    return x, attention_maps(network(dims), x)


def test_it_says_what_it_is_without_the_numbers():
    _, maps = maps_of()
    assert "AttentionMaps(hirescam of '1', values [2, 3, 2, 2, 2], targets (0, 1, 2)" in repr(maps)


def test_copies_and_other_processes():
    _, maps = maps_of()
    for again in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
        assert torch.equal(again.values, maps.values)
        assert (again.layer, again.grid, again.image) == (maps.layer, maps.grid, None)


def test_one_item_and_one_target():
    _, maps = maps_of()
    one = maps.select(1, 2)
    assert torch.equal(one.values, maps.values[1:2, 2:3])
    assert torch.equal(one.logits, maps.logits[1:2, 2:3])
    assert one.targets == (2,)
    assert maps.select(target=0).values.shape == (2, 1, 2, 2, 2)
    own = attention_maps(network(), maps_of(meta=False)[0], targets=[[0, 1], [2, 0]])
    assert own.select(1, 0).targets == ((2,),)
    with pytest.raises(IndexError, match="item 2 is out of range; there are items 0 to 1"):
        maps.select(2)


def test_on_the_input_and_at_another_resolution():
    _, maps = maps_of()
    # cells of 4 voxels tile the input: torch's own resizing is right here
    expected = functional.interpolate(maps.values, (8, 8, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps.on_image(), expected, rtol=0, atol=1e-6)
    larger = functional.interpolate(maps.values, (16, 24, 8), mode="trilinear", align_corners=False)
    torch.testing.assert_close(maps.on_image((16, 24, 8)), larger, rtol=0, atol=1e-6)
    with pytest.raises(
        ValueError, match=r"size must be 3 positive numbers of voxels, for instance \(8, 8, 8\), got \(4,\)"
    ):
        maps.on_image((4,))


def test_on_a_volume_with_other_axes():
    _, maps = maps_of()
    wanted = np.diag([1.0, 1.0, 1.0, 1.0])
    wanted[:3, 3] = (-5, 8, 22)
    found = maps.on_image((16, 12, 8), affine=wanted)
    assert found.shape == (2, 3, 16, 12, 8)
    cells = maps.values[1, 2].float().numpy()
    expected = map_on_source(cells, maps.grid, AFFINE, SourceGrid((16, 12, 8), wanted)).array
    np.testing.assert_array_equal(found[1, 2].numpy(), expected)
    assert found.nan_to_num().abs().sum() > 0
    assert found.isnan().any()
    plain = maps_of(meta=False)[1]
    torch.testing.assert_close(plain.on_image((16, 12, 8), affine=wanted, input_affine=AFFINE), found, equal_nan=True)
    with pytest.raises(ValueError, match="the input's affine is not known"):
        plain.on_image((16, 12, 8), affine=wanted)
    with pytest.raises(ValueError, match="give size too"):
        maps.on_image(affine=wanted)


def test_gradients_go_through_to_the_image():
    torch.manual_seed(0)
    maps = attention_maps(network(), torch.randn(1, 1, 8, 8, 8).double(), create_graph=True)
    maps.on_image((12, 12, 12)).square().sum().backward()


def test_npz_of_every_item(tmp_path):
    _, maps = maps_of()
    files = maps.save(tmp_path / "deep" / "maps.npz", labels=["a", "b", "c"])
    assert [file.name for file in files] == ["maps_0.npz", "maps_1.npz"]
    found = read_attention(files[1])
    assert (found.labels, found.grid) == (("a", "b", "c"), maps.grid)
    np.testing.assert_allclose(found.maps["hirescam"], maps.values[1].float().numpy())
    assert [file.name for file in maps.select(0).save(tmp_path / "one.npz")] == ["one.npz"]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_on_the_voxels_of_the_input(tmp_path, ending):
    _, maps = maps_of()
    files = maps.save(tmp_path / f"scan{ending}")
    assert [file.name for file in files] == [f"scan_{i}_label{m}{ending}" for i in range(2) for m in range(3)]
    image = nib.load(files[4])
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(np.asarray(image.dataobj), maps.on_image()[1, 1].numpy(), rtol=1e-5, atol=1e-7)
    [half] = maps.select(0, 0).save(tmp_path / f"half{ending}", size=(4, 8, 16))
    small = nib.load(half)
    assert small.shape == (4, 8, 16)
    # the same box of the world: corners of the first and last voxel
    for corner in ((-0.5, -0.5, -0.5), (1.0, 1.0, 1.0)):
        of_input = np.array([-0.5] * 3 if corner[0] < 0 else [7.5] * 3)
        of_half = np.array([-0.5] * 3 if corner[0] < 0 else [3.5, 7.5, 15.5])
        np.testing.assert_allclose(
            nib.affines.apply_affine(small.affine, of_half), nib.affines.apply_affine(AFFINE, of_input)
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*(file.name for file in files), half.name])


def test_pictures(tmp_path):
    _, maps = maps_of(batch=1)
    files = maps.save(tmp_path / "a.png")
    assert len(files) == 3
    assert Image.open(files[0]).size == (3 * 260, 256)  # three planes of 8 voxels, 32 pixels each, 4 apart
    flat = maps_of(batch=1, dims=2, meta=False)[1].select(0, 0)
    [file] = flat.save(tmp_path / "flat.png")
    pixels = np.asarray(Image.open(file)).astype(int)
    peak = np.unravel_index(np.abs(flat.on_image()[0, 0].numpy()).argmax(), (8, 8))
    red, _, blue = pixels[32 * peak[0] + 16, 32 * peak[1] + 16]
    assert (red > blue) == (flat.on_image()[0, 0][peak] > 0)


def test_a_notebook_shows_the_strongest_maps_over_the_input():
    x, maps = maps_of()
    html = maps._repr_html_()
    assert "hirescam, in closed form" in html
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert len(pictures) == 3
    order = maps.logits[0].argsort(descending=True).tolist()
    assert re.findall(r"label(\d), score", html) == [str(label) for label in order]
    over = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))))
    del x
    alone = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)", maps._repr_html_())[0]))))
    assert over.shape == alone.shape
    assert (over != alone).any()  # the input is let go with its last holder, and the map is drawn on white


def test_maps_without_places_are_shown_and_kept_without_pictures(tmp_path):
    maps = AttentionMaps(torch.ones(1, 1, 2, 2), torch.ones(1, 1), "hirescam", (0,), "deep", None, False)
    assert "no regular places in the input" in maps._repr_html_()
    words = "the cells of layer 'deep' have no regular places in the input; choose a layer that keeps them"
    for attempt in (maps.on_image, lambda: maps.save(tmp_path / "a.nii"), lambda: maps.save(tmp_path / "a.png")):
        with pytest.raises(ValueError, match=words):
            attempt()
    assert list(tmp_path.iterdir()) == []
    maps.save(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("maps.jpg", {}, "maps are kept as .npz, .nii, .nii.gz or .png"),
        ("maps.nii.gz", {}, "the input's affine is not known: give it, or MONAI's MetaTensor as inputs"),
        ("maps.npz", {"labels": ["a"]}, "^there are 3 targets and 1 labels; give one for each target$"),
        (
            "maps.png",
            {"labels": ["a", "b", "a"]},
            "^there are 3 targets and labels of which some are the same .*; give",
        ),
    ],
)
def test_what_cannot_be_kept_is_told_and_leaves_no_file(tmp_path, name, options, words):
    _, maps = maps_of(meta=False)
    with pytest.raises(ValueError, match=words):
        maps.save(tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_images_are_no_nifti(tmp_path):
    _, maps = maps_of(batch=1, dims=2, meta=False)
    with pytest.raises(ValueError, match="maps with 2 axes cannot be NIfTI volumes; use .png or .npz"):
        maps.save(tmp_path / "a.nii", affine=AFFINE)


def test_a_large_map_is_drawn_small():
    grid = FeatureGrid((2, 4, 4), (300, 200, 200), (150, 100, 100), (1, 1, 1), (600, 800, 800))
    maps = AttentionMaps(torch.randn(1, 1, 2, 4, 4), torch.ones(1, 1), "hirescam", (0,), "deep", grid, False)
    picture = Image.open(io.BytesIO(maps._png()))
    assert picture.size[1] <= 256
    assert picture.size[0] <= 3 * 260


def test_what_a_notebook_says_of_them():
    grid = FeatureGrid((1, 2), (2, 2), (0.5, 0.5), (2, 2), (2, 4))
    maps = AttentionMaps(torch.ones(2, 1, 1, 2), torch.ones(2, 1), "gradcam", (3,), "a<b", grid, False)
    table = maps._repr_html_().split("<figure>")[0]
    assert table == (
        "<table><tr><th>method</th><td>gradcam</td></tr><tr><th>layer</th><td>a&lt;b</td></tr>"
        "<tr><th>values</th><td>[2, 1, 1, 2], raw and signed</td></tr>"
        "<tr><th>cells</th><td>(1, 2), every (2.0, 2.0) voxels of (2, 4)</td></tr></table>"
    )


def test_every_picture_of_a_notebook_is_of_the_map_it_names():
    grid = FeatureGrid((1, 6), (1, 1), (0, 0), (1, 1), (1, 6))
    values = torch.eye(6)[None, :, None]  # map i is lit at pixel i
    scores = torch.tensor([[0.0, 5.0, 1.0, 4.0, 2.0, 3.0]])
    html = AttentionMaps(values, scores, "hirescam", tuple(range(6)), "deep", grid, False)._repr_html_()
    shown = re.findall(r'base64,([^"]+)"/><figcaption>label(\d), score (\d)<', html)
    assert [(int(label), int(score)) for _, label, score in shown] == [(1, 5), (3, 4), (5, 3), (4, 2)]
    for data, label, _ in shown:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int)
        redness = (pixels[..., 0] - pixels[..., 2])[:, :256].max(0)
        assert redness.argmax() * 6 // 256 == int(label)


def test_an_affine_that_is_given_takes_the_place_of_the_inputs_own(tmp_path):
    _, maps = maps_of(meta=False)
    given = np.diag([2.0, 3.0, 4.0, 1.0])
    [file] = maps.select(0, 0).save(tmp_path / "a.nii.gz", affine=given.tolist())
    np.testing.assert_array_equal(nib.load(file).affine, given)
    _, placed = maps_of()
    [file] = placed.select(0, 0).save(tmp_path / "b.nii.gz", affine=given)
    np.testing.assert_array_equal(nib.load(file).affine, given)


def spot(at, grid, sign=1.0):
    values = torch.zeros(grid.shape)
    values[at] = sign
    return values


def test_a_volume_is_shown_by_its_three_planes_through_the_peak():
    """Cells of two voxels in a volume of 4 x 6 x 8, the peak in cell (1, 2, 0): voxels 2 and 3, 4 and 5, 0 and 1."""
    grid = FeatureGrid((2, 3, 4), (2, 2, 2), (0.5, 0.5, 0.5), (2, 2, 2), (4, 6, 8))
    for sign in (1.0, -1.0):
        pixels = np.asarray(Image.open(io.BytesIO(draw_planes(spot((1, 2, 0), grid, sign), grid)))).astype(int)
        unit = 32  # 256 pixels for the 8 voxels of the longest axis
        assert pixels.shape == (6 * unit, (8 + 8 + 6) * unit + 3 * 4, 3)
        strength = np.abs(pixels[..., 0] - pixels[..., 2]) * ((pixels[..., 0] > pixels[..., 2]) == (sign > 0))
        # across the first axis rows are axis 1 and columns axis 2; across the second 0 and 2; across the third 0 and 1
        for left, width, (row, column) in (
            (0, 8, (4.5, 0.5)),
            (8 * unit + 4, 8, (2.5, 0.5)),
            (16 * unit + 8, 6, (2.5, 4.5)),
        ):
            plane = strength[:, left : left + width * unit]
            rows, columns = np.nonzero(plane > 0.9 * plane.max())
            assert abs(rows.mean() / unit - 0.5 - row) < 0.75
            assert abs(columns.mean() / unit - 0.5 - column) < 0.75
        assert (pixels[4 * unit :, 8 * unit + 4 :] == 255).all()  # what is lower is filled up with white


def test_an_image_lies_beneath_from_black_to_white():
    grid = FeatureGrid((1, 1), (2, 4), (0.5, 1.5), (2, 4), (2, 4))
    image = torch.tensor([[[-1000.0, 0.0, 500.0, 1000.0], [-1000.0, 0.0, 500.0, 1000.0]], [[0.0] * 4] * 2])
    pixels = np.asarray(Image.open(io.BytesIO(draw_planes(torch.zeros(1, 1), grid, image))))[..., 0]
    assert pixels[10, [10, 74, 138, 202]].tolist() == [0, 127, 191, 255]  # of the first channel
    assert (pixels[:, 256:] == 255).all()
    flat = np.asarray(Image.open(io.BytesIO(draw_planes(torch.zeros(1, 1), grid, torch.ones(1, 2, 4)))))
    assert (flat[:, :256] == 0).all()
    other = np.asarray(Image.open(io.BytesIO(draw_planes(torch.zeros(1, 1), grid, torch.ones(1, 3, 3)))))
    assert (other == 255).all()  # an image of another size is none to lie beneath


def test_colours_of_the_strongest_evidence_and_counter_evidence():
    grid = FeatureGrid((1, 3), (1, 1), (0, 0), (1, 1), (1, 3))
    for values in (torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[2e-9, 0.0, -1e-9]])):
        pixels = np.asarray(Image.open(io.BytesIO(draw_planes(values, grid))))[0, [40, 128, 210]].astype(int)
        # seven tenths of red over white, and half of that of blue
        np.testing.assert_allclose(pixels[0], 0.3 * 255 + 0.7 * np.array([214, 39, 40]), atol=1)
        assert pixels[1].tolist() == [255, 255, 255]
        np.testing.assert_allclose(pixels[2], 0.65 * 255 + 0.35 * np.array([31, 119, 180]), atol=1)
