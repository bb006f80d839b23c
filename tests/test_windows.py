"""Which inputs an output reads: against PyTorch's own gradients, operator by operator, and some by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from organcam.windows import WINDOWS, window_of

SIZE = (9, 14)


class Recorded(TorchDispatchMode):
    """Names and arguments of the operators that ``window_of`` knows, as PyTorch runs them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in WINDOWS:
            self.calls.append((func.overloadpacket.__name__, args))
        return func(*args, **(kwargs or {}))


def run(operator, x: Tensor):
    with torch.no_grad(), Recorded() as recorded:
        y = operator(x)
    [(name, args)] = recorded.calls
    return name, args, tuple(y.shape[2:])


def windows(operator, size=SIZE):
    """Index and share of every axis, as told by ``window_of``."""
    name, args, outputs = run(operator, torch.zeros(1, 1, *size))
    axes = len(size)
    return [window_of(name, args, axis, axes, size[axis], outputs[axis]) for axis in range(axes)]


def slopes(operator, axis: int, size=SIZE) -> np.ndarray:
    """How much each output moves with each input along one axis, ``[outputs, inputs]``: shares of one."""
    x = torch.rand(1, 1, *size, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(operator, x, vectorize=True)[0, 0, :, :, 0, 0]
    found = slope.sum((1, 3)) if axis == 0 else slope.sum((0, 2))
    return (found / found.sum(1, keepdim=True)).nan_to_num().numpy()  # of a row that reads nothing: zeros


def as_matrix(index: np.ndarray, shares: np.ndarray, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares by input, and the rows that read nothing outside."""
    matrix, inside = np.zeros((len(index), inputs)), np.ones(len(index), dtype=bool)
    for row, (reads, parts) in enumerate(zip(index, shares, strict=True)):
        for read, part in zip(reads, parts, strict=True):
            if part > 0 and 0 <= read < inputs:
                matrix[row, read] += part
            elif part > 0:
                inside[row] = False
    return matrix, inside


def ones(layer: nn.Module) -> nn.Module:
    layer = layer.double()
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def convolution(operator) -> list:
    """A convolution in the precision of its input; `run` gives it zeros in float32."""
    return lambda x: operator(x.double())


LINEAR = {
    "convolution": convolution(ones(nn.Conv2d(1, 1, (3, 5)))),
    "strided": convolution(ones(nn.Conv2d(1, 1, (2, 3), stride=(2, 3)))),
    "dilated": convolution(ones(nn.Conv2d(1, 1, 3, dilation=(2, 4)))),
    "padded": convolution(ones(nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(1, 2)))),
    "transposed": convolution(ones(nn.ConvTranspose2d(1, 1, (2, 3), stride=(2, 3)))),
    "transposed, overlapping": convolution(ones(nn.ConvTranspose2d(1, 1, (4, 5), stride=(2, 3), padding=(1, 2)))),
    "transposed, dilated": convolution(ones(nn.ConvTranspose2d(1, 1, (3, 2), stride=(2, 1), dilation=(2, 3)))),
    "mean": lambda x: functional.avg_pool2d(x, (2, 3)),
    "mean of one size for both axes": lambda x: functional.avg_pool2d(x, (3,)),
    "mean, strided": lambda x: functional.avg_pool2d(x, (3, 4), stride=(1, 2)),
    "mean, padded": lambda x: functional.avg_pool2d(x, (3, 5), stride=(2, 1), padding=(1, 2)),
    "adaptive mean, uneven": lambda x: functional.adaptive_avg_pool2d(x, (4, 5)),
    "adaptive mean, even": lambda x: functional.adaptive_avg_pool2d(x, (3, 7)),
    "reflected": lambda x: functional.pad(x, (2, 1, 3, 0), mode="reflect"),
    "repeated": lambda x: functional.pad(x, (2, 1, 3, 0), mode="replicate"),
    "padded with zeros": lambda x: functional.pad(x, (1, 4, 2, 3)),
    "cropped": lambda x: functional.pad(x, (-1, -4, -2, -3)),
    "nearest": lambda x: functional.interpolate(x, size=(20, 21), mode="nearest"),
    "nearest, smaller": lambda x: functional.interpolate(x, size=(4, 5), mode="nearest"),
    "nearest, exact": lambda x: functional.interpolate(x, size=(20, 21), mode="nearest-exact"),
    "nearest, exact, smaller": lambda x: functional.interpolate(x, size=(4, 5), mode="nearest-exact"),
    "linear": lambda x: functional.interpolate(x, size=(20, 21), mode="bilinear"),
    "linear, smaller": lambda x: functional.interpolate(x, size=(7, 9), mode="bilinear"),
    "linear, corners": lambda x: functional.interpolate(x, size=(20, 27), mode="bilinear", align_corners=True),
    "linear, corners, two": lambda x: functional.interpolate(x, size=(2, 5), mode="bilinear", align_corners=True),
    "linear, corners, one": lambda x: functional.interpolate(x, size=(1, 5), mode="bilinear", align_corners=True),
}


BEYOND = {
    *("linear", "linear, smaller", "reflected", "repeated", "transposed, overlapping", "transposed, dilated"),
    *(name for name in LINEAR if "padded" in name),
}
"""What reads beyond the edges in some rows."""


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", LINEAR)
def test_windows_are_where_the_gradient_is(name: str, axis: int):
    """Rows that read beyond an edge are left out: there PyTorch pads, and here a tensor is taken to go on."""
    index, shares = windows(LINEAR[name])[axis]
    expected = slopes(LINEAR[name], axis)
    assert len(index) == len(expected)
    found, inside = as_matrix(index, shares, SIZE[axis])
    assert inside.all() or (name in BEYOND and inside.mean() > 0.4)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-9)


BY_HAND = {
    "padding of a convolution": (lambda x: functional.conv1d(x, torch.ones(1, 1, 3), padding=1), 4, [[-1, 0, 1], 4]),
    "padding with zeros": (lambda x: functional.pad(x, (2, 1)), 4, [[-2], 7]),
    "reflection goes on": (lambda x: functional.pad(x, (2, 1), mode="reflect"), 4, [[-2], 7]),
    "largest, dilated": (lambda x: functional.max_pool2d(x[..., None], (3, 1), 2, (1, 0), (2, 1)), 9, [[-1, 1, 3], 4]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_reads_beyond_the_edge_keep_their_places(name: str):
    operator, inputs, (first, count) = BY_HAND[name]
    name, args, outputs = run(operator, torch.zeros(1, 1, inputs))
    index, shares = window_of(name, args, 0, len(outputs), inputs, outputs[0])
    assert index[0].tolist() == first
    assert (len(index), shares.shape) == (count, index.shape)
    np.testing.assert_allclose(shares, 1 / len(first))


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: functional.max_pool2d(x, (2, 3)),
        lambda x: functional.max_pool2d(x, (3, 4), stride=(1, 2)),
        lambda x: functional.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: functional.max_pool2d(x, 3, stride=1, dilation=(2, 3)),
        lambda x: functional.adaptive_max_pool2d(x, (4, 5)),
    ],
)
def test_largest_of_a_rising_line_is_the_last_read_and_of_a_falling_line_the_first(pool):
    for axis, (index, shares) in enumerate(windows(pool)):
        line = torch.arange(SIZE[axis], dtype=torch.float64).view(-1, *(1,) * (1 - axis))
        rising = line.expand(SIZE)[None, None]
        taken = np.where((shares > 0) & (index >= 0) & (index < SIZE[axis]), index, -1)
        highest, lowest = pool(rising)[0, 0].select(1 - axis, 0), -pool(-rising)[0, 0].select(1 - axis, 0)
        assert taken.max(axis=1).tolist() == highest.tolist()
        assert np.where(taken < 0, SIZE[axis], taken).min(axis=1).tolist() == lowest.tolist()


def test_cubic_weights_lie_around_the_two_neighbours():
    (index, shares), _ = windows(lambda x: functional.interpolate(x, size=(18, 28), mode="bicubic"))
    # cell j of 18 is centred on voxel j / 2 - 1 / 4 of 9
    np.testing.assert_allclose((index * shares).sum(1), np.arange(18) / 2 - 0.25)
    np.testing.assert_allclose(shares.sum(1), 1)


def test_three_axes_and_one():
    layer = ones(nn.Conv3d(1, 1, (1, 2, 3), stride=(1, 2, 3)))
    (_, _), (rows, _), (columns, _) = windows(convolution(layer), (4, 6, 9))
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert columns.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    name, args, _ = run(lambda x: functional.pad(x, (1, 0, 2, 0, 3, 0)), torch.zeros(1, 1, 4, 5, 6))
    assert [int(window_of(name, args, axis, 3, 4, 9)[0][0, 0]) for axis in range(3)] == [-3, -2, -1]
