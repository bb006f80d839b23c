"""One call of ``attention_maps`` from end to end, on networks whose maps can be written down."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn
from torch.nn import functional

from organcam.attention import LinearHead, SegmentationTarget, attention_by_method, attention_maps
from organcam.geometry import FeatureGrid, Layer, grid_of_layers

X = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, -1.0, 1.0, 0.0]])[None, None]
Z = torch.tensor([[2.0, 8.0], [1.0, 3.0]])[None, :, None]  # two features of one row of two cells
CELLS = FeatureGrid((1, 2), (2.0, 2.0), (0.5, 0.5), (2, 2), (2, 4))
VOXELS = FeatureGrid((2, 4), (1.0, 1.0), (0.0, 0.0), (1, 1), (2, 4))


class Blocks(nn.Module):
    """Of blocks of 2 x 2 pixels the sum, and the first pixel, behind a ReLU that stops nothing here.

    Scores: the sum of the squares of the first feature; ten times the sum of the second; minus five times that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features, self.act = nn.Conv2d(1, 2, 2, stride=2, bias=False), nn.ReLU()
        self.features.weight.data = torch.tensor([[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 0.0]]]])
        self.aside = nn.Conv2d(1, 1, 1)
        self.runs = 0

    def forward(self, x: Tensor, other: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        self.runs += 1
        z = self.act(self.features(x if other is None else x + other))
        second = z[:, 1].sum((1, 2))
        scores = torch.stack([z[:, 0].square().sum((1, 2)), 10 * second, -5 * second], dim=1)
        return scores if scale is None else scores * scale


BY_HAND = {
    "hirescam": [[[8, 128]], [[10, 30]], [[-5, -15]]],
    "gradcam": [[[20, 80]], [[10, 30]], [[-5, -15]]],
    "layercam": [[[8, 128]], [[10, 30]], [[0, 0]]],
    # each cell's slope weighed by its share of the activation: (4 * 2 + 16 * 8) / 10
    "xgradcam": [[[27.2, 108.8]], [[10, 30]], [[-5, -15]]],
    "gradient": [
        [[4, 4, 16, 16], [4, 4, 16, 16]],
        [[10, 0, 10, 0], [0, 0, 0, 0]],
        [[-5, 0, -5, 0], [0, 0, 0, 0]],
    ],
    "gradient_x_input": [
        [[4, 8, 48, 64], [0, -4, 16, 0]],
        [[10, 0, 30, 0], [0, 0, 0, 0]],
        [[-5, 0, -15, 0], [0, 0, 0, 0]],
    ],
    "guided_backprop": [
        [[4, 4, 16, 16], [4, 4, 16, 16]],
        [[10, 0, 10, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ],
    # what is left of the squares: 2^2 and 8^2 less each pixel
    "occlusion": [
        [[3, 4, 39, 48], [0, -5, 15, 0]],
        [[10, 0, 30, 0], [0, 0, 0, 0]],
        [[-5, 0, -15, 0], [0, 0, 0, 0]],
    ],
    # Grad-CAM lies on cells whose centres are at 0.5 and 2.5: a quarter and three quarters between them
    "guided_gradcam": [
        [[80, 140, 1040, 1280], [80, 140, 1040, 1280]],
        [[100, 0, 250, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ],
}
OF_LAYERS = {"hirescam", "gradcam", "layercam", "xgradcam", "guided_gradcam"}
SUMMED = {
    method: maps if np.shape(maps) == (3, 1, 2) else np.asarray(maps).reshape(3, 2, 2, 2).sum((1, 3))[:, None].tolist()
    for method, maps in BY_HAND.items()
}
"""The same on the layer's cells: the sum over each block."""


@pytest.mark.parametrize("method", BY_HAND)
def test_every_method_by_hand(method: str) -> None:
    network = Blocks()
    layer = "act" if method in OF_LAYERS else None
    maps = attention_maps(network, X, method=method, layer=layer)
    torch.testing.assert_close(maps.values[0], torch.tensor(BY_HAND[method], dtype=torch.float32))
    assert maps.logits.tolist() == [[68, 40, -20]]
    assert (maps.method, maps.targets, maps.closed_form) == (method, (0, 1, 2), False)
    assert maps.layer == (layer or "input")
    assert maps.grid == (VOXELS if np.shape(BY_HAND[method])[1:] == (2, 4) else CELLS)
    assert not maps.values.requires_grad
    assert not maps.logits.requires_grad


def test_all_methods_together_in_the_order_asked_for_and_on_the_same_cells() -> None:
    methods = sorted(BY_HAND, reverse=True)
    found = attention_by_method(Blocks(), X, methods=methods, layer="act", cells=True)
    assert list(found) == methods
    for method, maps in found.items():
        torch.testing.assert_close(maps.values[0], torch.tensor(SUMMED[method], dtype=torch.float32))
        assert maps.grid == CELLS
        assert maps.logits.tolist() == [[68, 40, -20]]
        assert maps.layer == ("act" if method in OF_LAYERS else "input")


def test_without_a_method_of_layers_the_named_layer_says_where_the_cells_are() -> None:
    found = attention_by_method(Blocks(), X, methods=["gradient"], layer="act", cells=True)
    assert list(found) == ["gradient"]
    assert found["gradient"].values[0].tolist() == SUMMED["gradient"]
    assert found["gradient"].grid == CELLS


def test_gradcam_is_made_for_guided_gradcam_and_not_given_unless_asked_for() -> None:
    assert list(attention_by_method(Blocks(), X, methods=["guided_gradcam"], layer="act")) == ["guided_gradcam"]
    both = attention_by_method(Blocks(), X, methods=["guided_gradcam", "gradcam"], layer="act")
    assert list(both) == ["guided_gradcam", "gradcam"]
    assert both["gradcam"].values[0].tolist() == BY_HAND["gradcam"]


def test_without_words_hirescam_and_gradcam() -> None:
    assert list(attention_by_method(Blocks(), X, layer="act")) == ["hirescam", "gradcam"]
    assert attention_maps(Blocks(), X, layer="act").method == "hirescam"


@pytest.mark.parametrize("method", ["hirescam", "gradient", "occlusion", "guided_gradcam"])
def test_some_targets_and_every_item_its_own(method: str) -> None:
    layer, x = ("act" if method in OF_LAYERS else None), torch.cat([X, 2 * X])
    everything = attention_maps(Blocks(), x, method=method, layer=layer)
    some = attention_maps(Blocks(), x, method=method, layer=layer, targets=[2, 0])
    assert some.targets == (2, 0)
    assert torch.equal(some.values, everything.values[:, [2, 0]])
    assert torch.equal(some.logits, everything.logits[:, [2, 0]])
    own = attention_maps(Blocks(), x, method=method, layer=layer, targets=[[1], [0]])
    assert own.targets == ((1,), (0,))
    assert torch.equal(own.values[0, 0], everything.values[0, 1])
    assert torch.equal(own.values[1, 0], everything.values[1, 0])
    none = attention_maps(Blocks(), x, method=method, layer=layer, targets=[])
    assert none.values.shape == (2, 0, *everything.values.shape[2:])


@pytest.mark.parametrize("method", ["hirescam", "gradient", "occlusion", "guided_gradcam"])
def test_several_inputs(method: str) -> None:
    layer = "act" if method in OF_LAYERS else None
    half = X / 2
    expected = attention_maps(Blocks(), X, method=method, layer=layer)
    for given in ((half, half, torch.tensor(1.0)), {"x": half, "other": half, "scale": None}):
        maps = attention_maps(Blocks(), given, method=method, layer=layer)
        assert maps.grid == expected.grid
        assert torch.equal(maps.logits, expected.logits)
        if method in {"hirescam", "gradient"}:  # the others depend on the first input alone
            assert torch.equal(maps.values, expected.values)


def test_several_layers_are_explained_by_one_pass_and_kept_apart() -> None:
    network = Blocks()
    attention_maps(network, X, layer=["features", "act"])  # where their cells lie is found out once
    network.runs = 0
    found = attention_maps(network, X, layer=("act", network.features), method="gradcam")
    assert network.runs == 1
    assert list(found) == ["act", "features"]
    for name, maps in found.items():
        assert (maps.layer, maps.grid) == (name, CELLS)
        assert maps.values[0].tolist() == BY_HAND["gradcam"]
    assert list(attention_maps(network, X, layer=["act"])) == ["act"]


@pytest.mark.parametrize(("chunk", "passes"), [(None, 1), (1, 3), (2, 2), (3, 1)])
@pytest.mark.parametrize("method", ["hirescam", "gradient"])
def test_targets_go_together_as_asked(chunk: int | None, passes: int, method: str) -> None:
    class Counted(Blocks):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            scores.register_hook(lambda _: seen.append(1))
            return scores

    seen: list[int] = []
    layer = "act" if method in OF_LAYERS else None
    maps = attention_maps(Counted(), X, method=method, layer=layer, chunk=chunk)
    assert maps.values[0].tolist() == BY_HAND[method]
    assert len(seen) == passes
    with pytest.raises(ValueError, match="^chunk must be at least 1 target"):
        attention_maps(Blocks(), X, layer=layer, method=method, chunk=0)


@pytest.mark.parametrize("method", ["hirescam", "gradient_x_input", "guided_gradcam"])
def test_with_a_graph_maps_lead_to_the_weights(method: str) -> None:
    network = Blocks().double()
    layer = "act" if method in OF_LAYERS else None
    maps = attention_maps(network, X.double(), method=method, layer=layer, create_graph=True)
    assert maps.values[0].tolist() == BY_HAND[method]
    maps.values[0, 1].sum().backward(retain_graph=True)
    # The score of target 1 is linear in the second feature's first weight, at pixels 1 and 3: 10 * 1 and 10 * 3
    if method != "guided_gradcam":
        assert network.features.weight.grad[1, 0, 0, 0] == 40
    assert network.features.weight.grad[1].abs().sum() > 0
    network.features.weight.grad = None
    maps.logits[0, 1].backward()
    assert network.features.weight.grad[1, 0].tolist() == [[40, 60], [10, -10]]


def test_occlusion_has_no_graph() -> None:
    with pytest.raises(ValueError, match="^occlusion has no gradient; use create_graph with another method, such as h"):
        attention_maps(Blocks(), X, method="occlusion", create_graph=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"layer": "aside"},
            "^layer 'aside' did not run in this forward pass; choose one that does; its last spatial layers: features, "
            "aside$",
        ),
        (
            {},
            "^Blocks names no attention layer of its own, and its last linear layer 'features' does not follow a "
            "feature map directly; give layer; its last spatial layers: features, aside$",
        ),
        (
            {"methods": ["gradient", "occlusion"], "layer": "act"},
            "^gradient and occlusion looks at the input, not at a layer; leave layer out, or use hirescam$",
        ),
        ({"methods": ["hires"]}, "unknown attention method 'hires': did you mean 'hirescam'"),
        (
            {"methods": ["cam"], "layer": "act"},
            "^cam needs a layer that global average pooling and one linear layer follow: its last linear layer "
            "'features' does not follow a feature map directly; use hirescam$",
        ),
        ({"methods": ["gradient"], "cells": True}, "^Blocks names no attention layer of its own, and its last linear"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        attention_by_method(Blocks(), X, **arguments)


def test_cells_without_places_are_left_out_or_refused() -> None:
    class Mirrored(Blocks):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + x.flip(-1))

    network = Mirrored()
    maps = attention_maps(network, X, layer="act")
    assert maps.grid is None
    words = "^the cells of layer 'act' have no regular places in the input; choose a layer that keeps them$"
    for methods in (["gradient"], ["hirescam", "gradient"]):
        with pytest.raises(ValueError, match=words):
            attention_by_method(network, X, methods=methods, layer="act", cells=True)


@pytest.mark.parametrize("methods", [["gradient", "gradient_x_input"], ["guided_backprop"]])
def test_whole_numbers_have_no_gradient(methods: list[str]) -> None:
    words = (
        f"^{' and '.join(methods)} need an input of floating point numbers, got torch.int64; give inputs.float\\(\\)$"
    )
    with pytest.raises(ValueError, match=words):
        attention_by_method(Blocks(), X.long(), methods=methods)


@pytest.mark.parametrize(
    ("act", "others"),
    [
        (nn.GELU(), "; its activations are GELU"),
        (nn.Sequential(nn.PReLU(), nn.ELU()), "; its activations are ELU, PReLU"),
        (nn.Identity(), ""),
    ],
)
def test_guided_methods_where_no_relu_ran(act: nn.Module, others: str) -> None:
    network = Blocks()
    network.act = act
    words = f"^guided_backprop is defined for ReLUs, and none ran in Blocks{others}; use gradient_x_input$"
    with pytest.raises(ValueError, match=words):
        attention_maps(network, X, method="guided_backprop")


def test_guided_backward_passes_go_one_by_one() -> None:
    """Batches of gradients do not pass the guided ReLU's own function of one gradient."""
    seen: list[int] = []

    class Counted(Blocks):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            scores.register_hook(lambda _: seen.append(1))
            return scores

    attention_maps(Counted(), X, method="guided_backprop", chunk=3)
    assert len(seen) == 3


class Slabs(nn.Module):
    """Slabs of two slices; the score is the sum of all voxels times their slice's number in the volume."""

    input_layout, input_shape, attention_layer, call_order = "slabs", (4, 2, 2), "same", "items"

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.arange(x.shape[1] * x.shape[2], dtype=x.dtype).view(x.shape[1], x.shape[2], 1, 1)
        return (self.same(x.flatten(0, 1)).unflatten(0, x.shape[:2]) * weights).sum((1, 2, 3, 4))[:, None]

    def feature_grid(self, input_shape: tuple[int, ...]) -> FeatureGrid:
        return FeatureGrid((2, 2, 2), (2.0, 1.0, 1.0), (0.5, 0.0, 0.0), (2, 1, 1), input_shape)

    def linear_head(self, x: Tensor) -> None:
        return None


@pytest.mark.parametrize("method", ["gradient", "gradient_x_input", "occlusion"])
def test_slabs_are_explained_slice_by_slice(method: str) -> None:
    x = torch.rand(2, 2, 2, 2, 2)
    maps = attention_maps(Slabs(), x, method=method)
    assert maps.grid == FeatureGrid((4, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 1, 1), (4, 2, 2))
    slices = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(2, 1, 4, 2, 2)
    expected = slices if method == "gradient" else slices * x.flatten(1, 2)[:, None]
    torch.testing.assert_close(maps.values, expected, atol=1e-5, rtol=1e-5)


# heads that give all maps at once

WEIGHT = torch.tensor([[2.0, 4.0], [-1.0, 0.0], [0.0, 6.0]])
BIAS = torch.tensor([0.5, 0.0, -1.0])


class Pooled(nn.Module):
    """The same features, averaged over the cells, and one linear layer; it does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.act, self.fc = Blocks().features, nn.ReLU(), nn.Linear(2, 3)
        self.fc.weight.data, self.fc.bias.data = WEIGHT.clone(), BIAS.clone()

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        z = self.act(self.features(x if other is None else x + other))
        return self.fc(z.mean((2, 3)))


class Declared(Pooled):
    """The same, and it says so, of the convolution: its ReLU stops nothing."""

    input_layout, input_shape, attention_layer, call_order = "volume", (2, 4), "features", "items"
    pooling = "mean"
    by_cell = False
    wrong = 1.0

    def feature_grid(self, input_shape: tuple[int, ...]) -> FeatureGrid:
        return grid_of_layers(input_shape, ([Layer(2, 2)], [Layer(2, 2)]))

    def linear_head(self, x: Tensor) -> LinearHead:
        weight = self.wrong * self.fc.weight
        weight = weight[:, :, None, None].expand(3, 2, 1, 2) / 2 if self.by_cell else weight
        return LinearHead(self.features(x), weight, self.fc.bias, self.pooling)


LINEAR = torch.einsum("mf,bfhw->bmhw", WEIGHT, Z) / 2


@pytest.mark.parametrize("kind", [Pooled, Declared])
@pytest.mark.parametrize("create_graph", [False, True])
def test_all_maps_of_a_linear_head_at_once(kind: type[Pooled], create_graph: bool) -> None:
    network = kind()
    maps = attention_maps(network, X, create_graph=create_graph)
    assert maps.closed_form
    assert (maps.layer, maps.grid) == ("features" if kind is Declared else "act", CELLS)
    torch.testing.assert_close(maps.values.detach(), LINEAR)
    torch.testing.assert_close(maps.logits.detach(), network(X).detach())
    assert maps.values.requires_grad == maps.logits.requires_grad == create_graph
    if create_graph:
        maps.values[0, 0].sum().backward()
        assert network.fc.weight.grad.tolist() == [[5, 2], [0, 0], [0, 0]]  # means of the features
        assert network.features.weight.grad[0, 0].tolist() == [[4, 6], [1, -1]]  # means of the pixels, times 2


@pytest.mark.parametrize("kind", [Pooled, Declared])
def test_other_methods_of_a_linear_head(kind: type[Pooled]) -> None:
    # the slope is half the weight at every cell; layercam takes the positive ones, and xgradcam is hirescam then
    expected = {
        "hirescam": LINEAR,
        "gradcam": LINEAR,
        "cam": 2 * LINEAR,
        "xgradcam": LINEAR,
        "layercam": torch.einsum("mf,bfhw->bmhw", WEIGHT.clamp_min(0), Z) / 2,
    }
    found = attention_by_method(kind(), X, methods=list(expected))
    assert list(found) == list(expected)
    for method, values in expected.items():
        assert found[method].closed_form
        torch.testing.assert_close(found[method].values, values)


@pytest.mark.parametrize("method", ["hirescam", "layercam"])
@pytest.mark.parametrize("targets", [[2, 0], [], [[1, 0], [2, 2]]])
def test_some_outputs_of_a_linear_head(method: str, targets: list) -> None:
    x = torch.cat([X, X.flip(-1)])
    everything = attention_maps(Pooled(), x, method=method)
    some = attention_maps(Pooled(), x, method=method, targets=targets)
    assert some.closed_form
    rows = targets if targets and isinstance(targets[0], list) else [targets] * 2
    for item, row in enumerate(rows):
        torch.testing.assert_close(some.values[item], everything.values[item, row])
        torch.testing.assert_close(some.logits[item], everything.logits[item, row])
    assert some.values.shape == (2, len(rows[0]), 1, 2)


@pytest.mark.parametrize("kind", [Pooled, Declared])
@pytest.mark.parametrize(
    ("targets", "weight"),
    [(lambda logits: logits[:, 0] - logits[:, 1], WEIGHT[0] - WEIGHT[1]), (lambda logits: logits[:, 2:], WEIGHT[2])],
    ids=["difference", "last"],
)
def test_functions_of_the_output_go_the_long_way(kind: type[Pooled], targets: object, weight: Tensor) -> None:
    maps = attention_maps(kind(), X, targets=targets)
    assert (maps.closed_form, maps.targets) == (False, (0,))
    torch.testing.assert_close(maps.values[0, 0], torch.einsum("f,fhw->hw", weight, Z[0]) / 2)


def test_a_segmentation_target_of_a_network_without_voxels_is_refused_all_the_same() -> None:
    with pytest.raises(ValueError, match="^a SegmentationTarget needs an output"):
        attention_maps(Pooled(), X, targets=SegmentationTarget(0))


def test_several_inputs_of_a_declared_network_are_explained_by_gradients() -> None:
    maps = attention_maps(Declared(), (X / 4, 3 * X / 4))
    assert (maps.closed_form, maps.layer, maps.grid) == (False, "features", CELLS)
    torch.testing.assert_close(maps.values, LINEAR)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_declaration_is_checked_before_it_is_believed(create_graph: bool) -> None:
    class Wrong(Declared):
        wrong = 1.01

    with pytest.raises(ValueError, match="^the linear_head that Wrong declares on 'features' is not what makes its"):
        attention_maps(Wrong(), X, create_graph=create_graph)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_item_that_goes_another_way_through_the_network_is_explained_by_gradients(dtype: torch.dtype) -> None:
    class Bent(Pooled):
        """Linear in dark images; in bright ones its first logit is bent."""

        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return logits * torch.tensor([1 + self.bend, 1, 1]).to(x) if float(x.mean()) > 2 else logits

    network = Bent().to(dtype)
    network.bend = 0.0
    assert attention_maps(network, X.to(dtype)).closed_form
    bright = X.to(dtype) * 4
    assert attention_maps(network, bright).closed_form
    network.bend = {torch.bfloat16: 0.02}.get(dtype, 3e-4)  # above what rounding may do
    maps = attention_maps(network, bright)
    assert not maps.closed_form
    assert torch.equal(maps.values, attention_maps(network, bright, layer="act").values)
    network.bend = {torch.bfloat16: 0.001}.get(dtype, 3e-5)
    assert attention_maps(network, bright).closed_form


@pytest.mark.parametrize(
    ("change", "layer", "words"),
    [
        ({}, None, None),
        ({}, "features", None),
        ({}, "act", "it is that of 'features' here; use hirescam$"),
        ({"by_cell": True}, None, "its network gives each cell a weight of its own, or takes a maximum; use hirescam$"),
    ],
)
def test_cam_of_a_declared_network(change: dict, layer: str | None, words: str | None) -> None:
    network = type("Declared", (Declared,), change)()
    if words is None:
        maps = attention_maps(network, X, method="cam", layer=layer)
        torch.testing.assert_close(maps.values, 2 * LINEAR)
        assert maps.closed_form == (layer is None)
        return
    words = "^cam needs a layer that global average pooling and one linear layer follow: " + words
    with pytest.raises(ValueError, match=words):
        attention_maps(network, X, method="cam", layer=layer)


def test_cam_of_several_inputs_is_that_of_the_network_as_it_is() -> None:
    maps = attention_maps(Pooled(), {"x": X / 4, "other": 3 * X / 4}, method="cam", layer="act")
    torch.testing.assert_close(maps.values, 2 * LINEAR)


def test_a_networks_own_head_is_found_once_for_a_shape() -> None:
    network, runs = Pooled(), []
    network.fc.register_forward_hook(lambda *_: runs.append(1))
    attention_maps(network, X)
    first = len(runs)
    attention_maps(network, 2 * X)
    assert len(runs) == first + 1


# what becomes of the maps


@pytest.mark.parametrize("layer", [None, "act"])
def test_on_the_voxels_of_the_input_or_of_an_image(layer: str | None) -> None:
    cells = attention_maps(Pooled(), X, layer=layer)
    for plain in (None, False):
        assert attention_maps(Pooled(), X, layer=layer, upsample=plain).values.shape == (1, 3, 1, 2)
    fine = attention_maps(Pooled(), X, layer=layer, upsample=True)
    # along the row: the cells' centres are at 0.5 and 2.5, voxels lie at 0, 1/4, 3/4 and 1 between them
    left, right = cells.values[..., :1], cells.values[..., 1:]
    row = torch.cat([left, left * 0.75 + right * 0.25, left * 0.25 + right * 0.75, right], -1)
    torch.testing.assert_close(fine.values, row.expand(-1, -1, 2, -1))
    assert (fine.grid, fine.closed_form, fine.layer) == (VOXELS, cells.closed_form, cells.layer)
    image = attention_maps(Pooled(), X, layer=layer, upsample=[4, 8])
    expected = functional.interpolate(cells.values, (4, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(image.values, expected)
    assert image.grid == FeatureGrid((4, 8), (0.5, 0.5), (-0.25, -0.25), (1, 1), (2, 4))


def test_where_the_input_lies_in_the_patient_goes_along() -> None:
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0])).double()
    image = MetaTensor(torch.rand(2, 1, 2, 4, 4), affine=affine)
    network = nn.Sequential(nn.Conv3d(1, 2, 2, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 1))
    maps = attention_maps(network, image)
    assert torch.equal(maps.affines, affine.expand(2, 4, 4))
    assert maps.image() is image
    assert type(maps.values) is Tensor
    assert attention_maps(network, image.as_tensor()).affines is None


def test_maps_and_logits_must_be_finite() -> None:
    class Rooted(Blocks):
        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.features(x)).sub(self.floor).abs().sqrt().sum((2, 3))[:, :1] / self.by

    network = Rooted()
    network.floor, network.by = 2.0, 1.0  # of the first cell's first feature: the slope of the root is infinite there
    with pytest.raises(ValueError, match="^the hirescam maps of layer 'act' hold NaN or infinity, first in item 0 of"):
        attention_maps(network, X, layer="act")
    network.floor, network.by = 0.5, 0.0
    with pytest.raises(ValueError, match="^the network's logits hold NaN or infinity, first in item 0 of the batch$"):
        attention_maps(network, X, layer="act")


def test_the_callers_tensors_are_not_changed() -> None:
    x = X.clone().requires_grad_()
    for method in BY_HAND:
        attention_maps(Blocks(), x, method=method, layer="act" if method in OF_LAYERS else None)
    assert x.grad is None
    assert x.is_leaf
    assert torch.equal(x, X)


def test_the_inputs_own_graph_is_kept_where_a_graph_is_asked_for() -> None:
    x = X.clone().requires_grad_()
    maps = attention_maps(Blocks(), x, method="gradient_x_input", create_graph=True)
    maps.values[0, 0].sum().backward()
    # of 2 (sum of the block) x summed over the block, which is twice the square of the sum: four times the sum
    assert x.grad[0, 0].tolist() == [[8, 8, 32, 32], [8, 8, 32, 32]]


def test_layers_are_told_from_methods_that_need_none() -> None:
    found = attention_by_method(Blocks(), X, methods=["hirescam", "gradient"], layer="act")
    assert [maps.layer for maps in found.values()] == ["act", "input"]
    with pytest.raises(ValueError, match=re.escape("gradient looks at the input, not at a layer")):
        attention_maps(Blocks(), X, method="gradient", layer="act")
