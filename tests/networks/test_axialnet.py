import copy

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import distributed, nn

from organcam.attention import attention_maps
from organcam.errors import ConfigError
from organcam.networks import AxialNet

SIZE = (32, 48)


def make(seed=0, **options):
    """A small network in float64 whose BatchNorm layers have something to do."""
    torch.manual_seed(seed)
    settings = {"num_labels": 4, "backbone": "small", "input_shape": (3, *SIZE), **options}
    network = AxialNet(**settings).double()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.2, 0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def scan(batch=2, slabs=5, seed=1):
    return torch.randn(batch, slabs, 3, *SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_reference_head_sees_the_middle_of_the_image():
    grid = AxialNet(2, head="reference").feature_grid((405, 420, 420))
    assert grid.shape == (135, 6, 6)
    assert grid.centres(1).tolist() == grid.centres(2).tolist() == [128, 160, 192, 224, 256, 288]
    assert grid.receptive_field == (3, 691, 691)


def test_registered_head_spans_the_image():
    network = AxialNet(2, head="registered")
    grid = network.feature_grid((405, 420, 420))
    assert grid.shape == (135, 14, 14)
    assert grid.centres(1)[[0, -1]].tolist() == [0, 416]
    assert network.fc.weight.shape == (2, 16, 14, 14)
    assert AxialNet(2, head_kernel=1).feature_grid((405, 420, 420)).receptive_field == (3, 435, 435)


def test_small_network_with_narrow_head_tiles_the_image():
    network = AxialNet(2, backbone="small", input_shape=(3, 96, 96), head_channels=(32, 16), head_kernel=1)
    grid = network.feature_grid((24, 96, 96))
    assert grid.shape == (8, 12, 12)
    assert grid.receptive_field == (3, 44, 44)
    for axis in range(3):
        start, stop = grid.cell_bounds(axis)
        assert (start[0], stop[-1]) == (-0.5, grid.input_shape[axis] - 0.5)


@pytest.mark.parametrize("head", ["registered", "none"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cell_depends_only_on_its_receptive_field_around_its_centre(head, axis):
    network = AxialNet(
        1, backbone="small", input_shape=(3, 96, 96), head=head, head_kernel=1 if head == "registered" else 3
    )
    network = network.double().eval()
    grid = network.feature_grid((9, 96, 96))
    volume = torch.rand(9, 96, 96, dtype=torch.float64, requires_grad=True)
    cell = (1, 6, 5)
    features = network.linear_head(volume.reshape(1, 3, 3, 96, 96)).features[0]
    features[:, cell[0], cell[1], cell[2]].sum().backward()
    touched = volume.grad.abs().sum(tuple(other for other in range(3) if other != axis)).nonzero()[:, 0]
    centre = grid.centres(axis)[cell[axis]]
    # The outermost voxels come through a single path each, which a ReLU or a maximum may have shut.
    reach = (grid.receptive_field[axis] - 1) / 2
    assert centre - reach <= touched.min() <= centre - reach + 3
    assert centre + reach - 3 <= touched.max() <= centre + reach


@pytest.mark.parametrize("head", ["registered", "reference", "none"])
def test_attention_and_bias_sum_to_the_slab_scores(head):
    network = make(head=head, input_shape=(3, 96, 112)).eval()
    x = torch.randn(2, 3, 3, 96, 112, dtype=torch.float64)
    out = network(x, attention=True)
    scores = network.slab_scores(x)
    assert out["attention"].shape == (2, 4, *network.feature_grid((9, 96, 112)).shape)
    torch.testing.assert_close(out["attention"].sum((-1, -2)) + network.fc.bias[:, None], scores, rtol=0, atol=1e-12)
    torch.testing.assert_close(scores.mean(-1), out["logits"], rtol=0, atol=1e-12)
    assert torch.equal(network(x), out["logits"])


def test_linear_pooling_weighs_every_slab():
    network, x = make(pooling="linear", shared_start=True, input_shape=(15, *SIZE)).eval(), scan()
    out = network(x, attention=True)
    z = network.linear_head(x).features
    by_hand = torch.stack(
        [(z[b] * network.fc.weight[m]).sum() for b in range(len(x)) for m in range(out["logits"].shape[1])]
    )
    torch.testing.assert_close(out["logits"], by_hand.view_as(out["logits"]) + network.fc.bias)
    torch.testing.assert_close(out["attention"].flatten(2).sum(-1) + network.fc.bias, out["logits"])
    torch.testing.assert_close(network.slab_scores(x).sum(-1) + network.fc.bias, out["logits"])
    maps = attention_maps(network, x)
    torch.testing.assert_close(maps.values, out["attention"])
    torch.testing.assert_close(maps.values, attention_maps(network, x, layer="head").values)  # by gradients
    depth, H, W = network.input_shape
    with pytest.raises(ValueError, match=rf"expected input \[B, {depth // 3}, 3, {H}, {W}\]"):
        network(x[:, 1:])
    with pytest.raises(ValueError, match=rf"expected input of \({depth}, {H}, {W}\) voxels"):
        network.feature_grid((depth + 3, H, W))


def test_max_pooling_takes_the_largest_slab():
    network = make(pooling="max").eval()
    torch.testing.assert_close(network(scan()), network.slab_scores(scan()).amax(-1))


def test_batch_equals_one_by_one():
    network = make().eval()
    x = scan(3)
    together = network(x, attention=True)
    for key, value in together.items():
        alone = torch.cat([network(one[None], attention=True)[key] for one in x])
        torch.testing.assert_close(value, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"chunk": 1}, {"chunk": 3}, {"chunk": 100}, {"channels_last": True}, {"chunk": 2, "channels_last": True}],
    ids=str,
)
def test_running_options_change_nothing_in_evaluation(options):
    plain, other = make().eval(), make(**options).eval()
    for key, value in plain(scan(), attention=True).items():
        torch.testing.assert_close(other(scan(), attention=True)[key], value, rtol=0, atol=1e-12)


def _gradients(network, x):
    network.zero_grad()
    out = network(x, attention=True)
    (out["logits"].square().sum() + out["attention"].abs().mean()).backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters()}


@pytest.mark.parametrize(
    "options",
    [
        {"frozen_norm": True, "checkpoint": True, "chunk": 3},
        {"frozen_norm": True, "checkpoint": True, "chunk": 1, "channels_last": True},
        {"frozen_norm": True, "chunk": 3},
    ],
    ids=str,
)
def test_checkpointing_with_frozen_statistics_leaves_the_gradients(options):
    expected = _gradients(make(frozen_norm=True).train(), scan())
    found = _gradients(make(**options).train(), scan())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_checkpointing_in_one_chunk_is_exact_with_batch_statistics_and_counts_them_once():
    plain, other = make().train(), make(checkpoint=True, chunk=1000).train()
    expected, found = _gradients(plain, scan()), _gradients(other, scan())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(other.named_buffers())[name], buffer)
    assert {norm.momentum for norm in other.modules() if hasattr(norm, "momentum")} == {0.1}


def test_chunk_without_checkpoint_keeps_batch_statistics_of_all_slabs_in_training():
    torch.testing.assert_close(make(chunk=2).train()(scan()), make().train()(scan()), rtol=0, atol=1e-12)


def test_frozen_norm_keeps_its_statistics_in_training():
    network = make(frozen_norm=True)
    before = copy.deepcopy(dict(network.named_buffers()))
    network(scan())
    assert network.training
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_attention_is_differentiable_down_to_the_first_layer():
    gradients = _gradients(make().train(), scan())
    assert gradients["fc.weight"].abs().sum() > 0
    assert gradients["backbone.conv1.weight"].abs().sum() > 0


def test_distributed_data_parallel_trains_and_explains(tmp_path):
    network, x = make(), scan()
    expected = _gradients(copy.deepcopy(network).train(), x)
    maps = attention_maps(network, x).values
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(network.train())
        found = _gradients(wrapped, x)
        explained = attention_maps(wrapped, x).values
    finally:
        distributed.destroy_process_group()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[f"module.{name}"], gradient, rtol=1e-9, atol=1e-12)
    assert not torch.equal(explained, maps)  # its running statistics have moved in the training step
    torch.testing.assert_close(explained, attention_maps(network, x).values)


def test_shared_start_is_alike_at_all_places_and_small():
    network = AxialNet(6, backbone="small", input_shape=(3, 96, 96), shared_start=True, initial_bias=-0.8)
    weight = network.fc.weight
    assert torch.equal(weight, weight[:, :, :1, :1].expand_as(weight))
    assert 0 < weight.abs().max() <= 16**-0.5 / 144
    assert weight[:, :, 0, 0].unique().numel() == 6 * 16
    torch.testing.assert_close(network.fc.bias, torch.full((6,), -0.8))


def test_autocast_keeps_map_and_score_consistent():
    network = make().float().eval()
    x = scan().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x, attention=True)
    assert out["logits"].dtype == out["attention"].dtype == torch.float32
    torch.testing.assert_close(out["attention"].sum((2, 3, 4)) / 5 + network.fc.bias, out["logits"], rtol=0, atol=1e-5)
    torch.testing.assert_close(out["logits"], network(x), rtol=0, atol=2e-2)


def test_meta_tensor_goes_in_and_a_plain_tensor_comes_out():
    network = make().eval()
    x = scan()
    found = network(MetaTensor(x, affine=np.eye(4)))
    assert type(found) is torch.Tensor
    assert torch.equal(found, network(x))


def test_weights_file_is_loaded(tmp_path):
    source = make(seed=5)
    torch.save(source.backbone.state_dict(), tmp_path / "small.pt")
    network = AxialNet(4, backbone="small", input_shape=(3, *SIZE), weights=tmp_path / "small.pt")
    assert torch.equal(network.backbone.conv1.weight, source.backbone.conv1.weight.float())


@pytest.mark.parametrize(
    "shape", [(2, 5, 3, 32, 32), (5, 3, 32, 48), (2, 5, 1, 32, 48), (0, 5, 3, 32, 48), (1, 0, 3, 32, 48)]
)
def test_input_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected input \[B, S, 3, 32, 48\]"):
        make()(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(10, 32, 48), (9, 48, 32), (0, 32, 48)])
def test_grid_of_another_input_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(3 S, 32, 48\)"):
        make().feature_grid(shape)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"head": "registred"}, ValueError, "unknown head 'registred': did you mean 'registered'"),
        ({"pooling": "avg"}, ValueError, "unknown pooling 'avg'"),
        ({"pooling": "linear", "head": "pylon"}, ValueError, "needs a weight for every cell"),
        ({"head_kernel": 5}, ValueError, "head_kernel must be 3, or 1"),
        ({"head": "none", "head_kernel": 1}, ValueError, "head_kernel must be 3, or 1"),
        ({"head": "none", "head_channels": (8,)}, ValueError, "needs a head"),
        ({"head_channels": ()}, ValueError, "must be positive"),
        ({"head": "pylon", "head_channels": (64, 32)}, ValueError, "one number with head='pylon'"),
        ({"chunk": 0}, ValueError, "at least 1 slab"),
        ({"checkpoint": True}, ValueError, "needs chunk"),
        ({"input_shape": (96, 96)}, ValueError, r"input_shape must be \(D, H, W\)"),
        ({"head": "reference", "input_shape": (3, 40, 40)}, ValueError, "40 voxels is too short"),
        ({"backbone": "smal"}, ConfigError, "did you mean 'small'"),
        ({"weights": "nowhere.pt"}, ConfigError, "'nowhere.pt' not found"),
    ],
    ids=str,
)
def test_bad_option_says_what_is_legal(options, error, words):
    with pytest.raises(error, match=words):
        AxialNet(**{"backbone": "small", "input_shape": (3, 96, 96), **options})


PYLON = {"head": "pylon", "input_shape": (15, 32, 48)}


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pylon_head_is_linear_in_features_of_stride_four(pooling):
    network, x = make(pooling=pooling, **PYLON).eval(), scan()
    grid = network.feature_grid((15, 32, 48))
    assert (grid.shape, grid.stride) == ((5, 8, 12), (3, 4, 4))
    assert network.fc.weight.shape == (4, 128, 1, 1)
    out, head = network(x, attention=True), network.linear_head(x)
    assert head.features.shape == (2, 128, *grid.shape)
    torch.testing.assert_close(head.logits(), out["logits"])
    cells = out["attention"].flatten(3) + network.fc.bias[:, None, None]
    slabs = cells.mean(-1) if pooling == "mean" else cells.amax(-1)
    torch.testing.assert_close(slabs, network.slab_scores(x))
    torch.testing.assert_close(slabs.mean(-1) if pooling == "mean" else slabs.amax(-1), out["logits"])
    maps = attention_maps(network, x)
    assert maps.closed_form
    by_gradients = attention_maps(network, x, layer="head")
    torch.testing.assert_close(maps.values, by_gradients.values, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(maps.values.flatten(2).sum(-1) + network.fc.bias, out["logits"])


@pytest.mark.parametrize("options", [{"chunk": 2}, {"channels_last": True}], ids=str)
def test_pylon_head_takes_the_running_options(options):
    for key, value in make(**PYLON).eval()(scan(), attention=True).items():
        torch.testing.assert_close(make(**PYLON, **options).eval()(scan(), attention=True)[key], value)
    options = {"frozen_norm": True, "checkpoint": True, "chunk": 3}
    expected = _gradients(make(**PYLON, frozen_norm=True).train(), scan())
    found = _gradients(make(**PYLON, **options).train(), scan())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_pylon_head_at_the_published_size():
    with torch.device("meta"):
        network = AxialNet(80, head="pylon")
        bottleneck = AxialNet(80, head="pylon", backbone="resnet50", head_channels=(64,))
    assert network.feature_grid((405, 420, 420)).shape == (135, 105, 105)
    decoder = sum(p.numel() for p in network.head.parameters())
    # closed form of the specification: pyramid and three two-layer upsampling modules, D = 128, C2..C5 = 64..512
    block = lambda before, after, kernel=1: before * after * kernel**2 + 3 * after  # noqa: E731
    pyramid = block(512, 128) + block(512, 1, 7) + 2 * (block(1, 1, 3) + block(1, 1, 5)) + block(1, 1, 7)
    assert decoder == pyramid + sum(block(c, c) + block(c, 128) for c in (256, 128, 64))
    assert bottleneck.fc.weight.shape == (80, 64, 1, 1)
