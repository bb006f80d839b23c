"""AxialNet against numbers of the published code (oracle items 1 and 2)."""

import math

import pytest
import torch

from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import AxialNet

ANY_INPUT = torch.zeros(1, 3, 3, 420, 420, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_head_gives_the_published_scores_and_attention(oracle, published, kind):
    case = oracle["1_head"][kind]
    network = published.head_network(kind, case)
    out = network(ANY_INPUT, attention=True)
    head = network.linear_head(ANY_INPUT)

    published.assert_agrees(head.features[0].transpose(0, 1), case["Z"])
    published.assert_agrees(network.slab_scores(ANY_INPUT), case["slab_scores"])
    published.assert_agrees(out["logits"], case["logits"])
    published.assert_agrees(out["attention"][0], case["attention"])


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_head_agrees_in_float32_too(oracle, published, kind):
    case = oracle["1_head"][kind]
    out = published.head_network(kind, case).float()(ANY_INPUT.float(), attention=True)
    published.assert_agrees(out["logits"], case["logits"], atol=5e-5)
    if "values" in case["attention"]:
        published.assert_agrees(out["attention"][0], case["attention"], atol=5e-5)


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_max_pooling_over_slabs(oracle, published, kind):
    case = oracle["1_head"][kind]
    network = published.head_network(kind, case, pooling="max")
    published.assert_agrees(network(ANY_INPUT), case["logits_maxpool"])


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_without_head(oracle, published, kind):
    case = oracle["1_head"][kind]
    network = published.head_network(kind, case, head="none")
    published.assert_agrees(network(ANY_INPUT), case["logits_nocustomconv"])


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_gradcam_of_the_mask_model_averages_over_one_slab(oracle, published, kind):
    # The published "vanilla Grad-CAM" mask model averages the weights over the 6 x 6 cells, without the 1/S.
    case = oracle["1_head"][kind]
    head = published.head_network(kind, case).linear_head(ANY_INPUT)
    maps = torch.einsum("bfshw,mf->bmshw", head.features, head.weight.mean((2, 3)))
    published.assert_agrees(maps[0], case["attention_vanilla_gradcam"])


@pytest.fixture(scope="module")
def whole(oracle, published):
    """Weights of item 2 as a state dict, float64, and the input."""
    item = oracle["2_network"]
    network = AxialNet(5, head="reference").double()
    backbone = network.backbone
    with torch.no_grad():
        for k, name, shape, *_ in item["units"]:
            short = name.endswith("downsample")
            conv = backbone.get_submodule(f"{name}.0" if short else name)
            norm = backbone.get_submodule(f"{name}.1" if short else name.replace("conv", "bn"))
            assert list(conv.weight.shape) == shape
            fan_in = math.prod(shape[1:])
            conv.weight.copy_(published.noise(1001 + 10 * k, shape, 1.7 / math.sqrt(fan_in)))
            norm.weight.copy_(published.sine(1003 + 10 * k, shape[:1], 0.2, 1.0))
            norm.bias.copy_(published.sine(1004 + 10 * k, shape[:1], 0.1))
            norm.running_mean.copy_(published.sine(1005 + 10 * k, shape[:1], 0.05))
            norm.running_var.copy_(published.sine(1006 + 10 * k, shape[:1], 0.3, 1.0))
    published.fill_head(network, oracle["1_head"]["q"])
    return network.state_dict(), published.noise(3000, (1, 2, 3, 420, 420), 0.5, 0.05)


def _network(state):
    network = AxialNet(5, head="reference").double()
    network.load_state_dict(state)
    return network


def test_parameter_counts(oracle):
    item = oracle["2_network"]
    count = {labels: sum(p.numel() for p in AxialNet(labels, head="reference").parameters()) for labels in (5, 80)}
    assert count == {5: item["parameters_n5"], 80: item["parameters_n80"]}
    assert sum(p.numel() for p in AxialNet(5).backbone.parameters()) == item["resnet_parameters"]


def test_whole_network_in_evaluation_mode(oracle, published, whole):
    item = oracle["2_network"]
    state, x = whole
    network = _network(state).eval()
    seen = {}
    for name, module in {"after_stem": "maxpool", **{f"after_layer{n}": f"layer{n}" for n in range(1, 5)}}.items():
        network.backbone.get_submodule(module).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.setdefault(name, output)
        )
    with torch.no_grad():
        out = network(x, attention=True)
        scores = network.slab_scores(x)
    for name, features in seen.items():
        published.assert_agrees(features, item[name])
    published.assert_agrees(out["logits"], item["logits"])
    published.assert_agrees(scores, item["slab_scores"])
    published.assert_agrees(out["attention"][0], item["attention"])


def test_whole_network_in_float32(oracle, published, whole):
    state, x = whole
    with torch.no_grad():
        out = _network(state).float().eval()(x.float(), attention=True)
    published.assert_agrees(out["logits"], oracle["2_network"]["logits"], atol=2e-5)
    published.assert_agrees(out["attention"][0], oracle["2_network"]["attention"], atol=2e-5)


def test_training_steps(oracle, published, whole):
    item = oracle["2_network"]["train_mode"]
    state, x = whole
    network = _network(state).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.99, weight_decay=1e-7)
    loss_function = ClassAndMaskLoss(MaskLoss("softplus", "forbidden", "mean"), weight=1 / 3)
    m, h, i, j = torch.meshgrid(*(torch.arange(n) for n in (5, 2, 6, 6)), indexing="ij")
    label = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])
    target = {"label": label, "allowed": ((2 * m + 3 * h + 5 * i + 7 * j) % 5 < 2)[None]}

    losses = []
    for step in range(3):
        out = network(x, attention=True)
        loss = loss_function(out, target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            published.assert_agrees(out["logits"], item["logits_train_mode"])
            names = {"fc.weight": "fc.weight", "fc.bias": "fc.bias", "head.conv1.weight": "conv2d.0.weight"}
            names |= {"head.conv4.weight": "conv2d.6.weight", "backbone.conv1.weight": "resnet.conv1.weight"}
            names |= {"backbone.layer4.1.bn2.weight": "resnet.layer4.1.bn2.weight"}
            for ours, theirs in names.items():
                published.assert_agrees(network.get_parameter(ours).grad, item[f"grad_{theirs}"])
            norm = network.backbone.bn1
            published.assert_agrees(norm.running_mean, item["bn1_running_mean_after_1_forward"])
            published.assert_agrees(norm.running_var, item["bn1_running_var_after_1_forward"])
            assert norm.num_batches_tracked == 1
        optimizer.step()
    published.assert_agrees(torch.tensor(losses, dtype=torch.float64), item["losses_3_steps"])


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_one_linear_layer_over_all_slabs_is_the_published_final3dconv(oracle, published, kind):
    case = oracle["1_head"][kind]
    network = published.head_network(kind, case, pooling="linear", input_shape=(9, 420, 420))
    with torch.no_grad():
        network.fc.weight.copy_(published.sine(2131, (5, 16, 3, 6, 6), case["fc_weight_amp"]))
        network.fc.bias.copy_(published.sine(2132, (5,), 0.1))
        out = network(torch.zeros(1, dtype=torch.float64).expand(1, 3, 3, 420, 420), attention=True)
    published.assert_agrees(out["logits"], case["logits_final3dconv"])
    published.assert_agrees(out["attention"][0], case["attention_final3dconv"])
    with torch.device("meta"):
        counted = AxialNet(80, head="reference", pooling="linear")
    stored = oracle["3_baselines"]["other_parameter_counts_n80_slices135"]["Final3DConv"]
    assert sum(p.numel() for p in counted.parameters()) == stored
