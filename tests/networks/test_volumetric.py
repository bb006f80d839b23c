"""Networks that end in layers over the whole scan, in sizes of our own."""

import pytest
import torch

from organcam.attention import attention_maps
from organcam.errors import ConfigError
from organcam.networks import NETWORKS, BodyCAM, BodyConv, Conv3DNet, CTNet, DenseNet121v, ResNet34v

SHAPE = (24, 72, 64)
STRIDES = [[2, 3, 3], [2, 3, 3], [1, 2, 2], [1, 1, 1]]


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def small(kind, **options):
    torch.manual_seed(0)
    if kind is Conv3DNet:
        options = {"input_shape": (30, 72, 64), "strides": STRIDES, **options}
    elif kind in {CTNet, BodyConv}:
        options = {"input_shape": SHAPE, "backbone": "small", "depth_stride": 1, **options}
    else:
        options = {"input_shape": (6, 88, 96), "backbone": "small", **options}
    return kind(3, **options).double().eval()


def scan(kind, batch=2):
    if kind is Conv3DNet:
        return noise(batch, 1, 30, 72, 64)
    return noise(batch, 8, 3, 72, 64) if kind in {CTNet, BodyConv} else noise(batch, 2, 3, 88, 96)


def shape_of(x):
    return (x.shape[1] * x.shape[2], *x.shape[3:])


ALL = [CTNet, BodyConv, Conv3DNet, BodyCAM, ResNet34v, DenseNet121v]
LINEAR = [BodyCAM, ResNet34v, DenseNet121v]


@pytest.mark.parametrize("kind", ALL)
def test_maps_have_the_grid_that_the_network_says(kind):
    network, x = small(kind), scan(kind)
    maps = attention_maps(network, x)
    assert maps.values.shape == (2, 3, *network.feature_grid(shape_of(x)).shape)
    assert maps.closed_form is (kind in LINEAR)
    by_gradients = attention_maps(network, x, layer=network.attention_layer)
    torch.testing.assert_close(by_gradients.values, maps.values, rtol=1e-9, atol=1e-12)
    assert network.input_layout == ("volume" if kind is Conv3DNet else "slabs")


@pytest.mark.parametrize("kind", ALL)
def test_batch_equals_one_by_one_and_every_parameter_learns(kind):
    network, x = small(kind), scan(kind)
    torch.testing.assert_close(network(x), torch.cat([network(one[None]) for one in x]))
    network.train()(x).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("kind", [CTNet, BodyConv, Conv3DNet])
def test_attention_by_gradients_is_differentiable_in_training(kind):
    network, x = small(kind), scan(kind, batch=1)
    expected = attention_maps(network, x)
    out = network(x, attention=True)
    torch.testing.assert_close(out["attention"], expected.values)
    torch.testing.assert_close(out["logits"], network(x))
    with torch.no_grad():
        plain = network(x, attention=True)
    assert not plain["attention"].requires_grad
    torch.testing.assert_close(plain["attention"], expected.values)
    # the gradient of a penalty on the map, against a finite difference along one weight
    weight = network.convs[0].weight
    (gradient,) = torch.autograd.grad(out["attention"].square().sum(), weight)
    place = tuple(int(i) for i in torch.unravel_index(gradient.abs().argmax(), gradient.shape))
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            weight[place] += step
            values.append(network(x, attention=True)["attention"].square().sum().item())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(gradient[place].item(), rel=1e-3)


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_networks_sum_to_their_logits(kind):
    network, x = small(kind), scan(kind)
    maps = attention_maps(network, x)
    torch.testing.assert_close(maps.values.flatten(2).sum(-1) + network.fc.bias, network(x))
    out = network(x, attention=True)
    torch.testing.assert_close(out["logits"], network(x))
    cells = out["attention"].flatten(2).shape[-1] if kind is BodyCAM else x.shape[1]
    torch.testing.assert_close(out["attention"] / cells, maps.values)
    torch.testing.assert_close(network(x[:, 0]), network(x[:, :1]))  # an image is a scan of one slab


def test_hirescam_networks_of_the_paper_at_its_input_size():
    # 320 x 320: ten cells of the backbone, nine of the 2 x 2 convolution, 512 * 81 numbers into the linear layer
    for kind, features in ((ResNet34v, 512), (DenseNet121v, 1024)):
        with torch.device("meta"):
            network = kind(20, input_shape=(3, 320, 320))
        assert network.convs[0].weight.shape == (512, features, 2, 2)
        assert network.fc.weight.shape == (20, 512, 9, 9)
        assert network.feature_grid((3, 320, 320)).shape == (1, 9, 9)
        assert len(network.convs) == 2
        with torch.device("meta"):
            assert len(kind(20, input_shape=(3, 320, 320), relu=False).convs) == 1


def test_hirescam_and_gradcam_differ_where_weights_belong_to_places():
    network, x = small(ResNet34v), scan(ResNet34v)
    exact, mean = (attention_maps(network, x, method=method).values for method in ("hirescam", "gradcam"))
    assert (exact - mean).abs().max() > 0.1 * exact.abs().max()
    network, x = small(BodyCAM), scan(BodyCAM)
    exact, mean = (attention_maps(network, x, method=method).values for method in ("hirescam", "gradcam"))
    torch.testing.assert_close(exact, mean)


def test_a_voxel_outside_the_receptive_field_changes_no_cell():
    network = small(Conv3DNet)
    grid = network.feature_grid((30, 72, 64))
    x = noise(1, 1, 30, 72, 64).requires_grad_()
    cell = tuple(count // 2 for count in grid.shape)
    network.convs(x)[0][(slice(None), *cell)].sum().backward()
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        touched = x.grad[0, 0].abs().sum(others).nonzero()[:, 0]
        centre, reach = grid.centres(axis)[cell[axis]], (grid.receptive_field[axis] - 1) / 2
        assert (touched.min(), touched.max()) == (centre - reach, centre + reach)


def test_names():
    assert {"ctnet", "bodyconv", "conv3d", "bodycam", "resnet34v", "densenet121v"} <= set(NETWORKS.names())


@pytest.mark.parametrize(
    ("kind", "options", "error", "words"),
    [
        (CTNet, {"input_shape": (25, 72, 64)}, ValueError, r"\(3 S, H, W\) voxels .* got \(25, 72, 64\)"),
        (CTNet, {"input_shape": (24, 72)}, ValueError, r"input_shape must be \(D, H, W\)"),
        (BodyConv, {"depth_stride": 3}, ValueError, "axis of 8 voxels is too short"),
        (BodyConv, {"depth_stride": 0}, ValueError, "depth_stride must be 1 or more"),
        (BodyConv, {"dropout": 1.0}, ValueError, r"dropout in \[0, 1\)"),
        (CTNet, {"backbone": "smal"}, ConfigError, "did you mean 'small'"),
        (Conv3DNet, {"strides": [[3, 3, 3]]}, ValueError, r"strides must be four times \(D, H, W\)"),
        (Conv3DNet, {"input_shape": (10, 72, 64)}, ValueError, "axis of 10 voxels is too short"),
        (BodyCAM, {"input_shape": (96, 96)}, ValueError, r"input_shape must be \(D, H, W\)"),
        (BodyCAM, {"input_shape": (7, 96, 96)}, ValueError, "D a multiple of 3"),
        (ResNet34v, {"weights": "nowhere.pt"}, ConfigError, "'nowhere.pt' not found"),
    ],
)
def test_illegal_arguments_are_refused(kind, options, error, words):
    with pytest.raises(error, match=words):
        small(kind, **options)


@pytest.mark.parametrize("kind", ALL)
def test_input_or_grid_of_another_shape_is_refused(kind):
    network, x = small(kind), scan(kind)
    with pytest.raises(ValueError, match="expected input"):
        network(x[..., :-1])
    with pytest.raises(ValueError, match="expected input"):
        network(x[:0])
    with pytest.raises(ValueError, match="expected input of"):
        network.feature_grid((24, 10, 10))
