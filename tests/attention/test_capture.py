"""What layers give while a network runs, and the order of their rows, by hand."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from organcam.attention.capture import kept_calls, merge_calls, run_from_layers, run_network, run_whole
from organcam.attention.inputs import parse_inputs


def rows(*codes: int) -> Tensor:
    """``[rows, 2 features, 1, 3]``: each row holds its code, the second feature a thousand more."""
    code = torch.tensor(codes, dtype=torch.float32).view(-1, 1, 1, 1)
    return torch.cat([code, code + 1000], 1).expand(-1, 2, 1, 3).clone()


SLABS = (2, 3, 5, 8, 8)  # two items of three slabs of five slices
ITEMS_FIRST, SLABS_FIRST = [10, 11, 12, 20, 21, 22], [10, 20, 11, 21, 12, 22]
MERGED = torch.tensor([[10, 11, 12], [20, 21, 22]], dtype=torch.float32)


@pytest.mark.parametrize(
    ("calls", "order"),
    [
        ([rows(*ITEMS_FIRST)], "items"),
        ([rows(*ITEMS_FIRST[:4]), rows(*ITEMS_FIRST[4:])], "items"),
        ([rows(*SLABS_FIRST)], "slabs"),
        ([rows(10, 20), rows(11, 21), rows(12, 22)], "slabs"),
    ],
)
def test_rows_go_to_their_item_and_slab(calls, order):
    merged = merge_calls(calls, SLABS, order, "body")
    assert merged.shape == (2, 2, 3, 1, 3)
    for column in range(3):
        assert torch.equal(merged[:, 0, :, 0, column], MERGED)
        assert torch.equal(merged[:, 1, :, 0, column], MERGED + 1000)


@pytest.mark.parametrize("order", [None, "items", "slabs"])
def test_a_single_item_needs_no_order(order):
    merged = merge_calls([rows(10), rows(11), rows(12)], (1, *SLABS[1:]), order, "body")
    assert merged[0, 0, :, 0, 0].tolist() == [10, 11, 12]


def test_slices_of_a_volume_may_be_rows_too():
    merged = merge_calls([rows(*ITEMS_FIRST)], (2, 1, 3, 8, 8), "items", "body")
    assert torch.equal(merged[:, 0, :, 0, 0], MERGED)


def test_a_single_slab_keeps_its_axis_only_where_an_order_is_declared():
    one = (2, 1, 5, 8, 8)
    assert merge_calls([rows(10, 20)], one, "items", "body").shape == (2, 2, 1, 1, 3)
    assert merge_calls([rows(10, 20)], one, "slabs", "body")[:, 0, 0, 0, 0].tolist() == [10, 20]
    assert merge_calls([rows(10, 20)], one, None, "body").shape == (2, 2, 1, 3)


def test_without_a_hint_the_sentence_ends():
    with pytest.raises(ValueError, match="whose output keeps the axes of the input$"):
        merge_calls([torch.rand(2, 4)], (2, 1, 8, 8), None, "body")


@pytest.mark.parametrize("shape", [(2, 4, 7), (2, 4, 7, 9), (2, 4, 3, 7, 9)])
@pytest.mark.parametrize("order", [None, "items"])
def test_one_call_for_all_items_is_the_map_itself(shape, order):
    call = torch.rand(shape)
    assert merge_calls([call], (2, 2, *shape[2:]), order, "body") is call


@pytest.mark.parametrize(
    ("calls", "input_shape", "order", "words"),
    [
        (
            [rows(1, 2), rows(1, 2)],
            (2, 1, 8, 8),
            None,
            "^layer 'body' runs 2 times in one forward pass; choose a layer",
        ),
        ([rows(1, 2), rows(1, 2)[..., :2]], SLABS, "items", "^layer 'body' runs 2 times"),
        (
            [torch.rand(2, 4)],
            (2, 1, 8, 8),
            None,
            r"^layer 'body' gives \[2, 4\] for inputs \[2, 1, 8, 8\], which is no map \[B, F, \*grid\]; choose a layer "
            "whose output keeps the axes of the input; try stem$",
        ),
        (
            [rows(1)],
            (2, 1, 8, 8),
            None,
            r"^layer 'body' gives 1 rows \[1, 2, 1, 3\] in 1 calls for .* neither the items",
        ),
        (
            [rows(*range(8))],
            SLABS,
            "items",
            r"gives 8 rows \[8, 2, 1, 3\] in 1 calls for inputs \[2, 3, 5, 8, 8\]: neither",
        ),
        (
            [rows(*range(7))],
            SLABS,
            "items",
            "gives 7 rows .* neither the items of the batch nor their slabs; choose another",
        ),
        (
            [rows(*ITEMS_FIRST[:4]), rows(*ITEMS_FIRST[4:])],
            SLABS,
            None,
            r"^layer 'body' sees slabs as a batch \(6 rows in 2 calls for 2 items\), and the network does not say in "
            r"which order: give one item at a time, or declare call_order \(NetworkContract\)$",
        ),
    ],
)
def test_rows_that_belong_to_nothing_are_refused(calls, input_shape, order, words):
    with pytest.raises(ValueError, match=words):
        merge_calls(calls, input_shape, order, "body", "try stem")


class Chain(nn.Module):
    """3 x, then in place max(., 0), then the sum; ``frozen`` runs the first step without gradients."""

    def __init__(self, frozen: bool = False) -> None:
        super().__init__()
        self.first, self.relu, self.unused, self.frozen = (
            nn.Conv1d(1, 1, 1, bias=False),
            nn.ReLU(True),
            nn.ReLU(),
            frozen,
        )
        nn.init.constant_(self.first.weight, 3.0)

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            y = self.first(x)
        return {"logits": self.relu(y).sum((1, 2))[:, None]}


X = torch.tensor([[[1.0, -2.0]]])


@pytest.mark.parametrize("frozen", [False, True])
def test_the_graph_begins_at_the_layer_and_what_follows_in_place_changes_nothing_kept(frozen):
    network = Chain(frozen)
    output, calls = run_from_layers(network, parse_inputs(X), {"first": network.first})
    [kept] = calls["first"]
    assert kept.tolist() == [[[3.0, -6.0]]]
    assert kept.is_leaf
    assert kept.requires_grad
    [gradient] = torch.autograd.grad(output["logits"].sum(), [kept])
    assert gradient.tolist() == [[[1.0, 0.0]]]
    assert torch.is_grad_enabled()
    assert not network.first._forward_hooks


@pytest.mark.parametrize("frozen", [False, True])
def test_of_two_layers_the_first_is_reached_through_the_second(frozen):
    """The network sets a grad mode around the first: its end must not hide the ReLU from the graph."""
    network = Chain(frozen)
    output, calls = run_from_layers(network, parse_inputs(X), {"first": network.first, "relu": network.relu})
    first, relu = calls["first"][0], calls["relu"][0]
    assert relu.tolist() == [[[3.0, 0.0]]]
    gradients = torch.autograd.grad(output["logits"].sum(), [first, relu])
    assert [gradient.tolist() for gradient in gradients] == [[[[1.0, 0.0]]], [[[1.0, 1.0]]]]


def test_with_the_whole_graph_weights_are_reached():
    network = Chain()
    output, calls = run_whole(network, parse_inputs(X), {"first": network.first, "unused": network.unused})
    assert calls["unused"] == []
    output["logits"].sum().backward()
    assert network.first.weight.grad.item() == 1.0  # of the cell that is not below 0
    with torch.no_grad():
        output, calls = run_whole(network, parse_inputs(X), {"first": network.first})
    assert not calls["first"][0].requires_grad


def test_layers_that_did_not_run_have_no_calls_and_no_graph():
    network = Chain()
    output, calls = run_from_layers(network, parse_inputs(X), {"unused": network.unused})
    assert calls == {"unused": []}
    assert not output["logits"].requires_grad


def test_calls_of_another_thread_are_not_kept():
    network = Chain()
    with kept_calls({"first": network.first}, cut=True) as calls:
        other = threading.Thread(target=network, args=(X,))
        other.start()
        other.join()
        assert calls == {"first": []}
        network(2 * X)
    assert [call.tolist() for call in calls["first"]] == [[[[6.0, -12.0]]]]


def test_a_layer_of_several_outputs_is_named_and_no_hook_stays():
    network = nn.Sequential(nn.LSTM(2, 3))
    words = r"^layer 'pair' must return one tensor, got tuple; choose a module inside it$"
    with pytest.raises(ValueError, match=words), kept_calls({"pair": network[0]}, cut=False):
        network(torch.rand(1, 4, 2))
    assert not network[0]._forward_hooks


def test_axes_in_another_order_are_told_and_other_failures_stay_as_they_are():
    network = nn.Conv2d(3, 1, 1)
    with pytest.raises(ValueError, match=r"takes \[B, 3, H, W\], got \[2, 8, 8, 3\]; the channels are last") as caught:
        run_network(network, parse_inputs(torch.rand(2, 8, 8, 3)))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        run_network(nn.Conv2d(3, 1, 9), parse_inputs(torch.rand(2, 3, 8, 8)))
