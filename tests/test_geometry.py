import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from organcam.geometry import FeatureGrid, Layer, compose, grid_of_layers, output_size

STEM_AND_POOL = (Layer(7, 2, 3), Layer(3, 2, 1))


def test_slabs_of_three_slices():
    assert compose([Layer(3, stride=3)]) == (3.0, 1.0, 3)


def test_no_layer_is_the_voxel_itself():
    assert compose([]) == (1.0, 0.0, 1)


def test_hand_computed_stack():
    # 3 wide, stride 2, no padding: centres 1, 3, 5; then 2 wide: halfway between, 2, 4; dilation 2 reaches 4 of those.
    assert compose([Layer(3, 2), Layer(2), Layer(3, dilation=2)]) == (2.0, 6.0, 3 + 2 + 8)


@pytest.mark.parametrize("size", range(2, 12))
def test_padding_at_the_end_alone(size):
    """A pooling that rounds up, and a convolution after padding one voxel at the end."""
    x = torch.zeros(1, 1, size)
    assert output_size(size, [Layer(3, 2, end_padding=1)]) == nn.MaxPool1d(3, 2, ceil_mode=True)(x).shape[-1]
    assert output_size(size, [Layer(2, 1, end_padding=1)]) == nn.Conv1d(1, 1, 2)(nn.functional.pad(x, (0, 1))).shape[-1]
    assert compose([Layer(3, 2, end_padding=1)]) == compose([Layer(3, 2)])


def test_plain_tuples_are_layers():
    assert compose([(7, 2, 3), (3, 2, 1)]) == compose(STEM_AND_POOL)


layers = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1, max_size=4
)


@given(layers)
def test_gradient_of_real_convolutions_lies_where_the_arithmetic_says(stack):
    size = 120
    try:
        count = output_size(size, stack)
    except ValueError:
        return
    network = nn.Sequential(*(nn.Conv1d(1, 1, k, s, p, d, bias=False) for k, s, p, d in stack)).double()
    for layer in network:
        nn.init.ones_(layer.weight)
    x = torch.zeros(1, 1, size, dtype=torch.float64, requires_grad=True)
    y = network(x)
    assert y.shape[-1] == count
    stride, offset, receptive_field = compose(stack)
    middle = count // 2
    y[0, 0, middle].backward()
    touched = x.grad[0, 0].nonzero()[:, 0]
    centre, reach = offset + stride * middle, (receptive_field - 1) / 2
    assert len(touched) == 0 or (touched.min() >= centre - reach and touched.max() <= centre + reach)
    inside = reach <= centre <= size - 1 - reach
    if inside and all(k > 1 or d == 1 for k, _s, _p, d in stack) and not _padding_reached(stack, middle, size):
        assert (touched.min() + touched.max()) / 2 == centre
        assert touched.max() - touched.min() + 1 == receptive_field


def _padding_reached(stack, index, size):
    """Whether some layer on the way to output ``index`` reads its own padding (which hides part of the field)."""
    sizes = [output_size(size, stack[:n]) for n in range(len(stack))]
    low = high = index
    for (kernel, stride, padding, dilation), length in zip(reversed(stack), reversed(sizes), strict=True):
        low, high = low * stride - padding, high * stride - padding + dilation * (kernel - 1)
        if low < 0 or high > length - 1:
            return True
    return False


def test_grid_places_and_edges():
    grid = grid_of_layers((9, 420, 64), ([Layer(3, 3)], [*STEM_AND_POOL, Layer(3)], [Layer(8, 8)]))
    assert grid.shape == (3, 103, 8)
    assert grid.stride == (3.0, 4.0, 8.0)
    assert grid.offset == (1.0, 4.0, 3.5)
    assert grid.receptive_field == (3, 19, 8)
    assert grid.centres(0).tolist() == [1, 4, 7]
    start, stop = grid.cell_bounds(2)
    assert start[0] == -0.5
    assert stop[-1] == 63.5
    assert (start[1:] == stop[:-1]).all()


def test_affine_puts_cell_centres_into_the_world():
    grid = FeatureGrid((3, 6, 6), (3, 32, 32), (1, 128, 128), (3, 691, 691), (9, 420, 420))
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    world = np.eye(4)
    world[:3, :3] = turn @ np.diag([0.8, 0.7, 1.25])
    world[:3, 3] = [-100, 50, 7]
    cell = np.array([2, 3, 5, 1])
    voxel = np.array([7, 224, 288, 1])
    np.testing.assert_allclose(grid.affine(world) @ cell, world @ voxel)


def test_dictionary_is_plain_json_and_comes_back():
    grid = grid_of_layers((9, 64, 64), ([Layer(3, 3)], [Layer(8, 8)], [Layer(8, 8)]))
    assert FeatureGrid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: compose([Layer(0)]), "kernel, stride and dilation of 1 or more"),
        (lambda: output_size(4, [Layer(3), Layer(3)]), "4 voxels is too short"),
        (lambda: grid_of_layers((9, 9, 9), ([], [])), "one stack of layers for each of the 3 axes, got 2"),
        (lambda: FeatureGrid((2, 2), (1, 1), (0, 0, 0), (1, 1), (9, 9)), r"offset \(0.0, 0.0, 0.0\) for 2 axes"),
        (lambda: FeatureGrid((), (), (), (), ()), "one value for each axis"),
        (lambda: FeatureGrid((1,), (-2.0,), (0,), (1,), (1,)), "stride .* must be positive"),
        (lambda: FeatureGrid((0, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), (1, 1, 1)), "shape .* must be positive"),
    ],
)
def test_what_is_wrong_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_grids_of_images_have_two_axes():
    grid = grid_of_layers((20, 40), ([Layer(3, 2)], [Layer(2, 4)]))
    assert (grid.shape, grid.stride, grid.offset, grid.axes) == ((9, 10), (2.0, 4.0), (1.0, 0.5), 2)
    pixels = np.array([[0.5, 0, 7], [0, 0.25, 3], [0, 0, 1]])
    # cell (2, 3) is centred on pixel (5, 12.5)
    np.testing.assert_allclose(grid.affine(pixels) @ [2, 3, 1], [9.5, 6.125, 1])


def test_counts_are_whole_numbers_and_an_offset_may_be_negative():
    grid = FeatureGrid((np.int64(2), 3.0), (1, 2), (-1, -0.5), (4.0, 4), (8, 8))
    assert str(grid.to_dict()) == str(
        {
            "shape": [2, 3],
            "stride": [1.0, 2.0],
            "offset": [-1.0, -0.5],
            "receptive_field": [4, 4],
            "input_shape": [8, 8],
        }
    )
    assert grid.centres(1).tolist() == [-0.5, 1.5, 3.5]
