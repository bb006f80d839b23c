"""Other libraries: the same numbers where they are right, and one test for each place where they are not.

captum and MONAI compute maps in their own way (hooks, whole graphs, ``backward()``), which makes them oracles. Where
they differ from the publication, the difference is shown against the published equation, written out in this file.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from monai.visualize import CAM, GradCAM, GradCAMpp, GuidedBackpropGrad, OcclusionSensitivity, VanillaGrad
from torch import nn
from torch.nn import functional

from organcam.attention import attention_maps, gradcam, positive_part
from organcam.attention.methods import occlusion

captum = pytest.importorskip("captum.attr", reason="captum, an independent implementation (pip install organcam[dev])")

CLASSES = 3


class Network(nn.Module):
    """Convolutions with ReLUs as modules, named as MONAI's guided backpropagation expects them; no linear head."""

    def __init__(self, dims, channels=1, pooled=False):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.conv1, self.relu1 = conv(channels, 4, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = conv(4, 6, 3, stride=2, padding=1), nn.ReLU()
        self.pooled = pooled
        self.fc = nn.Linear(6, CLASSES) if pooled else nn.Linear(6 * 4**dims, CLASSES)

    def forward(self, x):
        z = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        return self.fc(z.flatten(2).mean(-1)) if self.pooled else self.fc(z.flatten(1)).tanh()


def make(dims, **options):
    torch.manual_seed(0)
    return Network(dims, **options).eval()


def batch(dims, items=3, channels=1):
    return torch.randn(items, channels, *(8,) * dims, generator=torch.Generator().manual_seed(1))


OWN = torch.tensor([2, 0, 1])
"""A class for each item."""


def near(found, expected, scale=1e-5):
    """To 1e-5 of the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=scale * float(expected.abs().max()))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("layer", ["relu1", "relu2", "conv2"])
def test_captums_layer_methods(dims, layer):
    network, x = make(dims), batch(dims)
    module = network.get_submodule(layer)
    theirs = captum.LayerGradCam(network, module).attribute(x, target=OWN)
    near(attention_maps(network, x, method="gradcam", layer=layer, targets=OWN[:, None]).values, theirs)
    product = captum.LayerGradientXActivation(network, module).attribute(x, target=OWN)
    near(attention_maps(network, x, layer=layer, targets=OWN[:, None]).values, product.sum(1, keepdim=True))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_captums_methods_of_the_input(dims, channels):
    network, x = make(dims, channels=channels), batch(dims, channels=channels)
    pairs = {
        "gradient": captum.Saliency(network).attribute(x, target=OWN, abs=False),
        "gradient_x_input": captum.InputXGradient(network).attribute(x, target=OWN),
        "guided_backprop": captum.GuidedBackprop(network).attribute(x, target=OWN),
    }
    for method, theirs in pairs.items():
        own = attention_maps(network, x, method=method, targets=OWN[:, None])
        near(own.values, theirs.detach().sum(1, keepdim=True))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("theirs", "method"),
    [
        ("GradCAM", "gradcam"),
        ("HiResCAM", "hirescam"),
        ("GradCAMPlusPlus", "gradcam_plus_plus"),
        ("XGradCAM", "xgradcam"),
        ("LayerCAM", "layercam"),
    ],
)
def test_pytorch_grad_cams_methods_before_it_normalises(dims, theirs, method, monkeypatch):
    library = pytest.importorskip("pytorch_grad_cam", reason="pytorch-grad-cam, which needs torchvision")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    network, x = make(dims, pooled=theirs == "GradCAMPlusPlus"), batch(dims)
    if network.pooled:  # steep and without tanh: 1e-6 that it adds to squared gradients are nothing then
        network.fc.weight.data *= 1000
    of_theirs, raw = getattr(library, theirs), []
    compute = of_theirs.get_cam_image

    def keep(*arguments, **options):
        raw.append(compute(*arguments, **options))
        return raw[0]

    monkeypatch.setattr(of_theirs, "get_cam_image", keep)
    with of_theirs(network, [network.relu2]) as cam:
        cam(x, [targets.ClassifierOutputTarget(label) for label in OWN.tolist()])
    near(
        attention_maps(network, x, method=method, layer="relu2", targets=OWN[:, None]).values[:, 0],
        torch.from_numpy(raw[0]),
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_captums_guided_gradcam_where_nothing_is_upsampled(dims):
    network, x = make(dims), batch(dims)
    theirs = captum.GuidedGradCam(network, network.relu1).attribute(x, target=OWN)
    own = attention_maps(network, x, method="guided_gradcam", layer="relu1", targets=OWN[:, None])
    near(own.values, theirs)


@pytest.mark.parametrize("dims", [2, 3])
def test_captums_occlusion_where_boxes_touch(dims):
    network, x = make(dims), batch(dims)
    window = (4,) * dims
    theirs = captum.Occlusion(network).attribute(x, (1, *window), target=OWN, strides=(1, *window), baselines=0.5)
    with torch.no_grad():
        own, _ = occlusion(network, x, window=4, baseline=0.5)
    own = own[torch.arange(3), OWN][:, None]
    near(functional.interpolate(own, scale_factor=4), theirs)  # captum repeats a box's value over its voxels


@pytest.mark.parametrize("dims", [2, 3])
def test_monais_raw_gradcam_one_item_at_a_time(dims):
    network, x = make(dims), batch(dims)
    own = attention_maps(network, x, method="gradcam", layer="relu2").values
    for item in range(3):
        for label in range(CLASSES):
            theirs = GradCAM(network, "relu2").compute_map(x[item : item + 1], class_idx=label)
            near(positive_part(own[item : item + 1, label : label + 1]), theirs.detach())


@pytest.mark.parametrize("dims", [2, 3])
def test_monais_gradients_one_item_at_a_time(dims):
    network, x = make(dims), batch(dims)
    for method, theirs in (("gradient", VanillaGrad(network)), ("guided_backprop", GuidedBackpropGrad(network))):
        own = attention_maps(network, x, method=method).values
        for item in range(3):
            one = theirs(x[item : item + 1], index=1)
            near(own[item : item + 1, 1:2], one.detach())


def test_monais_occlusion_is_the_score_that_is_left():
    network, x = make(2), batch(2, items=1)
    left, _ = OcclusionSensitivity(network, mask_size=2, overlap=0, mode=0.0, activate=False, verbose=False)(x)
    with torch.no_grad():
        own, _ = occlusion(network, x, window=2)
        scores = network(x)[:, :, None, None]
    near(scores - own, left[:, :, ::2, ::2].as_subclass(torch.Tensor))


# where they are wrong


def test_monais_gradcam_mixes_the_classes_of_a_batch():
    """With a class for each item every item gets gradients of all of them."""
    network, x = make(2), batch(2)
    own = positive_part(attention_maps(network, x, method="gradcam", layer="relu2", targets=OWN[:, None]).values)
    theirs = GradCAM(network, "relu2").compute_map(x, class_idx=OWN).detach()
    for item in range(3):  # ours is what MONAI itself says of the item alone
        alone = GradCAM(network, "relu2").compute_map(x[item : item + 1], class_idx=int(OWN[item])).detach()
        near(own[item : item + 1], alone)
    assert (theirs - own).abs().max() > 0.1 * own.abs().max()


def test_monais_gradcam_plus_plus_is_not_the_published_one():
    """It sums activation times third power of the gradient over places; equation 19 has the gradient at the place."""
    network, x = make(2), batch(2, items=1)
    kept = {}
    handle = network.relu2.register_forward_hook(lambda _m, _i, out: kept.update(z=(out.retain_grad(), out)[1]))
    score = network(x)[0, 1]
    handle.remove()
    score.backward()
    z, slope = kept["z"].detach(), kept["z"].grad
    denominator = 2 * slope**2 + z.sum((2, 3), keepdim=True) * slope**3
    alpha = torch.where(denominator != 0, slope**2 / denominator.where(denominator != 0, 1.0), 0.0)
    published = ((alpha * slope.clamp_min(0)).sum((2, 3), keepdim=True) * z).sum(1, keepdim=True)
    own = attention_maps(network, x, method="gradcam_plus_plus", layer="relu2", targets=1).values
    near(own, published)
    theirs = GradCAMpp(network, "relu2").compute_map(x, class_idx=1).detach() / score.detach().exp()
    assert (theirs - published).abs().max() > 0.01 * published.abs().max()


def test_monais_cam_adds_the_bias_at_every_place():
    network, x = make(2, pooled=True), batch(2)
    own = attention_maps(network, x, method="cam", layer="relu2").values
    theirs = CAM(network, target_layers="relu2", fc_layers="fc").compute_map(x, class_idx=[1, 1, 1]).detach()
    near(own[:, 1:2] + network.fc.bias[1].detach(), theirs)
    with torch.no_grad():
        network.fc.bias += 10
    assert torch.equal(attention_maps(network, x, method="cam", layer="relu2").values, own)
    moved = CAM(network, target_layers="relu2", fc_layers="fc").compute_map(x, class_idx=[1, 1, 1]).detach()
    assert (moved - theirs).min() > 9


def test_monais_result_is_turned_upside_down_and_loses_the_sign():
    network, x = make(2), batch(2, items=1)
    raw = attention_maps(network, x, method="gradcam", layer="relu2", targets=0)
    shown = GradCAM(network, "relu2")(x, class_idx=0)[0, 0]
    large = raw.on_image()[0, 0].clamp_min(0)
    together = torch.corrcoef(torch.stack([large.flatten(), torch.as_tensor(shown).flatten()]))[0, 1]
    assert together < -0.7
    assert raw.values.min() < 0


def test_monai_needs_parameters_with_gradients():
    network, x = make(2).requires_grad_(False), batch(2, items=1)
    with pytest.raises(Exception, match=r"does not require grad|target_layers"):
        GradCAM(network, "relu2").compute_map(x, class_idx=0)
    expected = attention_maps(make(2), x, method="gradcam", layer="relu2").values
    assert torch.equal(attention_maps(network, x, method="gradcam", layer="relu2").values, expected)


def test_monai_leaves_hooks_and_wipes_gradients():
    network, x = make(2), batch(2, items=1)
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    GradCAM(network, "relu2").compute_map(x, class_idx=0)
    assert sum(len(module._forward_hooks) for module in network.modules()) > 0
    assert not torch.equal(network.fc.weight.grad, torch.ones_like(network.fc.weight))
    other = make(2)
    other.fc.weight.grad = torch.ones_like(other.fc.weight)
    attention_maps(other, x, method="gradcam", layer="relu2", targets=0)
    assert sum(len(module._forward_hooks) for module in other.modules()) == 0
    assert torch.equal(other.fc.weight.grad, torch.ones_like(other.fc.weight))


def test_monais_maps_have_no_gradient_to_the_head():
    """Its weights are constants, so that a loss on the map cannot reach the linear layer; ours does."""
    network, x = make(2), batch(2, items=1)
    theirs = GradCAM(network, "relu2").compute_map(x, class_idx=0, retain_graph=True)
    reached, below = torch.autograd.grad(
        theirs.sum(), [network.fc.weight, network.conv2.weight], allow_unused=True, retain_graph=True
    )
    assert reached is None
    assert below is not None
    own = attention_maps(network, x, method="gradcam", layer="relu2", targets=0, create_graph=True).values
    assert torch.autograd.grad(own.sum(), [network.fc.weight])[0].abs().sum() > 0


class OtherNames(Network):
    """The same ReLUs under names in which "relu" does not occur."""

    def __init__(self, dims):
        super().__init__(dims)
        self.act1, self.act2 = self.relu1, self.relu2
        del self.relu1, self.relu2

    def forward(self, x):
        return self.fc(self.act2(self.conv2(self.act1(self.conv1(x)))).flatten(1)).tanh()


def test_monai_guides_no_relu_of_another_name_and_nobody_a_functional_one():
    x = batch(2, items=1)
    expected = attention_maps(make(2), x, method="guided_backprop", targets=1).values
    torch.manual_seed(0)
    renamed = OtherNames(2).eval()
    near(attention_maps(renamed, x, method="guided_backprop", targets=1).values, expected)
    plain = attention_maps(renamed, x, method="gradient", targets=1).values
    near(GuidedBackpropGrad(renamed)(x, index=1).detach(), plain)  # the plain gradient, without a word

    class Functional(Network):
        def forward(self, x):
            return self.fc(functional.relu(self.conv2(functional.relu(self.conv1(x)))).flatten(1)).tanh()

    torch.manual_seed(0)
    written = Functional(2).eval()
    near(attention_maps(written, x, method="guided_backprop", targets=1).values, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = captum.GuidedBackprop(written).attribute(x, target=1)
    near(theirs.detach(), plain)


def test_captum_shows_a_layer_that_runs_in_slabs_by_its_last_call():
    class Slabs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, CLASSES)

        def forward(self, x):
            return torch.stack([self.fc(self.conv(x[:, slab]).flatten(1)) for slab in range(x.shape[1])]).mean(0)

    torch.manual_seed(0)
    network, x = Slabs().eval(), torch.randn(1, 3, 3, 8, 8)
    own = attention_maps(network, x, layer="conv", targets=1).values
    theirs = captum.LayerGradientXActivation(network, network.conv).attribute(x, target=1).sum(1)
    assert own.shape == (1, 1, 3, 6, 6)
    assert theirs.shape == (1, 6, 6)
    near(own[:, 0, -1], theirs.detach())


def test_captum_spreads_cells_over_the_whole_input():
    """Its helper resizes edges on edges; cells of unpadded convolutions lie in the middle."""

    class Unpadded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 1, 9), nn.Linear(16, 1)

        def forward(self, x):
            return self.fc(self.conv(x).flatten(1))

    network, x = Unpadded().eval(), torch.zeros(1, 1, 12, 12)
    x[0, 0, 4, 4] = 1.0
    with torch.no_grad():
        network.conv.weight.zero_()
        network.conv.weight[0, 0, 4, 4] = 1.0  # cell (i, j) sees voxel (i + 4, j + 4)
        network.conv.bias.zero_()
        network.fc.weight.fill_(1.0)
    maps = attention_maps(network, x, layer="conv")
    assert divmod(int(maps.on_image()[0, 0].argmax()), 12) == (4, 4)
    theirs = captum.LayerAttribution.interpolate(maps.values, (12, 12), "bilinear")
    assert divmod(int(theirs[0, 0].argmax()), 12) != (4, 4)


def test_what_is_averaged_for_slabs_is_the_volume():
    """medcam takes the rank of the input for that of the features; the mean then runs over channels too."""
    activation, slope = torch.randn(2, 4, 3, 6, 6), torch.randn(2, 4, 3, 6, 6)
    wrong = (slope.mean((1, 2, 3, 4), keepdim=True) * activation).sum(1)
    right = (slope.mean((2, 3, 4), keepdim=True) * activation).sum(1)
    near(gradcam(activation, slope, 3), right)
    assert (wrong - right).abs().max() > 0.1
