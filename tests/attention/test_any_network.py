"""Networks as MONAI users have them: several inputs, dictionaries, segmentation, own classes by item, many layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional

from organcam.attention import (
    METHODS,
    SegmentationTarget,
    attention_by_method,
    attention_maps,
    read_attention,
    scan_attention,
    write_attention,
)
from organcam.attention.targets import parse_targets, scores_of
from organcam.networks import AxialNet

LAYER_METHODS = ("hirescam", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam")


class Plain(nn.Module):
    """Two convolutions and a head that is not linear."""

    def __init__(self, classes=4):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.fc = nn.Linear(5 * 9, classes)

    def forward(self, x):
        x = functional.relu(self.first(x))
        x = functional.relu(self.second(x))
        return self.fc(x.flatten(1)).tanh()


def plain():
    torch.manual_seed(0)
    return Plain().double()


def images(batch=3):
    return torch.randn(batch, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("targets", [[[2], [0], [3]], torch.tensor([[2], [0], [3]]), [(2,), (0,), (3,)]])
def test_every_item_with_its_own_class(targets):
    network, x = plain(), images()
    everything = attention_maps(network, x, layer="second")
    own = attention_maps(network, x, layer="second", targets=targets)
    assert own.targets == ((2,), (0,), (3,))
    for item, target in enumerate((2, 0, 3)):
        torch.testing.assert_close(own.values[item, 0], everything.values[item, target], rtol=0, atol=1e-14)
        assert own.logits[item, 0] == everything.logits[item, target]


def test_a_function_of_the_output_as_target():
    network, x = plain(), images()
    everything = attention_maps(network, x, layer="second")
    difference = attention_maps(network, x, layer="second", targets=lambda logits: logits[:, 1] - logits[:, 0])
    expected = everything.values[:, 1] - everything.values[:, 0]
    torch.testing.assert_close(difference.values[:, 0], expected, rtol=0, atol=1e-14)
    two = attention_maps(network, x, layer="second", targets=lambda logits: logits[:, 2:])
    torch.testing.assert_close(two.values, everything.values[:, 2:], rtol=0, atol=1e-14)


def test_several_layers_from_one_pass():
    network, x, runs = plain(), images(), []
    attention_maps(network, x, layer=["first", "second"])  # where their cells lie is found out once
    network.first.register_forward_hook(lambda *_: runs.append(1))
    found = attention_maps(network, x, layer=["first", network.second], method="gradcam")
    assert len(runs) == 1
    assert list(found) == ["first", "second"]
    for name, maps in found.items():
        alone = attention_maps(network, x, layer=name, method="gradcam")
        torch.testing.assert_close(maps.values, alone.values, rtol=0, atol=1e-14)
        assert (maps.layer, maps.grid) == (name, alone.grid)


class TwoInputs(Plain):
    """An image, a second one that is added, and numbers of a table."""

    def forward(self, x, other, numbers=None):
        logits = super().forward(x + other)
        return logits if numbers is None else logits + numbers.sum(1, keepdim=True)


def two_inputs():
    torch.manual_seed(0)
    return TwoInputs().double()


@pytest.mark.parametrize("method", sorted(set(METHODS.names()) - {"cam"}))
def test_several_inputs_in_a_row_or_by_name(method):
    x, other = images(2), images(4)[2:]
    layer = None if method in {"gradient", "guided_backprop", "occlusion", "gradient_x_input"} else "second"
    options = {"method": method, "layer": layer, "targets": [1, 3]}
    rows = attention_maps(two_inputs(), (x, other), **options)
    named = attention_maps(two_inputs(), {"x": x, "other": other}, **options)
    assert torch.equal(rows.values, named.values)
    assert rows.grid == named.grid is not None
    if method in {"hirescam", "gradient"}:  # of the sum of both images a single-input network says the same
        single = attention_maps(plain(), x + other, **options)
        torch.testing.assert_close(rows.values, single.values, rtol=0, atol=1e-14)
        assert rows.grid == single.grid


def test_values_that_are_no_tensors_go_along():
    found = attention_maps(two_inputs(), {"x": images(2), "other": images(2), "numbers": None}, layer="second")
    assert found.values.shape == (2, 4, 3, 3)


@pytest.mark.parametrize("pack", [lambda y: {"pred": y}, lambda y: {"scores": y}, lambda y: {"logits": y, "aux": 1}])
def test_dictionaries_by_their_usual_names_or_their_only_entry(pack):
    class Packed(Plain):
        def forward(self, x):
            return pack(super().forward(x))

    torch.manual_seed(0)
    found = attention_maps(Packed().double(), images(), layer="second")
    assert torch.equal(found.values, attention_maps(plain(), images(), layer="second").values)


def test_a_dictionary_of_unknown_names_is_refused_with_them_and_read_by_a_function():
    class Packed(Plain):
        def forward(self, x):
            return {"age": x, "findings": super().forward(x)}

    torch.manual_seed(0)
    network = Packed().double()
    with pytest.raises(ValueError, match="got dict with age, findings; or give targets as a function of that output"):
        attention_maps(network, images(), layer="second")
    found = attention_maps(network, images(), layer="second", targets=lambda output: output["findings"])
    assert torch.equal(found.values, attention_maps(plain(), images(), layer="second").values)


class OneScore(Plain):
    def forward(self, x):
        return super().forward(x)[:, 0]


def test_a_single_score_without_an_axis():
    torch.manual_seed(0)
    found = attention_maps(OneScore().double(), images(), layer="second")
    assert torch.equal(found.values, attention_maps(plain(), images(), layer="second", targets=0).values)


# segmentation


def unet(dims=3):
    torch.manual_seed(0)
    return UNet(dims, 1, 3, (4, 8), (2,), num_res_units=1, act="relu", norm=None).double().eval()


def volume(batch=2):
    return torch.randn(batch, 1, 8, 8, 10, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


LAYER = "model.1.submodule"


def by_hand(network, x, weight_of):
    """HiResCAM of the bottom layer by backward(), score = sum of logits times a given weight."""
    kept = []
    handle = network.get_submodule(LAYER).register_forward_hook(
        lambda _m, _i, out: (out.retain_grad(), kept.append(out))[0]
    )
    logits = network(x)
    handle.remove()
    (logits * weight_of(logits.detach())).sum().backward()
    return (kept[0].grad * kept[0]).sum(1).detach()


def test_a_class_within_its_own_prediction_is_the_default():
    network, x = unet(), volume()
    found = attention_maps(network, x, layer=LAYER)
    assert found.values.shape == (2, 3, 4, 4, 5)
    winner = network(x).argmax(1)
    for label in range(3):
        expected = by_hand(
            network, x, lambda y, label=label: functional.one_hot(winner, 3).movedim(-1, 1) * _only(y, label)
        )
        torch.testing.assert_close(found.values[:, label], expected, rtol=0, atol=1e-10)
    inside = torch.stack([(network(x)[:, label] * (winner == label)).flatten(1).sum(1) for label in range(3)], dim=1)
    torch.testing.assert_close(found.logits, inside.detach(), rtol=0, atol=1e-10)


def _only(y, label):
    mask = torch.zeros_like(y)
    mask[:, label] = 1
    return mask


@pytest.mark.parametrize("form", ["item", "class", "shared"])
def test_a_class_within_a_mask(form):
    network, x = unet(), volume()
    mask = torch.rand(2, 1, 8, 8, 10, generator=torch.Generator().manual_seed(4)) > 0.7
    mask = mask[:1].expand(2, -1, -1, -1, -1) if form == "shared" else mask
    given = {"item": mask[:, 0], "class": mask, "shared": mask[0, 0]}[form]
    found = attention_maps(network, x, layer=LAYER, targets=SegmentationTarget(1, within=given))
    torch.testing.assert_close(
        found.values[:, 0], by_hand(network, x, lambda y: mask * _only(y, 1)), rtol=0, atol=1e-10
    )


def test_a_class_at_one_voxel():
    network, x = unet(), volume()
    found = attention_maps(network, x, layer=LAYER, targets=SegmentationTarget([2], within=(1, 2, 3)))

    def weight(y):
        mask = torch.zeros_like(y)
        mask[:, 2, 1, 2, 3] = 1
        return mask

    torch.testing.assert_close(found.values[:, 0], by_hand(network, x, weight), rtol=0, atol=1e-10)


def test_classes_everywhere_or_where_they_are_positive():
    logits = torch.tensor([[[[3.0, -1.0]], [[1.0, 4.0]]]])
    assert scores_of(logits, SegmentationTarget(within="everywhere"), 1).scores.tolist() == [[2, 5]]
    assert scores_of(logits, SegmentationTarget(within="positive"), 1).scores.tolist() == [[3, 5]]
    assert scores_of(logits, None, 1).scores.tolist() == [[3, 4]]
    assert scores_of(logits[:, :1], None, 1).scores.tolist() == [[3]]  # a single output is predicted where positive


def test_every_item_of_a_segmentation_with_its_own_class():
    network, x = unet(), volume()
    everything = attention_maps(network, x, layer=LAYER)
    own = attention_maps(network, x, layer=LAYER, targets=[[2], [0]])
    expected = torch.stack([everything.values[0, 2], everything.values[1, 0]])
    torch.testing.assert_close(own.values[:, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", sorted(set(METHODS.names()) - {"cam"}))
def test_every_method_on_a_segmentation_network(method):
    layer = LAYER if method in {*LAYER_METHODS, "guided_gradcam"} else None
    found = attention_maps(unet(2), volume()[:, :, 0], method=method, layer=LAYER if layer else None, targets=[1])
    assert found.values.shape[:2] == (2, 1)
    assert found.grid.shape == tuple(found.values.shape[2:])
    assert found.values.abs().sum() > 0


def test_occlusion_keeps_the_voxels_that_were_predicted():
    """Covering the input moves the prediction; the score must stay that of the same voxels."""
    network, x = unet(2), volume()[:, :, 0]
    winner = network(x).argmax(1)
    mask = (winner == 1)[:, None]
    expected = attention_maps(network, x, method="occlusion", targets=SegmentationTarget(1, within=mask))
    found = attention_maps(network, x, method="occlusion", targets=1)
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (SegmentationTarget(3), "target 3 is out of range; the network has outputs 0 to 2"),
        (SegmentationTarget(within="predicted"), "unknown within 'predicted' .*: did you mean 'prediction'"),
        (SegmentationTarget(within=(8, 0, 0)), r"voxel \(8, 0, 0\) does not lie .* the last one is \(7, 7, 9\)"),
        (SegmentationTarget(within=(1, 2)), r"voxel \(1, 2\) does not lie in the network's output of \(8, 8, 10\)"),
        (
            SegmentationTarget(within=torch.ones(2, 8, 10, 8)),
            r"shape \[2, 8, 10, 8\]; the network's output asks for one of \[8, 8, 10\], \[2, 8, 8, 10\]",
        ),
        (SegmentationTarget(within=torch.full((8, 8, 10), 2.0)), "must be 0 and 1, got 2.0 to 2.0"),
    ],
    ids=str,
)
def test_targets_of_a_segmentation_that_do_not_fit(target, words):
    with pytest.raises(ValueError, match=words):
        attention_maps(unet(), volume(), layer=LAYER, targets=target)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([[1], [2, 3], [0]], "lists of the same length, got lists of 1, 2, 1"),
        ([[1], [2]], "targets by item need 3 lists of the same length, got lists of 1, 1"),
        ([[1], [4], [0]], "target 4 is out of range; the network has outputs 0 to 3"),
        (SegmentationTarget(1), r"a SegmentationTarget needs an output \[B, M, \*voxels\], the network gave \[3, 4\]"),
        (lambda y: y.sum(), r"must give scores \[B\] or \[B, M\] for 3 inputs, got \[\]"),
        (lambda y: 3, "for 3 inputs, got int"),
    ],
)
def test_targets_that_do_not_fit(targets, words):
    with pytest.raises(ValueError, match=words):
        attention_maps(plain(), images(), layer="second", targets=targets)


def test_rows_of_targets():
    assert parse_targets([[1, 0], [2, 2]], 3, 2) == ((1, 0), (2, 2))
    assert parse_targets(np.array([[1], [2]]), 3, 2) == ((1,), (2,))


# axes, upsampling, cells


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda x: x.movedim(1, -1),
            r"takes \[B, 1, D, H, W\], got \[2, 8, 8, 10, 1\]; the channels are last: give inputs.mov",
        ),
        (lambda x: x[:, 0], r"got \[2, 8, 8, 10\]; the channel axis is missing: give inputs\[:, None\]"),
        (lambda x: x[0], r"got \[1, 8, 8, 10\]; the batch axis is missing: give inputs\[None\]"),
        (lambda x: x.movedim(1, 2), r"the channels are on axis 2: give inputs.movedim\(2, 1\)"),
        (lambda x: x.expand(-1, 3, -1, -1, -1), "axis 1 must hold 1 channels"),
    ],
)
def test_axes_in_another_order_are_told_in_one_sentence(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        attention_maps(unet(), change(volume()), layer=LAYER)
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_network_are_its_own():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep, self.first = nn.Conv2d(8, 1, 3), nn.Conv2d(1, 8, 3)  # not in the order in which they run

        def forward(self, x):
            self.deep(self.first(x))
            message = "no memory left"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="^no memory left$"):
        attention_maps(Broken().double(), images(), layer="first")


def test_upsampling_is_that_of_the_maps_and_of_one_target_alone():
    network, x = unet(), volume()
    small = attention_maps(network, x, layer=LAYER, targets=1)
    large = attention_maps(network, x, layer=LAYER, targets=1, upsample=True)
    assert large.values.shape == (2, 1, 8, 8, 10)
    assert torch.equal(large.values, small.on_image())
    assert large.grid.shape == (8, 8, 10)
    assert large.grid.stride == (1, 1, 1)
    other = attention_maps(network, x, layer=LAYER, targets=1, upsample=(16, 16, 20))
    assert torch.equal(other.values, small.on_image((16, 16, 20)))
    assert other.grid.offset == (-0.25, -0.25, -0.25)


def test_methods_of_the_input_can_be_brought_to_the_layers_cells():
    network, x = unet(), volume()
    names = sorted(set(METHODS.names()) - {"cam"})
    found = attention_by_method(network, x, methods=names, layer=LAYER, targets=[1], cells=True)
    assert {tuple(maps.values.shape) for maps in found.values()} == {(2, 1, 4, 4, 5)}
    assert len({maps.grid for maps in found.values()}) == 1
    fine = attention_maps(network, x, method="gradient_x_input", targets=[1]).values
    # cells of stride 2, centred on voxels 0, 2, 4: each takes the voxels from one before to its own
    grid = found["hirescam"].grid
    assert (grid.stride, grid.offset) == ((2, 2, 2), (0, 0, 0))
    summed = (
        functional.pad(fine, (1, 0, 1, 0, 1, 0))[..., :8, :8, :10]
        .unfold(2, 2, 2)
        .unfold(3, 2, 2)
        .unfold(4, 2, 2)
        .sum((5, 6, 7))
    )
    torch.testing.assert_close(found["gradient_x_input"].values, summed, rtol=0, atol=1e-12)


def test_meta_tensors_give_their_affine_and_plain_maps():
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    x = MetaTensor(volume(), affine=torch.from_numpy(affine))
    maps = attention_maps(unet(), x, layer=LAYER, targets=1)
    assert type(maps.values) is torch.Tensor
    assert maps.affines.shape == (2, 4, 4)
    np.testing.assert_array_equal(maps.affines[1], affine)


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_backward_passes_together_are_those_one_by_one(layer, chunk):
    network, x = plain(), images()
    together = attention_by_method(network, x, methods=LAYER_METHODS, layer=layer, chunk=chunk)
    alone = attention_by_method(network, x, methods=LAYER_METHODS, layer=layer, chunk=1)
    for method in LAYER_METHODS:
        torch.testing.assert_close(together[method].values, alone[method].values, rtol=0, atol=1e-13)


def test_an_operation_without_batched_gradients_is_explained_all_the_same():
    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return torch.from_numpy(gradient.numpy() * 2)  # numpy knows nothing of batches of gradients

    class Network(Plain):
        def forward(self, x):
            z = functional.relu(self.second(functional.relu(self.first(x))))
            return self.fc(Odd.apply(z).flatten(1)).tanh()

    torch.manual_seed(0)
    network = Network().double()
    together = attention_maps(network, images(), layer="second", chunk=4)
    torch.testing.assert_close(together.values, attention_maps(network, images(), layer="second", chunk=1).values)


def test_a_layer_beside_a_method_of_the_input_is_refused():
    with pytest.raises(
        ValueError, match="^gradient looks at the input, not at a layer; leave layer out, or use hirescam$"
    ):
        attention_maps(plain(), images(), method="gradient", layer="first")
    with pytest.raises(ValueError, match="chunk must be at least 1 target"):
        attention_maps(plain(), images(), layer="first", chunk=0)
    with pytest.raises(
        ValueError, match=r"need an input of floating point numbers, got torch.uint8; give inputs.float\(\)"
    ):
        attention_maps(plain(), torch.ones(1, 1, 6, 6, dtype=torch.uint8), method="gradient")


def slab_network():
    torch.manual_seed(0)
    return AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,)).double().eval()


@pytest.mark.parametrize("method", ["gradient", "gradient_x_input", "guided_backprop"])
def test_of_slabs_the_voxels_are_those_of_the_volume(method):
    network, x = slab_network(), torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    maps = attention_maps(network, x, method=method)
    assert maps.values.shape == (2, 2, 6, 16, 16)
    assert maps.grid.shape == maps.grid.input_shape == (6, 16, 16)
    if method == "gradient":
        x.requires_grad_()
        expected = torch.autograd.grad(network(x)[:, 1].sum(), x)[0]
        torch.testing.assert_close(maps.values[:, 1], expected.flatten(1, 2), rtol=0, atol=1e-14)


def test_every_method_of_a_slab_network_fits_into_one_file(tmp_path):
    network, x = slab_network(), torch.randn(1, 2, 3, 16, 16, dtype=torch.float64)
    found = attention_by_method(network, x, methods=sorted(set(METHODS.names()) - {"cam"}), cells=True)
    kept = scan_attention(found, 0, ("a", "b"))
    with (tmp_path / "scan.npz").open("wb") as stream:
        write_attention(stream, kept)
    again = read_attention(tmp_path / "scan.npz")
    assert set(again.maps) == set(METHODS.names()) - {"cam"}
    assert again.grid == network.feature_grid((6, 16, 16))
    assert all(values.shape == (2, *again.grid.shape) and values.any() for values in again.maps.values())
