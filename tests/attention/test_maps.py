import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import nn
from torch.nn import functional

from organcam.attention import attention_by_method, attention_maps, to_input_grid, unwrap
from organcam.networks import AxialNet

SIZE = (32, 48)
METHODS = ("hirescam", "gradcam")


def make(seed=0, labels=6, **options):
    torch.manual_seed(seed)
    return AxialNet(labels, backbone="small", input_shape=(3, *SIZE), **options).double().eval()


def scan(batch=2, slabs=3, seed=1):
    return torch.randn(batch, slabs, 3, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Volumetric(nn.Module):
    """A 3D network with in-place ReLU, dropout and two linear layers: no closed form."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(inplace=True), nn.Conv3d(4, 5, 2, stride=2)
        )
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(5 * 8, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 3))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.classifier(self.relu(self.features(x)))


def volumetric():
    torch.manual_seed(0)
    return Volumetric().double().eval()


def volumes(batch=2):
    return torch.randn(batch, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options", [{}, {"chunk": 2}, {"channels_last": True}, {"head": "none"}, {"pooling": "max"}], ids=str
)
def test_closed_form_is_the_backward_path(method, options):
    network = make(**options)
    layer = "backbone" if options.get("head") == "none" else "head"
    closed = attention_maps(network, scan(), method=method)
    walked = attention_maps(network, scan(), method=method, layer=layer)
    assert (closed.closed_form, walked.closed_form) == (True, False)
    assert closed.values.shape == (2, 6, *network.feature_grid((9, *SIZE)).shape)
    torch.testing.assert_close(walked.values, closed.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(walked.logits, closed.logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [None, "head"])
def test_completeness_hirescam_and_bias_sum_to_the_logit(layer):
    network = make()
    maps = attention_maps(network, scan(), method="hirescam", layer=layer)
    torch.testing.assert_close(maps.values.sum((2, 3, 4)) + network.fc.bias, maps.logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps.logits, network(scan()), rtol=0, atol=1e-12)
    gradcam = attention_maps(network, scan(), method="gradcam", layer=layer)
    assert (gradcam.values.sum((2, 3, 4)) + network.fc.bias - maps.logits).abs().max() > 1e-4


def test_deletion_zeroing_one_place_lowers_the_score_by_the_map_there():
    network = make()
    maps = attention_maps(network, scan(), method="hirescam").values
    gradcam = attention_maps(network, scan(), method="gradcam").values
    slab, row, column = 1, 2, 3
    place = (slice(None), slice(None), slab, row, column)

    def delete(_module, _inputs, output):
        output = output.clone()
        output.unflatten(0, (2, 3))[:, slab, :, row, column] = 0
        return output

    before = network(scan())
    network.head.register_forward_hook(delete)
    drop = before - network(scan())
    torch.testing.assert_close(drop, maps[place], rtol=0, atol=1e-12)
    assert (drop - gradcam[place]).abs().max() > 1e-5


def test_gradcam_turns_signs_that_hirescam_keeps():
    network = make()
    contribution = network(scan(), attention=True)["attention"]
    hirescam, gradcam = (attention_maps(network, scan(), method=method).values for method in METHODS)
    lit = contribution.abs() > 1e-9
    assert (hirescam.sign() == contribution.sign())[lit].all()
    assert (gradcam.sign() != contribution.sign())[lit].double().mean() > 0.2


def test_bias_leaves_the_map_alone():
    network = make()
    before = attention_maps(network, scan()).values
    with torch.no_grad():
        network.fc.bias += 100
    assert torch.equal(attention_maps(network, scan()).values, before)


def test_model_randomisation_changes_the_maps_at_every_step():
    # The cascade of Adebayo et al. 2018: from the last layer on, one part after the other gets other weights.
    network = make()
    first = previous = attention_maps(network, scan()).values
    torch.manual_seed(99)
    for part in ("fc", "head", "backbone"):
        for module in network.get_submodule(part).modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        maps = attention_maps(network, scan()).values
        assert (maps - previous).norm() > 0.05 * previous.norm()
        assert torch.corrcoef(torch.stack([first.flatten(), maps.flatten()]))[0, 1].abs() < 0.3
        previous = maps


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [None, "head", "backbone.layer1"])
def test_batch_equals_one_by_one(method, layer):
    network = make()
    together = attention_maps(network, scan(3), method=method, layer=layer).values
    alone = [attention_maps(network, one[None], method=method, layer=layer).values for one in scan(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [None, "head"])
def test_some_labels_are_those_of_all(layer):
    everything = attention_maps(make(), scan(), layer=layer)
    some = attention_maps(make(), scan(), targets=[4, 1], layer=layer)
    assert some.targets == (4, 1)
    torch.testing.assert_close(some.values, everything.values[:, [4, 1]])
    torch.testing.assert_close(some.logits, everything.logits[:, [4, 1]])
    assert everything.targets == (0, 1, 2, 3, 4, 5)
    assert attention_maps(make(), scan(), targets=[], layer=layer).values.shape == (2, 0, 3, 4, 6)


@pytest.mark.parametrize("layer", ["backbone", "backbone.layer2", "backbone.maxpool", "head.conv2"])
def test_deeper_layers_of_a_slab_wise_network_and_chunks(layer):
    whole = attention_maps(make(), scan(), layer=layer)
    chunked = attention_maps(make(chunk=2), scan(), layer=layer)
    assert whole.values.shape[:3] == (2, 6, 3)
    torch.testing.assert_close(chunked.values, whole.values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", [None, "head"])
def test_max_pooling_lights_one_slab(layer):
    network = make(pooling="max")
    maps = attention_maps(network, scan(), layer=layer)
    assert maps.closed_form == (layer is None)
    best = network.slab_scores(scan()).argmax(-1)
    energy = maps.values.abs().sum((3, 4))
    assert torch.equal(energy.argmax(-1), best)
    assert torch.equal(energy.count_nonzero(-1), torch.ones_like(best))
    torch.testing.assert_close(maps.values.sum((2, 3, 4)) + network.fc.bias, maps.logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", ["features.3", "features.1", "relu"])
def test_volumetric_network_against_plain_autograd(method, layer):
    network, x = volumetric(), volumes()
    maps = attention_maps(network, x, method=method, layer=layer)
    # Independent: the parts of the network by hand, whole graph, backward().
    parts = [*network.features[:2], functional.relu, network.features[3], functional.relu, network.classifier]
    cut = {"features.1": 2, "features.3": 4, "relu": 5}[layer]
    activation = x
    for part in parts[:cut]:
        activation = part(activation)
    activation = activation.detach().requires_grad_()
    logits = activation
    for part in parts[cut:]:
        logits = part(logits)
    for label in range(3):
        gradient = torch.autograd.grad(logits[:, label].sum(), activation, retain_graph=True)[0]
        if method == "gradcam":
            gradient = gradient.mean((2, 3, 4), keepdim=True).expand_as(activation)
        expected = (gradient * activation).sum(1)
        torch.testing.assert_close(maps.values[:, label], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(maps.logits, logits, rtol=0, atol=1e-12)


def _state(network):
    return {
        "grad": [None if p.grad is None else p.grad.clone() for p in network.parameters()],
        "requires_grad": [p.requires_grad for p in network.parameters()],
        "training": [m.training for m in network.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in network.modules()
        ],
        "inplace": [getattr(m, "inplace", None) for m in network.modules()],
        "buffers": [b.clone() for b in network.buffers()],
        "random": torch.get_rng_state(),
        "grad_mode": torch.is_grad_enabled(),
    }


def _same(before, after):
    for name in before:
        pairs = (
            zip(before[name], after[name], strict=True)
            if isinstance(before[name], list)
            else [(before[name], after[name])]
        )
        for old, new in pairs:
            assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new, name


class Broken(nn.Module):
    """Fails behind its target layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 2, 3).double()
        self.drop = nn.Dropout()

    def forward(self, x):
        torch.rand(3)
        self.conv(x)
        message = "no memory left"
        raise RuntimeError(message)


@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.parametrize("case", ["closed form", "gradients", "volumetric", "broken"])
def test_no_trace_is_left(case, grad_mode):
    network, x, layer = {
        "closed form": (make(), scan(), None),
        "gradients": (make(), scan(), "head"),
        "volumetric": (volumetric(), volumes(), "relu"),
        "broken": (Broken(), volumes(), "conv"),
    }[case]
    network.train()
    next(iter(network.children())).eval()  # a mixed state, as with a frozen part
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    with torch.set_grad_enabled(grad_mode):
        before = _state(network)
        if case == "broken":
            with pytest.raises(RuntimeError, match="no memory left"):
                attention_maps(network, x, layer=layer)
        else:
            attention_maps(network, x, layer=layer)
        _same(before, _state(network))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [None, "head"])
def test_frozen_no_grad_inference_training_and_autocast_are_no_obstacle(method, layer):
    expected = attention_maps(make(), scan(), method=method, layer=layer).values
    assert not expected.requires_grad
    frozen = make().requires_grad_(False)
    assert torch.equal(attention_maps(frozen, scan(), method=method, layer=layer).values, expected)
    with torch.no_grad():
        assert torch.equal(attention_maps(make(), scan(), method=method, layer=layer).values, expected)
    network, chunked = make(), make(chunk=2)
    with torch.inference_mode():
        assert torch.equal(attention_maps(network, scan() + 0, method=method, layer=layer).values, expected)
        torch.testing.assert_close(attention_maps(chunked, scan() + 0, method=method, layer=layer).values, expected)
    assert torch.equal(attention_maps(make().train(), scan(), method=method, layer=layer).values, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attention_maps(make(), scan(), method=method, layer=layer).values, expected)


@pytest.mark.parametrize("layer", [None, "head"])
def test_wrapped_networks_give_the_maps_of_the_network_within(layer):
    network = make()
    expected = attention_maps(network, scan(), layer=layer).values
    for wrapped in (nn.DataParallel(network), torch.compile(network), torch.compile(nn.DataParallel(network))):
        assert unwrap(wrapped) is network
        assert torch.equal(attention_maps(wrapped, scan(), layer=layer).values, expected)


@pytest.mark.parametrize("pack", [lambda logits: {"logits": logits}, lambda logits: (logits, None)])
def test_networks_may_return_more_than_logits(pack):
    class Packed(Volumetric):
        def forward(self, x):
            return pack(super().forward(x))

    torch.manual_seed(0)
    packed = Packed().double().eval()
    found = attention_maps(packed, volumes(), layer="relu").values
    assert torch.equal(found, attention_maps(volumetric(), volumes(), layer="relu").values)


def test_meta_tensor_gives_plain_tensors():
    maps = attention_maps(make(), MetaTensor(scan(), affine=np.eye(4)))
    assert type(maps.values) is torch.Tensor
    assert torch.equal(maps.values, attention_maps(make(), scan()).values)


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv3d(1, 1, 1), nn.ReLU(), nn.Linear(64, 2)

    def forward(self, x):
        return self.fc(self.relu(self.conv(self.relu(x))).flatten(1))


@pytest.mark.parametrize(
    ("network", "x", "arguments", "words"),
    [
        (make(), scan(), {"method": "hirescan"}, "did you mean 'hirescam'"),
        (make(), scan(), {"targets": [6]}, "target 6 is out of range; the network has outputs 0 to 5"),
        (make(), scan(), {"targets": [-1], "layer": "head"}, "target -1 is out of range"),
        (
            make(),
            scan(),
            {"layer": "heads"},
            r"^AxialNet has no layer 'heads'; did you mean 'head'(, '[\w.]+')*( or '[\w.]+')?\?$",
        ),
        (make(), scan(), {"layer": "fc"}, None),
        (
            volumetric(),
            volumes(),
            {},
            "names no attention layer .* give layer; its last spatial layers: features.0, features.1, features.3$",
        ),
        (
            volumetric(),
            volumes(),
            {"layer": "unused"},
            "'unused' did not run in this forward pass; choose one that does; its last spatial layers: features.0, ",
        ),
        (
            volumetric(),
            volumes(),
            {"layer": "classifier.1"},
            r"gives \[2, 7\] for inputs \[2, 1, 4, 4, 4\], which is no map",
        ),
        (Reused().double(), volumes(), {"layer": "relu"}, "'relu' runs 2 times"),
        (
            nn.Sequential(nn.Conv3d(1, 1, 1), nn.Flatten(0)).double(),
            volumes(),
            {"layer": "0"},
            r"needs logits \[B, M\]",
        ),
    ],
)
def test_what_is_wrong_is_said(network, x, arguments, words):
    if words is None:  # the linear layer itself is a legal, if pointless, target: one place per slab
        assert attention_maps(network, x, **arguments).values.shape == (2, 6, 3, 1, 1)
        return
    with pytest.raises(ValueError, match=words):
        attention_maps(network, x, **arguments)


def test_layer_that_does_not_reach_the_logits():
    class Side(Volumetric):
        def forward(self, x):
            self.features(x)
            return x.flatten(1)[:, :3]

    with pytest.raises(
        ValueError,
        match="do not depend on layer 'features'; choose another layer; its last spatial layers: features.0, ",
    ):
        attention_maps(Side().double(), volumes(), layer="features")


def test_real_scan(shared_data):
    image = nibabel.load(shared_data / "lung_pet_ct_dx" / "A0002.nii.gz")
    hu = np.asarray(image.dataobj, dtype=np.float32)
    volume = np.moveaxis(hu[::8, ::8, :], 2, 0)
    volume = volume[: len(volume) // 3 * 3, : volume.shape[1] // 8 * 8, : volume.shape[2] // 8 * 8]
    D, H, W = volume.shape
    x = torch.from_numpy((np.clip(volume, -1000, 800) + 1000) / 1800 - 0.449).reshape(1, D // 3, 3, H, W)
    torch.manual_seed(0)
    network = AxialNet(3, backbone="small", input_shape=(D, H, W), head_channels=(32, 16), head_kernel=1)
    maps = attention_maps(network, x)
    torch.testing.assert_close(maps.values.sum((2, 3, 4)) + network.fc.bias, maps.logits, rtol=0, atol=1e-5)
    fine = to_input_grid(maps.values[0, 0], network.feature_grid((D, H, W)))
    assert fine.shape == volume.shape
    assert fine.isfinite().all()
    assert fine.abs().max() <= maps.values[0, 0].abs().max() * (1 + 1e-5)
    assert fine.std() > 0


@pytest.mark.parametrize("layer", [None, "head"])
def test_several_methods_share_one_forward_pass(layer):
    network, x, runs = make(), scan(), []
    attention_maps(network, x)  # the first time its closed form is checked, by one pass more
    handle = network.backbone.register_forward_hook(lambda *_: runs.append(1))
    found = attention_by_method(network, x, methods=METHODS, layer=layer)
    handle.remove()
    assert len(runs) == 1
    assert tuple(found) == METHODS
    for method, maps in found.items():
        alone = attention_maps(network, x, method=method, layer=layer)
        torch.testing.assert_close(maps.values, alone.values, rtol=0, atol=0)
        torch.testing.assert_close(maps.logits, alone.logits, rtol=0, atol=0)
        assert maps.method == method
