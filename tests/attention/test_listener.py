"""Maps of a forward pass that somebody else runs, by hand, and what is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from organcam.attention import AttentionListener
from organcam.geometry import FeatureGrid

X = torch.tensor([[[1.0, -2.0, 3.0]], [[0.0, 1.0, 1.0]]])


class Squares(nn.Module):
    """Features 2x and 3x; scores are the sum of the squares of the first, and ten times the sum of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.aside = nn.Conv1d(1, 2, 1, bias=False), nn.Conv1d(1, 1, 1)
        self.features.weight.data = torch.tensor([[[2.0]], [[3.0]]])

    def forward(self, x):
        z = self.features(x)
        return torch.stack([z[:, 0].square().sum(1), 10 * z[:, 1].sum(1)], dim=1)


FIRST = 8 * X[:, 0].square()  # twice the square of 2x
SECOND = 30 * X[:, 0]


@pytest.mark.parametrize("grad", [True, False])
def test_maps_of_anothers_pass_by_hand_and_the_grad_mode_is_as_it_was(grad):
    network = Squares()
    listener = AttentionListener(network, layer="features")
    with torch.set_grad_enabled(grad):
        listener.start()
        output = network(X)
        listener.stop()
        assert torch.is_grad_enabled() == grad
        maps = listener.maps(X, output)
        assert torch.is_grad_enabled() == grad
    assert torch.equal(maps.values, torch.stack([FIRST, SECOND], dim=1))
    assert torch.equal(maps.logits, output.detach())
    assert not maps.values.requires_grad
    assert not maps.logits.requires_grad
    assert (maps.method, maps.layer, maps.targets, maps.closed_form) == ("hirescam", "features", (0, 1), False)
    assert not network.features._forward_hooks


def test_method_targets_and_a_wrapped_network():
    network = Squares()
    listener = AttentionListener(nn.DataParallel(network), method="gradcam", targets=[1], layer=network.features)
    listener.start()
    maps = listener.maps(X, network(X))
    assert (maps.method, maps.targets) == ("gradcam", (1,))
    assert torch.equal(maps.values, SECOND[:, None])  # the slope is the same everywhere


def test_the_last_pass_counts_and_what_was_kept_is_let_go():
    network = Squares()
    listener = AttentionListener(network, targets=0, layer="features")
    listener.start()
    network(X)
    listener.start()
    output = network(2 * X)
    listener.stop()
    assert torch.equal(listener.maps(2 * X, output).values[:, 0], 4 * FIRST)
    with pytest.raises(ValueError, match="^layer 'features' did not run in this forward pass; choose one that does; "):
        listener.maps(2 * X, output)
    network(X)  # nobody listens
    with pytest.raises(ValueError, match="did not run"):
        listener.maps(X, output)


def test_a_network_that_ran_several_times_is_refused():
    network = Squares()
    listener = AttentionListener(network, layer="features")
    listener.start()
    output = network(X) + network(X)
    listener.stop()
    with pytest.raises(ValueError, match="^layer 'features' runs 2 times in one forward pass"):
        listener.maps(X, output)


def test_a_network_that_names_its_layer_is_listened_to_there():
    class Named(Squares):
        input_layout, input_shape, attention_layer, call_order = "volume", (3,), "features", "items"

        def feature_grid(self, input_shape):
            return FeatureGrid((3,), (1.0,), (0.0,), (1,), input_shape)

        def linear_head(self, x):
            return None

    network = Named()
    listener = AttentionListener(network, targets=1)
    listener.start()
    maps = listener.maps(X, network(X))
    assert (maps.layer, maps.grid) == ("features", network.feature_grid((3,)))
    assert torch.equal(maps.values[:, 0], SECOND)


@pytest.mark.parametrize("method", ["gradient", "occlusion", "cam"])
def test_methods_that_need_a_pass_of_their_own_say_so(method):
    network = Squares()
    listener = AttentionListener(network, method=method)
    listener.start()
    output = network(X)
    listener.stop()
    with pytest.raises(ValueError, match=f"^{method} cannot be read off a forward pass; call attention_maps$"):
        listener.maps(X, output)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "hirescan"}, "unknown attention method 'hirescan': did you mean 'hirescam'"),
        ({"layer": "feature"}, "^Squares has no layer 'feature'; did you mean 'features'"),
        ({}, "^Squares names no attention layer of its own; give layer; its last spatial layers: features, aside$"),
    ],
)
def test_what_cannot_be_listened_to_is_told_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        AttentionListener(Squares(), **options)
