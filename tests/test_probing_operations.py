"""Operation by operation: where cells of four voxels look after it, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from organcam.probing import _continued, _core, _period, probe_grid

SIZE = (32, 48)


class After(nn.Module):
    """Cells of four voxels, centred on 1.5, 5.5, 9.5 and so on, and one operation on them."""

    def __init__(self, operation) -> None:
        super().__init__()
        self.operation = operation
        self.stem, self.out = nn.Conv2d(1, 4, 4, stride=4), nn.Identity()
        self.register_buffer("own", torch.rand(1, 4, 8, 12))
        self.register_buffer("square", torch.rand(4, 4))

    def forward(self, x):
        return self.out(self.operation(self, self.stem(x)))


def grid_after(operation):
    network = After(operation)
    grid = probe_grid(network, network.out, (1, *SIZE))
    return grid.shape, grid.stride, grid.offset, grid.receptive_field


SAME = ((8, 12), (4.0, 4.0), (1.5, 1.5), (4, 4))
TWO = ((8, 12), (4.0, 4.0), (1.5, -0.5), (4, 8))
"""A cell and the one before it along the last axis, mixed with equal right."""


def shifted(x: Tensor) -> Tensor:
    """Each cell holds what the one before it along the last axis held."""
    return functional.pad(x, (1, -1))


def both(x: Tensor) -> Tensor:
    return torch.cat([x[:, :2], shifted(x)[:, :2]], dim=1)


def on_channels(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix product over channels, as linear layers on channels-last features do it."""
    return (x.movedim(1, 3).reshape(-1, 4) @ matrix).reshape(1, 8, 12, 4).movedim(3, 1)


OPERATIONS = {
    "a linear layer over channels": (lambda net, x: on_channels(net.square, x), SAME),
    "a linear layer over channels of two places": (lambda net, x: on_channels(net.square, both(x)), TWO),
    "weights from the left": (lambda net, x: (net.square @ x.flatten(2)).unflatten(2, (8, 12)), SAME),
    "weights from the left of two places": (
        lambda net, x: (net.square @ both(x).flatten(2)).unflatten(2, (8, 12)),
        TWO,
    ),
    "batched products": (lambda net, x: torch.bmm(net.square[None], both(x).flatten(2)).unflatten(2, (8, 12)), TWO),
    "batched products with weights behind": (
        lambda net, x: torch.bmm(both(x).flatten(2).transpose(1, 2), net.square[None]).mT.unflatten(2, (8, 12)),
        TWO,
    ),
    "with a bias": (
        lambda net, x: torch.addmm(net.own.flatten(2)[0], net.square, both(x)[0].flatten(1)).view(1, 4, 8, 12),
        TWO,
    ),
    "a convolution over two places": (lambda net, x: functional.conv2d(both(x), net.square[..., None, None]), TWO),
    "mean of channels": (lambda net, x: both(x).mean(1, keepdim=True), TWO),
    "mean of channels, counted from the end": (lambda net, x: both(x).mean(-3, keepdim=True), TWO),
    "sum of channels, their axis gone": (lambda net, x: both(x).sum(1)[:, None], TWO),
    "largest of channels": (lambda net, x: both(x).amax((1,), keepdim=True), TWO),
    "spread over channels": (lambda net, x: both(x).std(1, keepdim=True), TWO),
    "mean of an axis": (
        lambda net, x: x.mean(2, keepdim=True),
        ((1, 12), (32.0, 4.0), (15.5, 1.5), (32, 4)),
    ),
    "largest of the other axis": (
        lambda net, x: x.amax((3,), keepdim=True),
        ((8, 1), (4.0, 48.0), (1.5, 23.5), (4, 48)),
    ),
    "less its mean": (lambda net, x: x - x.mean(), SAME),
    "less the mean of each channel": (lambda net, x: x - x.mean((2, 3), keepdim=True), SAME),
    "scaled by a global gate": (lambda net, x: torch.sigmoid(x.amax((2, 3), keepdim=True)) * x, SAME),
    "sum of two places": (lambda net, x: x + shifted(x), TWO),
    "sum with an own tensor": (lambda net, x: net.own + x, SAME),
    "product with an own tensor in place": (lambda net, x: x.mul_(net.own), SAME),
    "sum in place": (lambda net, x: x.clone().add_(shifted(x)), TWO),
    "mean of channels, own ones among them": (lambda net, x: torch.cat([both(x), net.own], 1).mean(1)[:, None], TWO),
    "a linear layer, own channels in": (
        lambda net, x: on_channels(net.square, torch.cat([x[:, :2], net.own[:, 2:]], 1)),
        SAME,
    ),
    "own channels behind, convolved": (
        lambda net, x: functional.conv2d(
            torch.cat([x, net.own], 1), net.own[:, :, :1, :2].flatten(2).reshape(1, 8, 1, 1)
        ),
        SAME,
    ),
    "own channels in front, convolved": (
        lambda net, x: functional.conv2d(
            torch.cat([net.own, x], 1), net.own[:, :, :1, :2].flatten(2).reshape(1, 8, 1, 1)
        ),
        SAME,
    ),
    "halves joined along an axis": (lambda net, x: torch.cat([x[..., :5], x[..., 5:]], -1), SAME),
    "halves joined along the other": (lambda net, x: torch.cat([x[:, :, :3], x[:, :, 3:]], 2), SAME),
    "halves joined in the batch's axis": (lambda net, x: torch.cat([x, shifted(x)])[:1], SAME),
    "stacked and averaged": (lambda net, x: torch.stack([x, shifted(x)]).mean(0), TWO),
    "split and joined": (lambda net, x: torch.cat(x.split(2, dim=1)[::-1], dim=1), SAME),
    "turned and back": (lambda net, x: functional.relu(x.transpose(2, 3)).transpose(2, 3), SAME),
    "flattened and back": (lambda net, x: x.flatten(2).reshape(1, 4, 8, 12), SAME),
    "every second cell": (lambda net, x: x[:, :, ::2, 1::2], ((4, 6), (8.0, 8.0), (1.5, 5.5), (4, 4))),
    "cells by index": (lambda net, x: x[..., torch.arange(0, 12, 3)], ((8, 4), (4.0, 12.0), (1.5, 1.5), (4, 4))),
    "chosen by a condition": (lambda net, x: torch.where(net.own > 0.5, x, shifted(x)), TWO),
    "normalised": (lambda net, x: functional.group_norm(functional.gelu(x), 2), SAME),
    "clamped to own bounds": (lambda net, x: torch.maximum(x, net.own), SAME),
    "largest of two by two": (lambda net, x: functional.max_pool2d(x, 2), ((4, 6), (8.0, 8.0), (3.5, 3.5), (8, 8))),
    "two and a half times as fine": (  # cell j lies on cell (j + 1/2) 8 / 20 - 1/2 of before
        lambda net, x: functional.interpolate(x, size=(20, 30), mode="bilinear"),
        ((20, 30), (1.6, 1.6), (0.3, 0.3), (8, 8)),
    ),
    "a sharp path beside a wide one, and a path in between": (  # the sharpest path of all says where the cell is
        lambda net, x: (
            (x + functional.conv2d(x, net.own[:, :, :3, :3].expand(4, 4, 3, 3), padding=1))
            + functional.conv2d(functional.pad(x, (1, 0)), net.own[:, :, :1, :2].expand(4, 4, 1, 2))
        ),
        ((8, 12), (4.0, 4.0), (1.5, 1.5), (12, 12)),
    ),
    "a skip past a wide convolution": (
        lambda net, x: x + functional.conv2d(x, net.own[:, :, :5, :5].expand(4, 4, 5, 5), padding=2),
        ((8, 12), (4.0, 4.0), (1.5, 1.5), (20, 20)),
    ),
    "a skip past a shifted wide convolution": (  # the sharper branch says where the cell is
        lambda net, x: x + shifted(functional.conv2d(x, net.own[:, :, :3, :3].expand(4, 4, 3, 3), padding=1)),
        ((8, 12), (4.0, 4.0), (1.5, 1.5), (12, 12)),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_where_cells_look_after_an_operation(name: str):
    operation, expected = OPERATIONS[name]
    assert grid_after(operation) == expected


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (lambda net, x: x.flip(3), "not evenly spaced along axis 1 of the input"),
        (lambda net, x: x[:, :, [0, 1, 4, 5, 7]], "not evenly spaced along axis 0 of the input"),
        (lambda net, x: net.own, "does not come from the input by operations that keep places"),
        (lambda net, x: (x, x), "does not come from the input by operations that keep places"),
        (lambda net, x: x.transpose(2, 3), "do not keep places along axis 0 of the input"),
        (lambda net, x: x.flatten(2), "do not keep places along axis 0 of the input"),
        (lambda net, x: x.mean((2, 3)), r"no map of 2 axes: \[1, 4\]"),
        (lambda net, x: x[:, :, :3] + x[:, :, :4], "coordinates cannot be sent to the layer: .*broadcast"),
    ],
)
def test_what_has_no_places_is_told(operation, words):
    with pytest.raises(ValueError, match=words):
        grid_after(operation)


@pytest.mark.parametrize(
    ("values", "period", "step"),
    [
        ([0, 1, 2, 3], 1, 1),
        ([5, 3, 1], 1, -2),
        ([0, 0, 2, 2, 4], 2, 2),
        ([0, 0.75, 2, 2.75, 4, 4.75], 2, 2),
        ([0, 1, 1, 4, 5, 5], 3, 4),
        ([0, 1, 4, 9], None, 0),
        ([7], None, 0),
        ([0, 0, 2], None, 0),
    ],
)
def test_after_how_many_cells_the_same_steps_come_again(values, period, step):
    assert _period(torch.tensor(values, dtype=torch.float64)) == (period, step)


@pytest.mark.parametrize(
    ("values", "before", "after", "expected"),
    [
        ([0, 1, 2], 2, 1, [-2, -1, 0, 1, 2, 3]),
        ([0, 1, 2], 0, 0, [0, 1, 2]),
        ([0, 1, 2], 0, 2, [0, 1, 2, 3, 4]),
        ([0, 1, 2], 1, 0, [-1, 0, 1, 2]),
        ([0, 0, 2, 2], 3, 3, [-4, -2, -2, 0, 0, 2, 2, 4, 4, 6]),
        ([0, 1, 1, 4, 5, 5], 4, 4, [-7, -4, -3, -3, 0, 1, 1, 4, 5, 5, 8, 9, 9, 12]),
        ([0, 1, 4, 9], 2, 2, [0, 0, 0, 1, 4, 9, 9, 9]),
    ],
)
def test_beyond_its_edges_a_line_goes_on_as_it_runs_inside(values, before, after, expected):
    lines = torch.tensor(values, dtype=torch.float64).expand(2, 3, -1)
    found = _continued(lines, before, after)
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (2, 3, len(expected))))


def test_repetitions_are_kept_once():
    lines = torch.arange(3.0).view(1, 3, 1).expand(4, 3, 5)
    assert _core(lines).tolist() == [[[0.0], [1.0], [2.0]]]
    assert _core(lines.contiguous()).shape == (4, 3, 5)


class Slabs(nn.Module):
    """A layer that sees slabs one by one, in pairs, or all at once."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.together, self.body = together, nn.Conv2d(2, 3, 3, stride=2, padding=1)

    def forward(self, x):
        return torch.cat([self.body(rows) for rows in x.flatten(0, 1).split(self.together)]).mean()


@pytest.mark.parametrize("together", [1, 2, 3, 6])
def test_rows_are_slabs_along_the_first_axis_however_many_come_at_once(together):
    network = Slabs(together)
    grid = probe_grid(network, network.body, (6, 2, 10, 14), "slabs")
    assert (grid.shape, grid.stride, grid.offset) == ((6, 5, 7), (2.0, 2.0, 2.0), (0.5, 0.0, 0.0))
    assert (grid.receptive_field, grid.input_shape) == ((2, 3, 3), (12, 10, 14))


def test_a_failure_behind_the_layer_does_not_matter_and_inputs_stay():
    class Fails(After):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("no decoder")

    network = Fails(lambda net, x: x)
    grid = probe_grid(network, network.out, (1, *SIZE))
    assert (grid.shape, grid.stride) == ((8, 12), (4.0, 4.0))
    assert not network.out._forward_hooks


def test_double_precision_and_one_axis():
    network = nn.Sequential(nn.Conv1d(1, 2, 3, stride=3), nn.ReLU()).double()
    grid = probe_grid(network, network[1], (1, 31))
    assert (grid.shape, grid.stride, grid.offset, grid.receptive_field) == ((10,), (3.0,), (1.0,), (3,))
