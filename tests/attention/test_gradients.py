"""Maps by gradients: by hand, for any number of targets at a time."""

from __future__ import annotations

import pytest
import torch

from organcam.attention.gradients import check_chunk, maps_by_gradients

WEIGHTS = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.0, 1.0, 3.0, -2.0], [4.0, 0.0, 0.0, 1.0]])
METHODS = {
    "product": lambda activation, gradient, axes: (activation * gradient).sum(1),
    "slope": lambda activation, gradient, axes: gradient.sum(1) * axes,
}


def merge(name, calls):
    assert name == "layer"
    return torch.cat(list(calls), 1)


def scored():
    """One layer in two calls, ``[2, 1, 4]`` each; three scores: the weighted sum of squares of the first, plus the sum
    of the second."""
    first = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[1.0, 0.0, -1.0, 2.0]]], requires_grad=True)
    second = torch.ones(2, 1, 4, requires_grad=True)
    scores = (first.square() @ WEIGHTS.T)[:, 0] + second.sum((1, 2))[:, None] * torch.tensor([1.0, 2.0, 3.0])
    return scores, {"layer": [first, second]}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 7])
def test_by_hand_whatever_goes_together(chunk, create_graph):
    scores, calls = scored()
    found = maps_by_gradients(scores, calls, merge, METHODS, create_graph=create_graph, chunk=chunk)
    first = calls["layer"][0].detach()
    for target in range(3):
        # the slope of w x^2 is 2 w x, so that the product is 2 w x^2; the second call adds its own slope, times 1
        slopes = 2 * WEIGHTS[target] * first[:, 0] + (target + 1)
        products = 2 * WEIGHTS[target] * first[:, 0].square() + (target + 1)
        torch.testing.assert_close(found["slope"]["layer"][:, target].detach(), slopes)
        torch.testing.assert_close(found["product"]["layer"][:, target].detach(), products)
    assert found["product"]["layer"].requires_grad == create_graph
    if create_graph:
        found["product"]["layer"].sum().backward()
        # of 2 w x^2: 4 w x, over the three targets
        torch.testing.assert_close(calls["layer"][0].grad[:, 0], 4 * WEIGHTS.sum(0) * first[:, 0])


@pytest.mark.parametrize(
    ("size", "chunk", "passes"),
    [
        (4, None, 1),
        (4, 1, 3),
        (4, 2, 2),
        (4, 3, 1),
        (2**17, None, 2),
        (2**18, None, 3),
        (2**19, None, 3),
        (2**19, 3, 1),
    ],
)
def test_backward_passes_go_together_where_the_activation_is_small(size, chunk, passes):
    """Three targets; up to 2^18 values at a time. The slope of a sum of squares, scaled by 1, 2 and 3, at 1."""
    x, seen = torch.ones(1, 1, size, requires_grad=True), []
    squares = x.square()
    squares.register_hook(lambda gradient: seen.append(1))
    scores = squares.sum().view(1, 1) * torch.tensor([[1.0, 2.0, 3.0]])
    found = maps_by_gradients(scores, {"layer": [x]}, merge, {"slope": METHODS["slope"]}, chunk=chunk)
    assert len(seen) == passes
    assert found["slope"]["layer"][0, :, -1].tolist() == [2, 4, 6]


class Doubled(torch.autograd.Function):
    """An operation that knows no batches of gradients."""

    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, gradient):
        return gradient * (2 if gradient.sum().item() == gradient.sum() else 0)  # a number of a batch is none


def test_operations_without_batches_of_gradients_go_one_by_one():
    x, y, unused = (torch.ones(2, 1, 4, requires_grad=True) for _ in range(3))
    scores = torch.stack([Doubled.apply(x).sum((1, 2)), 5 * Doubled.apply(y).sum((1, 2)), y[:, 0, 0]], dim=1)
    with pytest.raises(RuntimeError):  # or the test would say nothing
        torch.autograd.grad(scores[:, 0].sum(), x, torch.ones(2), retain_graph=True, is_grads_batched=True)
    found = maps_by_gradients(scores, {"layer": [x, y]}, lambda _, calls: calls[0] + 10 * calls[1], METHODS, chunk=3)
    # slopes of 2, 10 and 1 at the first or second call
    assert found["slope"]["layer"][1].tolist() == [[2] * 4, [100] * 4, [10, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"on layer 'layer' \(or on one of its 2 calls\)"):
        maps_by_gradients(scores, {"layer": [x, unused]}, lambda _, calls: calls[0], METHODS, chunk=3)


def test_no_target_gives_no_map():
    scores, calls = scored()
    found = maps_by_gradients(scores[:, :0], calls, merge, METHODS)
    assert found["product"]["layer"].shape == (2, 0, 4)


@pytest.mark.parametrize("chunk", [1, 3])
def test_every_layer_has_its_own_gradients_in_double_precision(chunk):
    x, y, z = (torch.full((1, 1, 2), value, dtype=torch.float64, requires_grad=True) for value in (1.0, 2.0, 3.0))
    total = x.sum() + 5 * y.sum() + 7 * z.square().sum()
    scores = total.view(1, 1) * torch.tensor([[1.0, 1 + 2.0**-40, 2.0]], dtype=torch.float64)
    calls = {"a": [x], "b": [y, z], "c": [z]}
    found = maps_by_gradients(scores, calls, lambda _, own: sum(own), {"slope": METHODS["slope"]}, chunk=chunk)["slope"]
    slopes = {name: maps[0, :, 0].tolist() for name, maps in found.items()}
    by = [1, 1 + 2.0**-40, 2]
    assert slopes == {"a": by, "b": [47 * one for one in by], "c": [42 * one for one in by]}


def test_a_layer_in_one_call_and_its_own_name():
    x, y = torch.ones(1, 1, 2, requires_grad=True), torch.ones(1, 1, 2, requires_grad=True)
    calls = {"a": [x], "b": [y]}
    with pytest.raises(ValueError, match=r"^the logits do not depend on layer 'b'; choose another layer$"):
        maps_by_gradients(2 * x.sum().view(1, 1), calls, lambda name, found: found[0], METHODS)
    scores = (x.sum() + 5 * y.sum()).view(1, 1)
    found = maps_by_gradients(scores, calls, lambda name, found: found[0], METHODS)
    assert {name: maps.tolist() for name, maps in found["product"].items()} == {"a": [[[1, 1]]], "b": [[[5, 5]]]}


@pytest.mark.parametrize(
    ("name", "calls", "words"),
    [
        ("body", 1, r"^the logits do not depend on layer 'body'; choose another layer$"),
        ("body", 3, r"^the logits do not depend on layer 'body' \(or on one of its 3 calls\); choose another layer$"),
        ("", 1, "^the logits do not depend on the input; choose another layer$"),
    ],
)
@pytest.mark.parametrize("graph", [False, True])
def test_what_is_not_reached_is_named(name, calls, words, graph):
    x = torch.ones(1, 1, 2, requires_grad=True)
    scores = (torch.ones(1, 2, requires_grad=True) * 2) if graph else torch.ones(1, 2)
    given = {name: [x] + [torch.ones(1, 1, 2, requires_grad=True) for _ in range(calls - 1)]}
    with pytest.raises(ValueError, match=words):
        maps_by_gradients(scores, given, lambda _, found: found[0], METHODS)


@pytest.mark.parametrize("chunk", [0, -3])
def test_a_chunk_of_nothing_is_refused(chunk):
    check_chunk(None)
    check_chunk(1)
    with pytest.raises(ValueError, match=rf"^chunk must be at least 1 target, or None .*, got {chunk}$"):
        check_chunk(chunk)
