"""Guided backpropagation, however a ReLU is written, against a network that is walked back by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from organcam.attention import attention_maps, gradcam, guided_gradcam

WRITTEN = {
    "functional": functional.relu,
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "functional in place": lambda x: functional.relu(x, inplace=True),
    "torch in place": torch.relu_,
    "method in place": lambda x: x.relu_(),
    "in place, result unused": lambda x: (x.relu_(), x)[1],
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0.0),
    "clip in place": lambda x: x.clip_(0),
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
}


class Network(nn.Module):
    def __init__(self, written):
        super().__init__()
        self.one, self.two, self.fc = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3), nn.Linear(3 * 16, 3)
        self.activation = WRITTEN[written]  # reused: two calls of one module

    def forward(self, x):
        x = self.activation(self.one(x))
        return self.fc(self.activation(self.two(x)).flatten(1)).tanh()


def make(written="functional"):
    torch.manual_seed(0)
    return Network(written).double()


def image():
    return torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def guided_by_hand(network, x, target):
    """Forward and backward written out; no autograd."""
    one = functional.conv2d(x, network.one.weight, network.one.bias)
    two = functional.conv2d(one.clamp_min(0), network.two.weight, network.two.bias)
    score = network.fc(two.clamp_min(0).flatten(1)).tanh()[:, target]
    gradient = (1 - score**2)[:, None] * network.fc.weight[target]
    gradient = gradient.reshape(two.shape)
    gradient = gradient.clamp_min(0) * (two > 0)
    gradient = functional.conv_transpose2d(gradient, network.two.weight)
    gradient = gradient.clamp_min(0) * (one > 0)
    return functional.conv_transpose2d(gradient, network.one.weight)


@pytest.mark.parametrize("written", WRITTEN)
def test_every_way_to_write_a_relu_is_guided(written):
    network, x = make(written), image()
    found = attention_maps(network, x, method="guided_backprop")
    assert found.values.shape == (2, 3, 8, 8)
    for target in range(3):
        expected = guided_by_hand(network, x, target).sum(1)
        torch.testing.assert_close(found.values[:, target], expected, rtol=0, atol=1e-12)
    plain = attention_maps(network, x, method="gradient").values
    assert (plain - found.values).abs().max() > 0.1 * plain.abs().max()


def test_other_clamps_are_left_alone():
    class Clamped(Network):
        def forward(self, x):
            return super().forward(x.clamp(-0.5, 0.5).clamp(max=0.4).clamp(min=-0.3))

    torch.manual_seed(0)
    network, x = Clamped("functional").double(), image()
    inside = (x > -0.3) & (x < 0.4)
    clamped = x.clamp(-0.3, 0.4)
    expected = (guided_by_hand(network, clamped, 1) * inside).sum(1)
    found = attention_maps(network, x, method="guided_backprop", targets=1).values[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", ["guided_backprop", "guided_gradcam"])
def test_networks_without_relus_are_refused_with_what_they_have(method):
    network = nn.Sequential(nn.Conv2d(2, 2, 3), nn.PReLU(), nn.GELU(), nn.Flatten(), nn.Linear(72, 2)).double()
    layer = "0" if method == "guided_gradcam" else None
    words = "is defined for ReLUs, and none ran in Sequential; its activations are GELU, PReLU; use gradient_x_input$"
    with pytest.raises(ValueError, match=words):
        attention_maps(network, image(), method=method, layer=layer)


def test_torchscript_is_refused():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.jit.trace(make().float(), image().float())

        def forward(self, x):
            return functional.relu(self.inner(x))

    words = "cannot reach the ReLUs of Outer: its part 'inner' is TorchScript"
    with pytest.raises(ValueError, match=words):
        attention_maps(Outer(), image().float(), method="guided_backprop")


@pytest.mark.parametrize("fail", [False, True])
def test_relus_are_their_own_again_afterwards(fail):
    network, x = make("module in place"), image()
    if fail:
        network.fc.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stopped")))
        with pytest.raises(RuntimeError, match="stopped"):
            attention_maps(network, x, method="guided_backprop")
        network.fc._forward_hooks.clear()
    else:
        attention_maps(network, x, method="guided_backprop")
    assert network.activation.inplace
    torch.testing.assert_close(
        attention_maps(network, x, method="gradient").values, attention_maps(make(), x, method="gradient").values
    )


def test_guided_gradcam_is_the_product_on_the_input():
    network, x = make(), image()
    found = attention_maps(network, x, method="guided_gradcam", layer="two")
    coarse = attention_maps(network, x, method="gradcam", layer="two").on_image()
    guided = attention_maps(network, x, method="guided_backprop").values
    torch.testing.assert_close(found.values, coarse.clamp_min(0) * guided, rtol=0, atol=1e-14)
    torch.testing.assert_close(found.values, guided_gradcam(coarse, guided), rtol=0, atol=0)
    assert found.layer == "two"
    assert gradcam is not guided_gradcam


@pytest.mark.parametrize("method", ["gradient", "gradient_x_input", "guided_backprop"])
def test_maps_of_the_input_carry_gradients_on_request(method):
    network, x = make(), image()

    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.given = network, {}

        def forward(self, x):
            return torch.func.functional_call(self.inner, self.given, (x,))

    bound = Bound()

    def loss(weight):
        bound.given = {**dict(network.named_parameters()), "two.weight": weight}
        maps = attention_maps(bound, x, method=method, targets=[0, 2], create_graph=True)
        return maps.values.square().sum() + maps.logits.sum()

    assert torch.autograd.gradcheck(loss, [network.two.weight.detach().clone().requires_grad_()])


def test_gradient_is_autograds_own():
    network, x = make(), image().requires_grad_()
    expected = torch.autograd.grad(network(x)[:, 2].sum(), x)[0]
    torch.testing.assert_close(attention_maps(network, x, method="gradient", targets=2).values[:, 0], expected.sum(1))
    product = attention_maps(network, x, method="gradient_x_input", targets=2).values[:, 0]
    torch.testing.assert_close(product, (expected * x.detach()).sum(1))
    assert x.grad is None
