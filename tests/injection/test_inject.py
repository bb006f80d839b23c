"""A network that explains itself: against hand-made gradients, and every fault of M3d-CAM the other way round."""

from __future__ import annotations

from copy import deepcopy
from threading import Thread

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.networks.nets import DenseNet, UNet
from torch import nn

import organcam
from organcam.attention import attention_maps, read_attention, to_input_grid
from organcam.errors import ConfigError
from organcam.networks import AxialNet


class Classifier(nn.Module):
    """Two convolutions and one linear layer, in two or three dimensions."""

    def __init__(self, dims: int = 2, labels: int = 3) -> None:
        super().__init__()
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.dims = dims
        self.first = conv(1, 4, 3, padding=1)
        self.second = conv(4, 5, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm3d(5) if dims == 3 else nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(5, labels)

    def forward(self, x):
        z = self.norm(self.second(self.first(x).relu())).relu()
        return self.fc(self.drop(z.flatten(2).mean(2)))


def network(dims: int = 2, labels: int = 3) -> Classifier:
    torch.manual_seed(0)
    return Classifier(dims, labels)


def images(count: int = 2, dims: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, *((8, 10, 12)[:dims]), generator=torch.Generator().manual_seed(1))


def gradients_of(model, x, label, layer):
    """Activation and gradient of one score, by torch alone."""
    kept = []
    handle = layer.register_forward_hook(lambda _m, _i, out: kept.append(out))
    model.eval()
    score = model(x)[:, label].sum()
    handle.remove()
    return kept[0].detach(), torch.autograd.grad(score, kept[0])[0]


# the numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("backend", ["hirescam", "gradcam", "gcam"])
def test_maps_are_raw_signed_and_those_of_the_gradient(dims, backend):
    model, x = network(dims).eval(), images(dims=dims)
    activation, gradient = gradients_of(model, x, 0, model.norm)
    axes = tuple(range(2, 2 + dims))
    weight = gradient if backend == "hirescam" else gradient.mean(axes, keepdim=True)
    expected = (weight * activation).sum(1)
    injected = organcam.inject(model, backend=backend, layer="norm", label=0, return_attention=True)
    with torch.no_grad():
        output, maps = injected(x)
    torch.testing.assert_close(output, model(x).detach())
    assert maps.shape == (2, 1, *x.shape[2:])
    assert maps.min() < 0
    # cells of stride 2 are centred on voxels 0, 2, 4 ...
    on_cells = maps[:, 0, ::2, ::2] if dims == 2 else maps[:, 0, ::2, ::2, ::2]
    torch.testing.assert_close(on_cells, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("backend", "method"), [("gcampp", "gradcam_plus_plus"), ("ggcam", "guided_gradcam")])
def test_names_of_m3d_cam_are_methods(backend, method):
    model, x = network().eval(), images()
    expected = attention_maps(model, x, method=method, targets=[1], layer="norm", upsample=True).values
    torch.testing.assert_close(
        organcam.inject(model, backend=backend, layer="norm", label=1, replace=True)(x), expected
    )


def test_guided_backprop_needs_no_layer_and_guides_functional_relus():
    """medcam leaves `relu()` as a function unguided, without a word."""
    model, x = network().eval(), images()
    expected = attention_maps(model, x, method="guided_backprop", targets=[1]).values
    plain = attention_maps(model, x, method="gradient", targets=[1]).values
    injected = organcam.inject(model, backend="gbp", label=1, return_attention=True)
    with torch.no_grad():
        _, maps = injected(x)
    torch.testing.assert_close(maps, expected)
    assert not torch.allclose(maps, plain)


def test_best_is_each_items_own_and_labels_may_differ_by_item():
    model, x = network().eval(), 4 * images(6)
    with torch.no_grad():
        model.fc.bias[:] = 0
    best = model(x).argmax(1)
    assert len(best.unique()) > 1
    with torch.no_grad():
        default = organcam.inject(model, layer="norm", replace=True)(x)
        given = organcam.inject(model, layer="norm", replace=True)(x, label=best)
        single = torch.cat(
            [organcam.inject(model, layer="norm", replace=True, label=int(b))(x[i : i + 1]) for i, b in enumerate(best)]
        )
    torch.testing.assert_close(default, single)
    torch.testing.assert_close(given, single)


def test_several_labels_are_several_maps_and_a_function_is_one():
    model, x = network().eval(), images()
    injected = organcam.inject(model, layer="norm", replace=True)
    with torch.no_grad():
        two, everything = injected(x, label=[2, 0]), injected(x, label="all")
        summed = injected(x, label=lambda output: torch.tensor([1.0, 0.0, 1.0]).expand_as(output))
    torch.testing.assert_close(two, everything[:, [2, 0]])
    torch.testing.assert_close(summed, two.sum(1, keepdim=True))


def test_a_segmentation_is_explained_where_it_is_predicted():
    torch.manual_seed(0)
    unet = UNet(2, 1, 3, (4, 8), (2,)).eval()
    x = images()[..., :8]
    output = unet(x)
    there = torch.zeros_like(output).scatter_(1, output.argmax(1, keepdim=True), 1.0)
    counts = there.flatten(2).sum(2)
    best = int(counts[0, 1:].argmax()) + 1
    kept = []
    handle = unet.model[0].register_forward_hook(lambda _m, _i, out: kept.append(out))
    score = (unet(x) * there)[:, best].sum()
    handle.remove()
    expected = (torch.autograd.grad(score, kept[0])[0] * kept[0]).sum(1).detach()
    injected = organcam.inject(unet, layer="model.0", return_attention=True, label=best)
    with torch.no_grad():
        same, maps = injected(x)
    torch.testing.assert_close(same, output.detach())
    torch.testing.assert_close(maps[:, 0, ::2, ::2], expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        default = organcam.inject(unet, layer="model.0", replace=True)(x[:1])
    torch.testing.assert_close(default, maps[:1])


def test_a_class_that_is_predicted_nowhere_has_an_empty_map():
    unet = UNet(2, 1, 3, (4, 8), (2,)).eval()
    with torch.no_grad():
        unet.model[-1].conv.bias[2] = -1e3
        maps = organcam.inject(unet, layer="model.0", replace=True, label=2)(images()[..., :8])
    assert maps.abs().max() == 0


def test_slab_wise_networks_have_maps_of_the_volume():
    torch.manual_seed(0)
    axial = AxialNet(num_labels=3, backbone="small", input_shape=(9, 32, 32)).eval()
    x = torch.randn(2, 3, 3, 32, 32)
    expected = attention_maps(axial, x, method="gradcam", targets=[1])
    with torch.no_grad():
        maps = organcam.inject(axial, backend="gcam", layer=expected.layer, replace=True, label=1)(x)
    assert maps.shape == (2, 1, 9, 32, 32)
    for item in range(2):
        torch.testing.assert_close(
            maps[item, 0], to_input_grid(expected.values[item, 0], expected.grid), atol=1e-6, rtol=1e-4
        )


def test_normalised_maps_are_scaled_one_by_one_and_an_empty_one_stays_empty():
    model = network(labels=2).eval()
    with torch.no_grad():
        model.fc.weight[1] = 0.0
        maps = organcam.inject(model, layer="norm", replace=True, label="all", normalise=True)(images(3))
    assert maps[:, 0].amax((1, 2)).tolist() == pytest.approx([1.0] * 3)
    assert maps.min() == 0
    assert maps[:, 1].abs().max() == 0
    assert not maps.isnan().any()


def test_a_layer_that_runs_twice_is_refused_and_not_mixed_up():
    class Twice(Classifier):
        def forward(self, x):
            z = self.second(self.first(x).relu())
            return self.fc((z + self.norm(self.norm(z))).flatten(2).mean(2))

    with pytest.raises(ValueError, match="runs 2 times"), torch.no_grad():
        organcam.inject(Twice().eval(), layer="norm")(images())


# layers --------------------------------------------------------------------------------------------------------------


def test_auto_takes_the_last_layer_that_leads_to_the_score():
    class WithBystander(Classifier):
        def __init__(self):
            super().__init__()
            self.bystander = nn.Conv2d(5, 2, 1)

        def forward(self, x):
            z = self.norm(self.second(self.first(x).relu()))
            self.bystander(z)
            return self.fc(z.relu().flatten(2).mean(2))

    injected = organcam.inject(WithBystander().eval(), return_attention=True)
    with torch.no_grad():
        _, maps = injected(images())
        expected = organcam.inject(injected, layer="norm", replace=True)(images())
    torch.testing.assert_close(maps, expected)


def test_auto_of_a_densenet_is_its_last_activation_and_of_a_unet_its_bottleneck():
    torch.manual_seed(0)
    dense = DenseNet(3, 1, 2, init_features=4, growth_rate=4, block_config=(1, 1)).eval()
    unet = UNet(3, 1, 2, (4, 8, 16), (2, 2)).eval()
    x = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        injected = organcam.inject(dense)
        injected(x)
        assert injected._found == ("class_layers.relu",)
        injected = organcam.inject(unet)
        injected(x)
    assert injected.get_attention_map().shape == x.shape
    assert injected._found == ("model.1.submodule.1",)


def test_full_explains_every_layer_and_the_closer_one_is_named_like_it():
    model, x = network().eval(), images()
    with torch.no_grad():
        _, maps = organcam.inject(model, layer="full", label=0, return_attention=True)(x)
        assert list(maps) == ["first", "second", "norm"]
        for name, found in maps.items():
            torch.testing.assert_close(found, organcam.inject(model, layer=name, label=0, replace=True)(x))
        both = organcam.inject(model, layer=["second", "first"], label=0, replace=True)(x)
    assert list(both) == ["second", "first"]


def test_get_layers_names_all():
    model = network()
    assert organcam.get_layers(model) == ["first", "second", "norm", "drop", "fc"]
    assert organcam.inject(model).get_layers(reverse=True) == ["fc", "drop", "norm", "second", "first"]


# nothing is done to the network --------------------------------------------------------------------------------------


def fingerprint(model):
    return (
        [module.training for module in model.modules()],
        [sum(map(len, (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks))) for m in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()],
        {name: value.clone() for name, value in model.state_dict().items()},
    )


def same(before, after) -> None:
    assert before[:3] == after[:3]
    for one, other in zip(before[3], after[3], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    assert all(torch.equal(before[4][name], after[4][name]) for name in before[4])


@pytest.mark.parametrize("layer", ["norm", "auto", "full"])
def test_modes_gradients_hooks_and_weights_are_left_alone(layer):
    model = network()
    model.train()
    model.norm.eval()  # a frozen part
    model(images()).sum().backward()  # an accumulation in flight
    state, cudnn = fingerprint(model), torch.backends.cudnn.enabled
    injected = organcam.inject(model, layer=layer, label=0)
    same(state, fingerprint(model))
    with torch.no_grad():
        injected(images())
    same(state, fingerprint(model))
    assert torch.backends.cudnn.enabled == cudnn


def test_hooks_are_gone_after_an_exception():
    model = network().eval()
    state = fingerprint(model)
    with pytest.raises(ValueError, match="out of range"), torch.no_grad():
        organcam.inject(model, layer="norm", label=7)(images())
    with pytest.raises(RuntimeError), torch.no_grad():
        organcam.inject(model, layer="norm")(torch.zeros(1, 5, 8, 8))
    same(state, fingerprint(model))


def test_training_through_an_injected_network_is_as_without():
    plain, explained = network().train(), network().train()
    injected = organcam.inject(explained, layer="norm", label=0)
    for model in (plain, injected):
        torch.manual_seed(3)
        nn.functional.cross_entropy(model(images()), torch.tensor([0, 2])).backward()
    for one, other in zip(plain.parameters(), explained.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert torch.equal(plain.norm.running_mean, explained.norm.running_mean)
    assert plain.norm.num_batches_tracked == explained.norm.num_batches_tracked


@pytest.mark.parametrize("mode", ["grad", "no_grad", "inference", "frozen", "autocast"])
def test_maps_do_not_depend_on_the_callers_mode(mode):
    model, x = network().eval(), images()
    with torch.no_grad():
        expected = organcam.inject(model, layer="norm", label=1, replace=True)(x)
    if mode == "frozen":
        model.requires_grad_(False)
    around = {
        "no_grad": torch.no_grad(),
        "inference": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
    }.get(mode, torch.enable_grad())
    with around:
        found = organcam.inject(model, layer="norm", label=1, replace=True)(x)
    torch.testing.assert_close(found, expected)


def test_plain_inference_costs_no_second_pass_and_no_hidden_one():
    model, seen = network().eval(), []
    handle = model.first.register_forward_hook(lambda *_: seen.append(1))
    injected = organcam.inject(model, layer="norm")
    with torch.no_grad():
        injected(images())
        seen.clear()  # the first time the places of the cells are found out
        for _ in range(3):
            assert not injected(images()).requires_grad
        assert not torch.is_grad_enabled()
    assert len(seen) == 3
    handle.remove()


def test_a_metatensor_costs_no_second_pass_either_and_stays_one():
    model, seen = network().eval(), []
    injected = organcam.inject(model, layer="norm", return_attention=True)
    x = MetaTensor(images(), meta={"filename_or_obj": ["a.png", "b.png"]})
    with torch.no_grad():
        injected(x)
        handle = model.first.register_forward_hook(lambda *_: seen.append(1))
        output, maps = injected(x)
        handle.remove()
        expected = organcam.inject(model, layer="norm", replace=True)(images())
    assert len(seen) == 1
    assert isinstance(output, MetaTensor)
    torch.testing.assert_close(maps, expected)


def test_several_inputs_one_of_them_by_name():
    class Two(Classifier):
        def forward(self, x, other, scale=1.0):
            return super().forward(x + other) * scale

    model, x = Two().eval(), images()
    with torch.no_grad():
        found = organcam.inject(model, layer="norm", label=1, replace=True)(x, other=-2 * x, scale=3.0)
        again = organcam.inject(model, layer="norm", label=1, replace=True)(x, -2 * x, 3.0)
    expected = attention_maps(model, (x, -2 * x, 3.0), targets=[1], layer="norm", upsample=True).values
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again, expected)


def test_the_output_is_the_networks_own_whatever_its_form():
    class Several(Classifier):
        def forward(self, x, scale=1.0):
            logits = super().forward(x) * scale
            return {"logits": logits, "more": [logits + 1]}

    model, x = Several().eval(), images()
    with torch.no_grad():
        expected = model(x, scale=2.0)
        found, maps = organcam.inject(model, layer="norm", label=1, return_attention=True)(x, scale=2.0)
        once = organcam.inject(model, layer="norm", label=1, replace=True)(x)
    assert torch.equal(found["logits"], expected["logits"])
    assert torch.equal(found["more"][0], expected["more"][0])
    torch.testing.assert_close(maps, 2 * once)


def test_attributes_modes_weights_and_copies_are_the_networks():
    model = network()
    injected = organcam.inject(model, layer="norm", label=0)
    assert injected.fc is model.fc
    injected.dims = 5
    assert model.dims == 5
    injected.eval()
    assert not any(module.training for module in model.modules())
    assert list(injected.state_dict()) == list(model.state_dict())
    injected.load_state_dict(network(labels=3).state_dict())
    assert len(list(injected.parameters())) == len(list(model.parameters()))
    other = deepcopy(injected)
    with torch.no_grad():
        other.network.fc.weight.zero_()
        assert other(images()).std() < injected(images()).std() + 1
        assert not torch.equal(other(images()), injected(images()))
    with pytest.raises(AttributeError, match="nothing"):
        _ = injected.nothing


def test_an_injected_network_is_injected_anew():
    model = network().eval()
    first = organcam.inject(model, layer="norm", label=0)
    second = organcam.inject(first, layer="first", label=1, replace=True)
    assert second.network is model
    with torch.no_grad():
        torch.testing.assert_close(
            second(images()), organcam.inject(model, layer="first", label=1, replace=True)(images())
        )


def test_disabled_is_the_plain_network():
    model = network().eval()
    injected = organcam.inject(model, layer="norm", replace=True, enabled=False)
    assert torch.equal(injected(images()), model(images()))
    injected.enable()
    assert injected(images()).shape == (2, 1, 8, 10)
    injected.disable()
    assert injected(images()).shape == (2, 3)


def test_four_threads_get_their_own_maps():
    model = network().eval()
    injected = organcam.inject(model, layer="norm", label=0, replace=True)
    batches = [images() * factor for factor in (1, -2, 3, -4)]
    with torch.no_grad():
        expected = [injected(x) for x in batches]
    found: list = [None] * 4

    def work(number: int) -> None:
        for _ in range(10):
            with torch.no_grad():
                found[number] = injected(batches[number])

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


# files ---------------------------------------------------------------------------------------------------------------


def test_volumes_are_saved_at_the_inputs_size_with_its_affine_and_name(tmp_path):
    affine = torch.tensor([[0.0, -0.7, 0, 5], [0.8, 0, 0.1, -3], [0, 0, 2.5, 9], [0, 0, 0, 1]], dtype=torch.float64)
    x = MetaTensor(images(1, 3), affine=affine, meta={"filename_or_obj": "/scans/case 7.nii.gz"})
    model = network(3).eval()
    injected = organcam.inject(
        model, tmp_path, layer="norm", label=1, save_maps=True, save_npz=True, return_attention=True
    )
    with torch.no_grad():
        _, maps = injected(x)
    assert type(maps) is torch.Tensor
    image = nib.load(tmp_path / "norm" / "case_7_1.nii.gz")
    np.testing.assert_allclose(image.affine, affine.numpy(), atol=1e-6)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(image.dataobj), maps[0, 0].numpy())
    held = read_attention(tmp_path / "norm" / "case_7.npz")
    assert held.labels == ("1",)
    np.testing.assert_allclose(held.maps["hirescam"][0], maps[0, 0, ::2, ::2, ::2], atol=1e-6)


def test_images_are_saved_as_pictures_over_the_image(tmp_path):
    from PIL import Image

    model = network().eval()
    injected = organcam.inject(model, tmp_path, layer="norm", label=[0, 2], save_maps=True)
    with torch.no_grad():
        injected(images())
        injected(images())
    names = sorted(path.name for path in (tmp_path / "norm").iterdir())
    assert names == [
        f"attention_map_{call}_{item}_{label}.png" for call in (0, 1) for item in (0, 1) for label in (0, 2)
    ]
    maps = injected.get_attention_map()
    with Image.open(tmp_path / "norm" / names[0]) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (8, 10, 3)
    peak = np.unravel_index(int(maps[0, 0].argmax()), (8, 10))
    assert pixels[peak][0] > pixels[peak][2]


def test_pickles_are_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"pickle runs whatever code it holds.*save_npz"):
        organcam.inject(network(), "maps", save_pickle=True)


@pytest.mark.parametrize("word", ["save_maps", "save_npz", "save_scores"])
def test_files_need_a_folder(word):
    with pytest.raises(ConfigError, match=f"{word} needs output_dir"):
        organcam.inject(network(), **{word: True})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "hirescan"}, "did you mean 'hirescam'"),
        ({"layer": "nrom"}, "did you mean 'norm'"),
        ({"layer": ["norm", "frist"]}, "did you mean 'first'"),
        ({"metric": "wiau"}, "did you mean 'wioa'"),
        ({"threshold": "otso"}, r"'otsu' or a number in \[0, 1\)"),
        ({"threshold": 1.5}, "got 1.5"),
    ],
)
def test_wrong_words_are_refused_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        organcam.inject(network(), **options)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (3, "outputs 0 to 2"),
        ("bset", "did you mean 'best'"),
        (1.5, "label must be"),
        (torch.tensor([0]), "one for each"),
    ],
)
def test_wrong_labels_are_refused(label, words):
    injected = organcam.inject(network().eval(), layer="norm")
    with pytest.raises(ValueError, match=words), torch.no_grad():
        injected(images(), label=label)
    with pytest.raises(ValueError, match="mask of the output's shape"), torch.no_grad():
        injected(images(), label=lambda output: output[:, 0] > 0)


# scores --------------------------------------------------------------------------------------------------------------


def test_maps_are_scored_against_masks_item_by_item_and_written(tmp_path):
    import openpyxl
    import pandas as pd

    from organcam.injection import compute_score

    model = network().eval()
    injected = organcam.inject(
        model,
        tmp_path,
        layer="norm",
        label=[0, 2],
        evaluate=True,
        metric="ioa",
        threshold=0.3,
        return_attention=True,
        return_score=True,
    )
    mask = torch.zeros(2, 8, 10)
    mask[0, :4], mask[1, :, 5:] = 1, 1
    with torch.no_grad():
        _, maps, scores = injected(images(), mask=mask)
        with pytest.raises(ValueError, match="give each call a mask"):
            injected(images())
    expected = [[compute_score(maps[i, m].numpy(), mask[i].numpy(), "ioa", 0.3) for m in (0, 1)] for i in (0, 1)]
    assert scores == {"norm": expected}
    paths = injected.dump()
    assert sorted(path.name for path in paths) == ["mean_scores.csv", "scores.csv", "scores.xlsx"]
    table = pd.read_csv(tmp_path / "scores.csv", dtype={"label": str})
    assert table["label"].tolist() == ["0", "2", "0", "2"]
    assert table["score"].tolist() == pytest.approx([*expected[0], *expected[1]])
    book = openpyxl.load_workbook(tmp_path / "scores.xlsx")
    assert book.sheetnames == ["Scores", "Mean Scores"]
    assert [row[4].value for row in list(book["Scores"])[1:]] == pytest.approx(table["score"].tolist())


def test_a_mask_of_another_size_is_refused():
    injected = organcam.inject(network().eval(), layer="norm")
    with pytest.raises(ValueError, match=r"mask \[2, 4, 5\] does not fit maps \[2, 1, 8, 10\]"), torch.no_grad():
        injected(images(), mask=torch.ones(2, 4, 5))


def test_a_function_may_be_the_metric():
    def peak_inside(attention, mask, threshold):
        return float(mask.ravel()[attention.argmax()])

    injected = organcam.inject(network().eval(), layer="norm", metric=peak_inside, return_score=True)
    with torch.no_grad():
        _, scores = injected(images(), mask=torch.ones(2, 8, 10))
    assert scores == {"norm": [[1.0], [1.0]]}
    assert injected.evaluator.scores()["metric"].unique().tolist() == ["peak_inside"]


def test_nothing_scored_nothing_written(tmp_path):
    assert organcam.inject(network(), tmp_path / "new", save_scores=True).dump() == []
    assert not (tmp_path / "new").exists()
