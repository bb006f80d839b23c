"""Methods as pure functions: hand-computed maps, definitions written out, and what the papers ask of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from organcam.attention import (
    METHODS,
    cam,
    gradcam,
    gradcam_plus_plus,
    gradient,
    gradient_x_input,
    guided_backprop,
    guided_gradcam,
    hirescam,
    layercam,
    occlusion,
    positive_part,
    scale_to_one,
    xgradcam,
)
from organcam.attention.methods import looks_at, place_of

# Two features on three places.
ACTIVATION = torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 3.0]])
GRADIENT = torch.tensor([[3.0, -3.0, 3.0], [1.0, 1.0, -5.0]])
OF_LAYERS = (hirescam, gradcam, gradcam_plus_plus, xgradcam, layercam, cam)


def test_hirescam_multiplies_place_by_place():
    assert hirescam(ACTIVATION, GRADIENT, 1).tolist() == [3 + 4, -6 + 0, 0 - 15]


def test_gradcam_averages_the_gradient_first():
    assert gradcam(ACTIVATION, GRADIENT, 1).tolist() == [1 - 4, 2 - 0, 0 - 3]  # feature weights 1 and -1


def test_layercam_leaves_negative_gradients_out():
    assert layercam(ACTIVATION, GRADIENT, 1).tolist() == [3 + 4, 0, 0]


def test_xgradcam_weighs_by_shares_of_the_activation():
    # weights (3 * 1 - 3 * 2) / 3 = -1 and (1 * 4 - 5 * 3) / 7 = -11 / 7
    expected = torch.tensor([-1 - 44 / 7, -2, -33 / 7])
    torch.testing.assert_close(xgradcam(ACTIVATION, GRADIENT, 1), expected)
    parts = xgradcam(ACTIVATION[:, None], GRADIENT[:, None], 1)
    torch.testing.assert_close(parts.sum(-1), hirescam(ACTIVATION[:, None], GRADIENT[:, None], 1).sum(-1))


def test_cam_sums_the_gradient():
    assert cam(ACTIVATION, GRADIENT, 1).tolist() == [3 - 12, 6, -9]


def literal_gradcam_plus_plus(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The published equations place by place, in numpy, for one score of 0 (whose exponential is 1)."""
    result = np.zeros(activation.shape[1:])
    for feature, slope in zip(activation, gradient, strict=True):
        weight = 0.0
        for at in np.ndindex(slope.shape):
            second, third = slope[at] ** 2, slope[at] ** 3
            denominator = 2 * second + feature.sum() * third
            weight += (second / denominator if denominator else 1.0) * max(slope[at], 0.0)
        result += weight * feature
    return result


@given(st.integers(0, 500))
def test_gradcam_plus_plus_is_what_is_published(seed):
    rng = np.random.default_rng(seed)
    activation, slope = rng.normal(size=(3, 2, 4)).clip(-0.1), rng.normal(size=(3, 2, 4))
    slope[0, 0, 0] = 0
    found = gradcam_plus_plus(torch.from_numpy(activation), torch.from_numpy(slope), 2)
    np.testing.assert_allclose(found.numpy(), literal_gradcam_plus_plus(activation, slope), rtol=1e-9, atol=1e-12)


def test_gradcam_plus_plus_of_small_gradients_is_half_of_gradcam():
    """A small constant in the denominator, as others add, would drown them."""
    activation, slope = torch.rand(3, 5, dtype=torch.float64), torch.rand(3, 5, dtype=torch.float64) * 1e-9
    found = gradcam_plus_plus(activation, slope, 1)
    torch.testing.assert_close(found, gradcam(activation, slope, 1) * 5 / 2, rtol=1e-7, atol=0)


def test_methods_of_the_input_sum_over_channels():
    assert gradient(ACTIVATION, GRADIENT, 1).tolist() == [4, -2, -2]
    assert gradient_x_input(ACTIVATION, GRADIENT, 1).tolist() == [7, -6, -15]


def test_guided_gradcam_keeps_signs_of_guided_backprop_alone():
    assert guided_gradcam(torch.tensor([2.0, -1.0, 1.0]), torch.tensor([1.0, -3.0, -2.0])).tolist() == [2, 0, -2]


def test_nothing_is_clipped_or_scaled():
    for method in (hirescam, gradcam, xgradcam, cam, gradient_x_input, gradient):
        assert method(ACTIVATION, GRADIENT, 1).min() < 0
        torch.testing.assert_close(method(ACTIVATION, 7 * GRADIENT, 1), 7 * method(ACTIVATION, GRADIENT, 1))
    for method in (layercam, gradcam_plus_plus):  # by definition they see positive gradients only
        assert method(-ACTIVATION, GRADIENT / 100, 1).min() < 0


def test_equal_gradients_make_the_methods_equal():
    activation, weight = torch.rand(2, 3, 4, 5, 6), torch.rand(2, 3, 1, 1, 1)
    slope = weight.expand_as(activation)
    expected = hirescam(activation, slope, 3)
    for method in (gradcam, xgradcam, layercam):
        torch.testing.assert_close(method(activation, slope, 3), expected)
    torch.testing.assert_close(cam(activation, slope, 3), expected * 4 * 5 * 6)


@pytest.mark.parametrize("method", OF_LAYERS)
@pytest.mark.parametrize("dims", [1, 2, 3, 4])
def test_any_number_of_axes_and_leading_axes(method, dims):
    torch.manual_seed(dims)
    grid = (2, 3, 2, 2)[:dims]
    activation, gradients = torch.randn(2, 1, 3, *grid), torch.randn(2, 4, 3, *grid)  # [B, 1, F, ...], [B, M, F, ...]
    maps = method(activation, gradients, dims)
    assert maps.shape == (2, 4, *grid)
    torch.testing.assert_close(maps[1, 2], method(activation[1, 0], gradients[1, 2], dims))


@pytest.mark.parametrize("method", [gradient, gradient_x_input, guided_backprop])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_methods_of_the_input_in_any_number_of_axes(method, dims):
    torch.manual_seed(dims)
    voxels = (2, 3, 4)[:dims]
    image, slopes = torch.randn(2, 1, 3, *voxels), torch.randn(2, 4, 3, *voxels)  # [B, 1, C, ...], [B, M, C, ...]
    maps = method(image, slopes, dims)
    assert maps.shape == (2, 4, *voxels)
    expected = slopes[1, 2] * (image[1, 0] if method is gradient_x_input else 1)
    torch.testing.assert_close(maps[1, 2], expected[0] + expected[1] + expected[2])
    one = method(image, slopes[:, :, :1].sum((0, 1), keepdim=True).expand(1, 1, 1, *voxels), dims)
    assert one.shape == (2, 1, *voxels)  # a slope that all items and channels share


def test_features_that_sum_to_nothing_have_no_share_and_no_infinite_slope():
    activation = torch.tensor([[1.0, -1.0], [2.0, 2.0]])
    gradients = torch.tensor([[3.0, 5.0], [1.0, 0.0]])
    assert xgradcam(activation, gradients, 1).tolist() == [1, 1]  # of the second feature alone: 2 * (2 / 4)
    silent = torch.zeros(1, 2, requires_grad=True)
    xgradcam(silent, gradients[:1], 1).sum().backward()
    assert silent.grad.isfinite().all()


def test_gradcam_plus_plus_where_the_denominator_vanishes():
    activation, gradients = torch.tensor([[-1.0, -1.0]], requires_grad=True), torch.tensor([[1.0, 2.0]])
    maps = gradcam_plus_plus(activation, gradients, 1)  # 2 - 2 * 1 is 0: no weight; 2 - 2 * 2 gives 2 / -2
    assert maps.tolist() == [1, 1]
    maps.sum().backward()
    assert activation.grad.isfinite().all()


@pytest.mark.parametrize("method", OF_LAYERS)
def test_features_without_activation_or_gradient_give_zeros(method):
    assert not method(torch.zeros(2, 3), GRADIENT, 1).any()
    assert not method(ACTIVATION, torch.zeros(2, 3), 1).any()


def test_postprocessing_is_apart():
    assert positive_part(torch.tensor([-1.0, 2.0])).tolist() == [0, 2]
    scaled = scale_to_one(torch.tensor([[[-4.0, 2.0], [0.0, 0.0]], [[1.0, 3.0], [-8.0, 8.0]]]))
    torch.testing.assert_close(scaled, torch.tensor([[[-1, 0.5], [0, 0]], [[1 / 3, 1], [-1, 1]]]))


def test_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown attention method 'hirescan': did you mean 'hirescam'\?"):
        METHODS.get("hirescan")


def test_every_name_leads_to_a_function_that_says_where_it_looks():
    places = {name: place_of(METHODS.get(name)) for name in METHODS.names()}
    assert {name for name, place in places.items() if place == "layer"} == {
        "hirescam",
        "gradcam",
        "gradcam_plus_plus",
        "xgradcam",
        "layercam",
    }
    assert places["cam"] == "head"
    assert places["occlusion"] == "scores"
    with pytest.raises(ValueError, match="^unknown place 'inputs': did you mean 'input'"):
        looks_at("inputs")

    @looks_at("guided")
    def mine(inputs, slope, spatial_dims):
        return slope

    assert place_of(mine) == "guided"
    assert place_of(lambda activation, gradient, spatial_dims: gradient) == "layer"


def linear_score(volume):
    weight = torch.arange(volume[0].numel(), dtype=volume.dtype).reshape(volume.shape[1:])
    return torch.stack([(volume * weight).flatten(1).sum(1), volume.flatten(1).sum(1)], dim=1)


@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_occlusion_of_a_linear_score_is_what_the_box_held(chunk):
    volume = torch.randn(2, 1, 5, 4, dtype=torch.float64)
    maps, grid = occlusion(linear_score, volume, window=(2, 3), stride=(2, 1), chunk=chunk)
    assert maps.shape == (2, 2, 3, 2)
    assert (grid.stride, grid.offset, grid.receptive_field) == ((2, 1), (0.5, 1), (2, 3))
    weight = torch.arange(20, dtype=torch.float64).reshape(5, 4)
    for item in range(2):
        for row in range(3):
            for column in range(2):
                box = (slice(2 * row, 2 * row + 2), slice(column, column + 3))  # the last row sticks out
                held = volume[item, 0][box]
                expected = [(held * weight[box]).sum(), held.sum()]
                torch.testing.assert_close(maps[item, :, row, column], torch.stack(expected))


@pytest.mark.parametrize(
    ("shape", "options", "counts", "steps", "sizes"),
    [
        ((17, 8), {}, (6, 3), (3, 3), (3, 3)),  # an eighth of 17, rounded up
        ((24, 2), {}, (8, 1), (3, 2), (3, 2)),  # no wider than the volume
        ((6, 6), {"window": 2}, (3, 3), (2, 2), (2, 2)),
        ((6, 6), {"window": (2, 4), "stride": 1}, (5, 3), (1, 1), (2, 4)),
        ((5, 5), {"window": 9}, (1, 1), (5, 5), (5, 5)),
    ],
)
def test_where_boxes_lie(shape, options, counts, steps, sizes):
    volume = torch.ones(1, 1, *shape)
    maps, grid = occlusion(lambda x: x.flatten(1).sum(1, keepdim=True), volume, **options)
    assert (grid.shape, grid.stride, grid.receptive_field, grid.input_shape) == (counts, steps, sizes, shape)
    assert grid.offset == tuple((size - 1) / 2 for size in sizes)
    assert maps.shape == (1, 1, *counts)
    assert maps[0, 0, 0, 0] == sizes[0] * sizes[1]


@pytest.mark.parametrize(("chunk", "calls"), [(None, [2, 2, 2, 2, 2]), (3, [2, 3, 3, 2]), (1, [2, *[1] * 8])])
def test_so_many_covered_inputs_go_together(chunk, calls):
    seen = []

    def score(volume):
        seen.append(len(volume))
        return volume.flatten(1).sum(1, keepdim=True)

    occlusion(score, torch.ones(2, 1, 4), window=1, chunk=chunk)
    assert seen == calls  # the whole inputs first


def test_occlusion_covers_with_the_baseline():
    maps, _ = occlusion(lambda x: x.flatten(1).sum(1, keepdim=True), torch.ones(1, 1, 4), window=2, baseline=-1.0)
    assert maps.tolist() == [[[4, 4]]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window must be a number of voxels of at least 1, or one for each of the 2 axes, got 0"),
        ({"stride": (1, 2, 3)}, "^stride must be .* of the 2 axes, got \\(1, 2, 3\\)$"),
        ({"window": (1, 0)}, "^window must be .* got \\(1, 0\\)$"),
        ({"chunk": 0}, "^chunk must be at least 1 covered input, or None, got 0$"),
    ],
)
def test_occlusion_says_what_is_wrong(options, words):
    with pytest.raises(ValueError, match=words):
        occlusion(linear_score, torch.ones(1, 1, 4, 4), **options)
