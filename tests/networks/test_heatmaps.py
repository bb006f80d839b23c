"""What every heatmap network has in common: PYLON, its rivals, in slabs, images and volumes."""

import pytest
import torch

from organcam.attention import attention_maps, contributions
from organcam.errors import ConfigError
from organcam.networks import BACKBONES, FPN, NETWORKS, PAN, CAMNetwork, DeepLabV3Plus, Li2018, Pylon, UNet

KINDS = {
    "pylon": (Pylon, {}),
    "pylon 0 ups": (Pylon, {"ups": 0}),
    "pylon without pyramid, gated": (Pylon, {"pyramid": False, "gate": True, "up_layers": 1}),
    "pylon with group norm and 3 x 3 head": (Pylon, {"norm": "group", "head_kernel": 3}),
    "cam": (CAMNetwork, {}),
    "li2018": (Li2018, {"cells": 5}),
    "fpn": (FPN, {}),
    "pan": (PAN, {}),
    "deeplabv3plus": (DeepLabV3Plus, {}),
    "unet": (UNet, {}),
}
POOLED = {name: kind for name, kind in KINDS.items() if name != "li2018"}


def make(name, **options):
    """A small network in float64, in evaluation mode, whose normalisation has something to do."""
    torch.manual_seed(0)
    kind, own = KINDS[name]
    network = kind(3, **{"backbone": "small", **own, **options}).double().eval()
    for key, buffer in network.named_buffers():
        if key.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    torch.nn.init.uniform_(network.head.bias, -1, 1)
    return network


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
@pytest.mark.parametrize("name", KINDS)
def test_slabs(name, size):
    network, x = make(name), noise(2, 3, 3, *size)
    with torch.no_grad():
        out, heatmap = network(x, attention=True), network.heatmap(x)
    assert network.input_layout == "slabs"
    assert heatmap.shape == (2, 3, *network.feature_grid((9, *size)).shape)
    torch.testing.assert_close(out["attention"] + network.head.bias.view(-1, 1, 1, 1), heatmap)
    assert torch.equal(out["logits"], network(x))
    assert torch.equal(out["logits"], network.pool(heatmap))
    for scan in range(2):  # one by one, and slab by slab
        torch.testing.assert_close(network(x[scan : scan + 1]), out["logits"][scan : scan + 1])
        torch.testing.assert_close(network.heatmap(x[scan]).transpose(0, 1), heatmap[scan])


@pytest.mark.parametrize("name", KINDS)
def test_volumes(name):
    network, x = make(name, spatial_dims=3, chunk=1), noise(2, 1, 17, 24, 30)
    with torch.no_grad():
        out = network(x, attention=True)
    assert network.input_layout == "volume"
    assert out["attention"].shape == (2, 3, *network.feature_grid((17, 24, 30)).shape)
    torch.testing.assert_close(network(x[:1]), out["logits"][:1])


@pytest.mark.parametrize("name", POOLED)
def test_the_largest_cell_is_the_logit(name):
    network, x = make(name), noise(2, 2, 3, 32, 48)
    torch.testing.assert_close(network(x), network.heatmap(x).flatten(2).amax(-1))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_li2018_takes_the_highest_slab_and_is_not_drowned_by_their_number(spatial_dims):
    network = make("li2018", cells=20, spatial_dims=spatial_dims)
    heatmap = noise(2, 3, 20, 20, 20)
    alone = torch.stack([network.pool(heatmap[:, :, plane]) for plane in range(20)])
    assert torch.equal(network.pool(heatmap), alone.amax(0))
    assert network.pool(torch.zeros(1, 1, 135, 20, 20)).item() == pytest.approx(4.002018, abs=1e-5)


@pytest.mark.parametrize("name", POOLED)
def test_closed_form_of_mean_pooling_sums_to_the_logit(name):
    network, x = make(name, pooling="mean"), noise(2, 2, 3, 32, 48)
    out, maps = network(x, attention=True), attention_maps(network, x)
    assert maps.closed_form
    torch.testing.assert_close(maps.values.flatten(2).sum(-1) + network.head.bias, out["logits"])
    head = network.linear_head(x)
    torch.testing.assert_close(head.logits(), out["logits"])
    torch.testing.assert_close(contributions(head.features, head.weight), out["attention"])


@pytest.mark.parametrize("name", ["pylon", "cam", "fpn", "deeplabv3plus"])
def test_closed_form_equals_gradients_of_the_named_layer(name):
    network, x = make(name, pooling="mean"), noise(2, 2, 3, 32, 48)
    for method in ("hirescam", "gradcam"):
        closed = attention_maps(network, x, method=method)
        by_gradients = attention_maps(network, x, method=method, layer=network.attention_layer)
        assert closed.closed_form
        assert not by_gradients.closed_form
        torch.testing.assert_close(closed.values, by_gradients.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_every_network_is_explained_by_gradients_too(name):
    network, x = make(name), noise(1, 2, 3, 32, 48)
    maps = attention_maps(network, x, layer=network.attention_layer)
    assert maps.values.shape == (1, 3, *network.feature_grid((6, 32, 48)).shape)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_reach_every_parameter_in_training_with_one_scan(name):
    network = make(name).train()
    out = network(noise(1, 2, 3, 32, 48), attention=True)
    (out["logits"].sum() + out["attention"].square().mean()).backward()
    without = [key for key, p in network.named_parameters() if p.grad is None]
    assert not without


def test_small_volume_with_batch_one_trains():
    # The published pyramid raises here: one value per channel at its top.
    network = make("pylon", spatial_dims=3).train()
    network(noise(1, 1, 32, 32, 32)).sum().backward()
    norm = network.decoder.pyramid.down3.norm
    make("pylon", spatial_dims=3, norm="group").train()(noise(1, 1, 32, 32, 32)).sum().backward()
    assert norm.num_batches_tracked == 0
    assert network.decoder.pyramid.mid.norm.num_batches_tracked == 1


@pytest.mark.parametrize("name", KINDS)
def test_chunks_change_nothing_in_evaluation(name):
    x = noise(2, 3, 3, 32, 48)
    torch.testing.assert_close(make(name, chunk=2)(x), make(name)(x))


@pytest.mark.parametrize("backbone", ["small", "resnet18", "densenet121"])
@pytest.mark.parametrize("name", ["cam", "pylon", "fpn", "unet"])
def test_a_spot_lights_the_cell_that_the_grid_says(name, backbone):
    # Positive weights and a positive spot: the heatmap's change is largest around the spot. Pyramid and laterals of the
    # coarser levels spread it, so the finest level alone is left to speak.
    network = make(name, backbone=backbone, **({"pyramid": False} if name == "pylon" else {}))
    finest_only(network)
    size, place = 192, (72, 120)
    grid = network.feature_grid((3, size, size))
    x = torch.full((1, 1, 3, size, size), 0.1, dtype=torch.float64, requires_grad=True)
    heatmap = network.heatmap(x)[0, 0, 0]
    cell = [round((place[axis] - grid.offset[axis + 1]) / grid.stride[axis + 1]) for axis in (0, 1)]
    (gradient,) = torch.autograd.grad(heatmap[cell[0], cell[1]], x)
    weights = gradient[0, 0].sum(0).abs()
    for axis in (0, 1):
        profile = weights.sum(1 - axis)
        centroid = (profile * torch.arange(size)).sum() / profile.sum()
        wanted = grid.centres(axis + 1)[cell[axis]]
        assert abs(centroid.item() - wanted) < 0.75 * grid.stride[axis + 1]


@torch.no_grad()
def finest_only(network):
    """Positive convolutions, normalisation that does nothing, and coarser levels silenced."""
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.fill_(1 / module.weight[0].numel())
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.reset_parameters()
    decoder = network.decoder
    if isinstance(network, Pylon):
        decoder.pyramid.conv.weight.zero_()
        for up in list(decoder.ups)[:-1]:
            up.lateral[-1].conv.weight.zero_()
    if isinstance(network, FPN):
        for lateral in list(decoder.laterals)[1:]:
            lateral.weight.zero_()
            lateral.bias.zero_()
    if isinstance(network, UNet):
        for block in list(decoder.blocks)[:-2]:
            block[1].conv.weight.zero_()


@pytest.mark.parametrize("name", ["cam", "deeplabv3plus"])
def test_dilated_backbone_has_its_published_stride(name):
    network = KINDS[name][0](2, backbone="resnet18").eval()
    with torch.no_grad():
        last = network.backbone(torch.zeros(1, 3, 64, 64))
    assert last.shape[2:] == ((4, 4) if name == "deeplabv3plus" else (2, 2))
    assert network.feature_grid((3, 64, 64)).shape == ((1, 16, 16) if name == "deeplabv3plus" else (1, 2, 2))


def test_autocast_keeps_map_and_logit_consistent():
    network, x = make("pylon", pooling="mean").float(), noise(1, 2, 3, 32, 48).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x, attention=True)
    assert out["logits"].dtype == out["attention"].dtype == torch.float32
    torch.testing.assert_close(out["attention"].flatten(2).mean(-1) + network.head.bias, out["logits"])
    torch.testing.assert_close(out["logits"], network(x), rtol=0, atol=5e-2)


def test_initial_bias_and_names():
    network = Pylon(2, backbone="small", initial_bias=-2.0)
    assert network.head.bias.tolist() == [-2, -2]
    names = {"pylon", "cam", "li2018", "fpn", "pan", "deeplabv3plus", "unet"}
    assert names <= set(NETWORKS.names())
    for name in names:
        built = NETWORKS.build(name, num_labels=2, backbone="small", input_shape=(9, 32, 48))
        assert built.feature_grid((9, 32, 48)).shape[0] == 3


def test_all_backbones_carry_pylon():
    for name in BACKBONES.names():
        with torch.device("meta"):
            network = Pylon(2, backbone=name, in_channels=1).eval()
            heatmap = network.heatmap(torch.zeros(1, 1, 64, 96))
        assert heatmap.shape == (1, 2, *network.feature_grid((1, 64, 96)).shape[1:])


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({}, (1, 2, 4, 32, 32), r"expected input \[B, S, 3, H, W\] or \[B, 3, H, W\], got \[1, 2, 4, 32, 32\]"),
        ({}, (1, 3, 32), r"expected input \[B, S, 3, H, W\]"),
        ({}, (0, 3, 32, 32), r"expected input \[B, S, 3, H, W\]"),
        ({"spatial_dims": 3}, (1, 1, 32, 32), r"expected input \[B, 1, D, H, W\], got \[1, 1, 32, 32\]"),
        ({"spatial_dims": 3}, (1, 3, 8, 32, 32), r"expected input \[B, 1, D, H, W\]"),
    ],
)
def test_input_of_another_shape_is_refused(options, shape, words):
    with pytest.raises(ValueError, match=words):
        make("pylon", **options)(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("kind", "options", "error", "words"),
    [
        (Pylon, {"ups": 2}, ValueError, "ups must be 0 to 1 with this backbone's 2 levels, got 2"),
        (Pylon, {"up_layers": 3}, ValueError, "has 1 or 2 layers, got 3"),
        (Pylon, {"up_kernel": 2}, ValueError, "up_kernel 1 or 3"),
        (Pylon, {"pooling": "men"}, ValueError, "unknown pooling 'men': did you mean 'mean'"),
        (Pylon, {"norm": "layer"}, ValueError, "unknown norm 'layer'"),
        (Pylon, {"pyramid": False, "average": True}, ValueError, "needs pyramid=True"),
        (Pylon, {"num_labels": 0}, ValueError, "num_labels must be 1 or more"),
        (Pylon, {"chunk": 0}, ValueError, "at least 1 slab"),
        (Pylon, {"spatial_dims": 1}, ConfigError, "spatial_dims must be 2"),
        (Pylon, {"in_channels": 0}, ConfigError, "in_channels must be 1 or more"),
        (Pylon, {"backbone": "smal"}, ConfigError, "did you mean 'small'"),
        (Pylon, {"weights": "nowhere.pt"}, ConfigError, "'nowhere.pt' not found"),
        (Pylon, {"input_shape": (10, 32, 32)}, ValueError, r"\(3 S, H, W\) voxels for slabs of 3 slices, got \(10,"),
        (Pylon, {"input_shape": (9, 4, 32)}, ValueError, "4 voxels is too short"),
        (Li2018, {"floor": 1.0}, ValueError, "floor must be 0 or more and less than 1"),
        (Li2018, {"cells": 1}, ValueError, "cells must be 2 or more"),
        (UNet, {"widths": (8, 8)}, ValueError, "a width for each of the backbone's 3 levels"),
        (DeepLabV3Plus, {"backbone": "densenet121"}, ValueError, "DeepLabV3\\+ needs a ResNet"),
    ],
)
def test_illegal_arguments_are_refused(kind, options, error, words):
    with pytest.raises(error, match=words):
        kind(**{"num_labels": 2, "backbone": "small", **options})
