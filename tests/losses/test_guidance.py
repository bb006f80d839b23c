import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from organcam.attention import attention_maps
from organcam.losses import ClassAndMaskLoss, EnergyLoss, L1Loss, MaskLoss, energy_loss, l1_loss

ALL = torch.ones(1, 1)


def row(*values):
    return torch.tensor([[values]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("attention", "allowed", "energy", "l1"),
    [
        (row(3, 1, -5), row(1, 0, 0), 1 / 4, (0 + 1 / 3 + 0) / 3),
        (row(3, 1, 2), row(1, 1, 1), 0, (0 + 2 / 3 + 1 / 3) / 3),
        (row(3, 1, 2), row(0, 0, 0), 1, (1 + 1 / 3 + 2 / 3) / 3),
        (row(2, 2, 0), row(1, 1, 0), 0, 0),
        (row(0, 0, 0), row(1, 0, 0), 0, 1 / 3),
        (row(-1, -2, 0), row(1, 0, 0), 0, 1 / 3),
    ],
)
def test_by_hand(attention, allowed, energy, l1):
    assert energy_loss(attention, allowed, ALL).item() == pytest.approx(energy)
    assert l1_loss(attention, allowed, ALL).item() == pytest.approx(l1)


def test_mean_over_present_labels_and_absent_ones_take_no_part():
    attention = torch.tensor([[[1.0, 3.0], [9.0, 9.0]], [[1.0, 1.0], [4.0, 0.0]]], requires_grad=True)
    allowed = torch.tensor([[[1, 0], [0, 0]], [[0, 1], [1, 0]]])
    labels = torch.tensor([[1, 0], [1, 1]])
    loss = energy_loss(attention, allowed, labels)
    assert loss.item() == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    loss.backward()
    assert attention.grad[0, 1].tolist() == [0, 0]
    # d/da of 1 - inside / total: inside cells -outside / total^2, outside cells inside / total^2, over 3 labels
    torch.testing.assert_close(attention.grad[0, 0], torch.tensor([-3 / 16, 1 / 16]) / 3)


@pytest.mark.parametrize("loss", [energy_loss, l1_loss])
def test_nothing_to_guide_is_zero_with_finite_gradients(loss):
    attention = torch.tensor([[[1.0, -2.0]], [[-1.0, -1.0]]], requires_grad=True)
    allowed = torch.tensor([[[1, 0]], [[1, 0]]])
    nobody = loss(attention, allowed, torch.zeros(2, 1))
    nobody.backward()
    assert nobody.item() == 0
    dark = loss(attention, allowed, torch.tensor([[0], [1]]))
    dark.backward()
    assert attention.grad.isfinite().all()


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 100))
def test_neither_depends_on_the_scale_nor_on_negative_attention(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    attention = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    allowed = torch.rand(2, 3, 4, 5, generator=generator) < 0.5
    labels = torch.ones(2, 3)
    for loss in (energy_loss, l1_loss):
        value = loss(attention, allowed, labels)
        assert 0 <= value <= 1
        torch.testing.assert_close(loss(attention * scale, allowed, labels), value)
        torch.testing.assert_close(loss(attention.clamp_min(0), allowed, labels), value)


@pytest.mark.parametrize(("module", "expected"), [(EnergyLoss(), 1 / 4), (L1Loss(), (0 + 1 / 3 + 0) / 3)])
def test_modules_take_the_place_of_the_mask_loss(module, expected):
    prediction = {"logits": torch.zeros(1, 1), "attention": torch.tensor([[[3.0, 1.0, -5.0]]])}
    target = {"label": torch.ones(1, 1), "allowed": torch.tensor([[[1, 0, 0]]])}
    loss = ClassAndMaskLoss(module, weight=2.0)
    assert loss.parts(prediction, target)["mask"].item() == pytest.approx(expected)
    assert loss(prediction, target).item() == pytest.approx(math.log(2) + 2 * expected)


@pytest.mark.parametrize("loss", [energy_loss, l1_loss])
def test_unknown_labels_are_refused_and_present_is_above_a_half(loss):
    attention, allowed = torch.tensor([[[1.0, 3.0]] * 3]), torch.tensor([[[1, 0]] * 3])
    of_one = loss(attention[:, :1], allowed[:, :1], ALL)
    torch.testing.assert_close(loss(attention, allowed, torch.tensor([[0.5, 0.51, 0.2]])), of_one)
    with pytest.raises(ValueError, match=r"labels hold NaN \(1 of 3\)"):
        loss(attention, allowed, torch.tensor([[1.0, float("nan"), 0.0]]))


def test_half_precision_is_summed_in_single():
    attention = torch.full((1, 1, 100_000), 1.0, dtype=torch.float16)  # sums to more than float16 can hold
    allowed = torch.zeros(1, 1, 100_000)
    allowed[..., :25_000] = 1
    assert energy_loss(attention, allowed, ALL).item() == pytest.approx(0.75)


@pytest.mark.parametrize("loss", [energy_loss, l1_loss])
def test_shapes_are_checked(loss):
    with pytest.raises(ValueError, match=r"got \[1, 1, 3\], \[1, 1, 2\] and \[1, 1\]"):
        loss(torch.zeros(1, 1, 3), torch.zeros(1, 1, 2), ALL)


class _Gated(nn.Module):
    """Two convolutions and a head that is not linear in them: no closed form of its attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 36, 5), nn.Tanh(), nn.Linear(5, 2))
        self.double()

    def forward(self, x):
        return self.head(self.conv(x).relu())


class _Pooled(nn.Module):
    """Global average pooling and one linear layer: all maps in closed form."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 2)
        self.double()

    def forward(self, x):
        return self.fc(self.pool(self.relu(self.conv(x))).flatten(1))


@pytest.mark.parametrize("loss", [EnergyLoss(), L1Loss(), MaskLoss()])
@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
@pytest.mark.parametrize(("network", "layer"), [(_Gated(), "conv"), (_Pooled(), None)])
def test_every_loss_goes_through_maps_of_any_network(loss, method, network, layer):
    """Slopes of the loss by autograd, through the gradients that the maps are made of, are those of small steps."""
    x = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    allowed = torch.zeros(2, 2, 6, 6)
    allowed[..., :3] = 1

    def value():
        maps = attention_maps(network, x, method=method, layer=layer, create_graph=True).values
        return loss(maps, allowed, labels)

    network.zero_grad()
    value().backward()
    for weight in (network.conv.weight, next(iter((network.head[3] if layer else network.fc).parameters()))):
        place = (0,) * weight.ndim
        step, base = 1e-6, weight.data[place].item()
        ends = []
        for sign in (1, -1):
            weight.data[place] = base + sign * step
            ends.append(value().item())
        weight.data[place] = base
        assert weight.grad[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)
    assert any(parameter.grad.abs().sum() > 0 for parameter in network.conv.parameters())
