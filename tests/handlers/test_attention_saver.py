"""Maps written from real MONAI evaluators, by slab-wise and by ordinary 3D networks."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DenseNet, UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    Spacingd,
)
from torch import nn

from organcam.attention import attention_maps, read_attention
from organcam.errors import DataError
from organcam.geometry import FeatureGrid
from organcam.handlers import AttentionSaver
from organcam.networks import AxialNet
from organcam.placement import map_on_source, source_grid_of

NAMES = ("lung_nodule", "heart_stent", "lung_mass")


def axialnet() -> AxialNet:
    torch.manual_seed(0)
    return AxialNet(num_labels=3, backbone="small", input_shape=(3, 32, 32))


def slab_scans(**more: object) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"image": torch.rand(2, 3, 32, 32, generator=generator) - 0.4, "scan_id": f"trn{i}", "label": torch.zeros(3)}
        | more
        for i in range(3)
    ]


def evaluate(network: nn.Module, items: list[dict[str, object]], saver: AttentionSaver, transform=None, **options):
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(items, transform), batch_size=2),
        network=network,
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        val_handlers=[saver],
        **options,
    )
    evaluator.run()
    return evaluator


@pytest.mark.parametrize("decollate", [True, False])
@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
def test_npz_holds_the_maps_of_every_scan(tmp_path, decollate, method):
    network, items = axialnet(), slab_scans()
    saver = AttentionSaver(network, tmp_path / "new" / "maps", method=method, label_names=NAMES)
    evaluate(network, items, saver, decollate=decollate)
    for item in items:
        expected = attention_maps(network, item["image"][None], method=method)
        with np.load(tmp_path / "new" / "maps" / f"{item['scan_id']}.npz", allow_pickle=False) as found:
            np.testing.assert_allclose(found[method], expected.values[0], atol=1e-6)
            np.testing.assert_allclose(found["scores"], expected.logits[0], atol=1e-6)
            assert found["labels"].tolist() == list(NAMES)
            grid = FeatureGrid.from_dict(json.loads(str(found["grid"])))
        assert grid == network.feature_grid((6, 32, 32))


def test_network_is_left_as_it_was(tmp_path):
    network = axialnet().train()
    network.backbone.eval()  # a frozen part, which MONAI's own eval_mode would set to training
    flags = [module.training for module in network.modules()]
    state = SimpleNamespace(output={"image": torch.rand(1, 2, 3, 32, 32)}, batch={"scan_id": ["one"]})
    AttentionSaver(network, tmp_path, layer="head")(SimpleNamespace(state=state))
    assert (tmp_path / "one.npz").is_file()
    assert [module.training for module in network.modules()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_maps_are_signed_and_sum_to_the_score(tmp_path):
    network = axialnet()
    evaluate(network, slab_scans(), AttentionSaver(network, tmp_path))
    with np.load(tmp_path / "trn0.npz", allow_pickle=False) as found:
        assert found["hirescam"].min() < 0
        total = found["hirescam"].sum(axis=(1, 2, 3)) + network.fc.bias.detach().numpy()
        np.testing.assert_allclose(total, found["scores"], atol=1e-5)


def test_chosen_labels_as_nifti_with_the_items_affine(tmp_path):
    network, affine = axialnet(), np.diag([-2.0, -0.8, -0.8, 1.0])
    affine[:3, 3] = [10, 20, 30]
    saver = AttentionSaver(network, tmp_path, targets=["lung_mass"], label_names=NAMES, file_format="nifti")
    evaluate(network, slab_scans(affine=affine), saver)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"trn{i}_lung_mass.nii.gz" for i in range(3)]
    image = nib.load(tmp_path / "trn1_lung_mass.nii.gz")
    assert image.shape == (6, 32, 32)
    np.testing.assert_allclose(image.affine, affine)
    assert np.asarray(image.dataobj).min() < 0


def test_any_network_and_loader_by_layer_and_file_name(tmp_path):
    """A bundle user's case: DenseNet, LoadImaged, no id in the items, a YAML overlay of scalars."""
    affine = np.diag([0.7, 0.7, 2.0, 1.0])
    generator = np.random.default_rng(0)
    for name in ("case 1", "case2"):
        nib.save(nib.Nifti1Image(generator.random((32, 32, 32), np.float32), affine), tmp_path / f"{name}.nii.gz")
    items = [{"image": str(tmp_path / f"{name}.nii.gz")} for name in ("case 1", "case2")]
    torch.manual_seed(0)
    network = DenseNet(3, 1, 2, init_features=4, growth_rate=4, block_config=(1, 1))
    config = {
        "network": "$None",
        "saver": {
            "_target_": "organcam.handlers.AttentionSaver",
            "network": "@network",
            "output_dir": str(tmp_path / "out"),
            "layer": "class_layers.relu",
            "targets": [1],
            "file_format": "nifti",
        },
    }
    parser = ConfigParser(config)
    parser["network"] = network
    saver = parser.get_parsed_content("saver")
    evaluate(network, items, saver, Compose([LoadImaged("image"), EnsureChannelFirstd("image")]))
    image = nib.load(tmp_path / "out" / "case_1_label1.nii.gz")
    assert image.shape == (32, 32, 32)
    np.testing.assert_allclose(image.affine, affine)
    assert (tmp_path / "out" / "case2_label1.nii.gz").is_file()


def test_two_dimensional_maps_are_kept_as_npz_only(tmp_path):
    torch.manual_seed(0)
    network = DenseNet(2, 1, 2, init_features=4, growth_rate=4, block_config=(1,))
    items = [{"image": torch.rand(1, 16, 16), "scan_id": "slice1"}]
    evaluate(network, items, AttentionSaver(network, tmp_path, layer="features"))
    with np.load(tmp_path / "slice1.npz", allow_pickle=False) as found:
        assert sorted(found.files) == ["grid", "hirescam", "labels", "scores"]
        assert found["hirescam"].ndim == 3
    assert read_attention(tmp_path / "slice1.npz").grid.stride == (4.0, 4.0)
    saver = AttentionSaver(network, tmp_path, layer="features", targets=[0], file_format="nifti")
    with pytest.raises(ValueError, match="2 axes cannot be NIfTI"):
        evaluate(network, [{**items[0], "affine": np.eye(4)}], saver)


def test_a_second_run_replaces_the_files(tmp_path):
    network = axialnet()
    saver = AttentionSaver(network, tmp_path)
    evaluator = evaluate(network, slab_scans(), saver)
    evaluator.run()
    assert len(list(tmp_path.iterdir())) == 3


def test_scans_with_one_name_are_not_lost(tmp_path):
    items = [{"image": MetaTensor(torch.rand(2, 3, 32, 32), meta={"filename_or_obj": f"{d}/ct.nii.gz"})} for d in "ab"]
    network = axialnet()
    with pytest.raises(DataError, match=r"two scans are called 'ct'.*'a/ct.nii.gz'.*'scan_id'"):
        evaluate(network, items, AttentionSaver(network, tmp_path))


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"scan_id": "../../etc/passwd"}, DataError, "cannot be a file name"),
        ({"scan_id": None}, KeyError, "no entry 'scan_id'"),
    ],
)
def test_bad_or_missing_id_is_refused(tmp_path, more, error, words):
    items = [{key: value for key, value in (item | more).items() if value is not None} for item in slab_scans()[:1]]
    network = axialnet()
    with pytest.raises(error, match=words):
        evaluate(network, items, AttentionSaver(network, tmp_path))


def test_nifti_without_affine_says_so(tmp_path):
    network = axialnet()
    with pytest.raises(KeyError, match="NIfTI needs the input's affine"):
        evaluate(network, slab_scans(), AttentionSaver(network, tmp_path, targets=[0], file_format="nifti"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "hirescan"}, "did you mean 'hirescam'"),
        ({"layer": "haed"}, "did you mean 'head'"),
        ({"file_format": "nii"}, "did you mean 'nifti'"),
        ({"file_format": "nifti"}, "name the targets"),
        ({"space": "sorce"}, "did you mean 'source'"),
        ({"top": 0}, "at least 1"),
        ({"targets": ["lung_nodul"], "label_names": NAMES}, "did you mean 'lung_nodule'"),
        ({"targets": ["lung_nodule"]}, "needs label_names"),
    ],
)
def test_bad_argument_is_refused_before_the_run(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        AttentionSaver(axialnet(), tmp_path, **options)


@pytest.mark.parametrize(("amp", "runs"), [(False, 2), (True, 5)])
def test_the_evaluators_own_forward_pass_is_explained(tmp_path, amp, runs):
    network, seen, graphs = axialnet(), [], []
    attention_maps(network, slab_scans()[0]["image"][None])  # its closed form is checked once, by one pass more
    count = network.backbone.register_forward_hook(lambda *_: seen.append(1))
    saver = AttentionSaver(network, tmp_path, method="gradcam")
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(slab_scans()), batch_size=2),
        network=network,
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        val_handlers=[saver],
        amp=amp,
    )
    evaluator.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: graphs.extend(item["pred"].requires_grad for item in e.state.output)
    )
    evaluator.run()
    count.remove()
    assert len(seen) == runs  # two batches; in mixed precision once more for each of the three scans
    assert graphs == [False] * 3
    assert not any(module._forward_hooks for module in network.modules())
    for item in slab_scans():
        expected = attention_maps(network, item["image"][None], method="gradcam")
        found = read_attention(tmp_path / f"{item['scan_id']}.npz")
        np.testing.assert_allclose(found.maps["gradcam"], expected.values[0], atol=1e-6)


def test_a_network_that_runs_window_by_window_is_run_again(tmp_path):
    torch.manual_seed(0)
    network = DenseNet(2, 1, 2, init_features=4, growth_rate=4, block_config=(1,)).eval()

    def twice(inputs, network, *_, **__):
        return network(inputs) + network(inputs.flip(-1))

    items = [{"image": torch.rand(1, 16, 16), "scan_id": "slice1"}]
    evaluate(network, items, AttentionSaver(network, tmp_path, layer="features"), inferer=twice)
    found = read_attention(tmp_path / "slice1.npz")
    expected = attention_maps(network, items[0]["image"][None], layer="features")
    np.testing.assert_allclose(found.maps["hirescam"], expected.values[0], atol=1e-6)


def test_hooks_are_gone_after_a_failure(tmp_path):
    network = axialnet()
    broken = [{**slab_scans()[0], "image": torch.zeros(2, 3, 8, 8)}]
    with pytest.raises(ValueError, match="expected input"):
        evaluate(network, broken, AttentionSaver(network, tmp_path))
    assert not any(module._forward_hooks for module in network.modules())


def nifti_scans(folder, count=2):
    """Scans as a bundle loads them: oblique, anisotropic, with a label."""
    affine = np.array([[-1.2, 0.1, 0, 20], [0.1, 1.2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    generator = np.random.default_rng(0)
    for number in range(count):
        values = generator.random((36, 40, 20), np.float32)
        nib.save(nib.Nifti1Image(values, affine), folder / f"scan{number}.nii.gz")
    items = [{"image": str(folder / f"scan{n}.nii.gz"), "label": torch.tensor(n)} for n in range(count)]
    chain = [
        LoadImaged("image"),
        EnsureChannelFirstd("image"),
        Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        Spacingd("image", (2.0, 2.0, 2.0)),
        ResizeWithPadOrCropd("image", (16, 32, 32)),
    ]
    return items, Compose(chain), affine


def dense() -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(3, 1, 3, init_features=4, growth_rate=4, block_config=(1, 1)).eval()


def test_maps_on_the_scans_own_voxels_with_nan_where_it_was_cropped_away(tmp_path):
    items, chain, affine = nifti_scans(tmp_path)
    network, out = dense(), tmp_path / "out"
    saver = AttentionSaver(network, out, layer="class_layers.relu", targets=1, file_format="nifti", space="source")
    evaluate(network, items, saver, chain)
    image = nib.load(out / "scan1_label1.nii.gz")
    assert image.shape == (36, 40, 20)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    values = np.asarray(image.dataobj)
    given = chain(items[1])["image"]
    maps = attention_maps(network, given[None], targets=1, layer="class_layers.relu")
    expected = map_on_source(maps.values[0, 0].numpy(), maps.grid, given.affine.numpy(), source_grid_of(given))
    np.testing.assert_allclose(values, expected.array, atol=1e-6)
    assert 0.2 < np.isnan(values).mean() < 0.9  # 36 voxels of 1.2 mm are 43 mm, of which the network sees 32


def test_the_own_pass_of_loaded_images_is_explained_too(tmp_path):
    """MONAI's MetaTensor once made it run again for each scan, without a word."""
    items, chain, _ = nifti_scans(tmp_path)
    network, seen = dense(), []
    saver = AttentionSaver(network, tmp_path / "out", layer="class_layers.relu", targets="predicted")
    evaluate(network, items, saver, chain)  # the first time the places of the cells are found out
    handle = network.features.conv0.register_forward_hook(lambda *_: seen.append(1))
    evaluate(network, items, saver, chain)
    handle.remove()
    assert len(seen) == 1


@pytest.mark.parametrize("layer", ["class_layers.relu", None])
def test_predicted_and_true_labels_are_chosen_scan_by_scan(tmp_path, layer):
    items, chain, _ = nifti_scans(tmp_path)
    network = dense()
    with torch.no_grad():
        scores = torch.cat([network(chain(item)["image"][None].as_tensor()) for item in items])
    saver = AttentionSaver(network, tmp_path / "predicted", layer=layer, targets="predicted", top=2)
    evaluate(network, items, saver, chain)
    for number in range(2):
        found = read_attention(tmp_path / "predicted" / f"scan{number}.npz")
        best = scores[number].argsort(descending=True)[:2].tolist()
        assert found.labels == tuple(f"label{one}" for one in best)
        np.testing.assert_allclose(found.scores, scores[number][best], atol=1e-5)
        assert found.maps["hirescam"].shape[0] == 2
    true = AttentionSaver(network, tmp_path / "true", layer=layer, targets="present", file_format="nifti")
    evaluate(network, items, true, chain)  # a class index of each scan
    assert sorted(p.name for p in (tmp_path / "true").iterdir()) == ["scan0_label0.nii.gz", "scan1_label1.nii.gz"]
    many = [item | {"label": torch.tensor([0.0, 1.0, 1.0])} for item in items]
    evaluate(network, many, AttentionSaver(network, tmp_path / "many", layer=layer, targets="present"), chain)
    assert read_attention(tmp_path / "many" / "scan0.npz").labels == ("label1", "label2")
    wrong = [item | {"label": torch.tensor([0.0, 1.0])} for item in items]
    with pytest.raises(DataError, match="'label' has 2 values, the network 3 outputs"):
        evaluate(network, wrong, AttentionSaver(network, tmp_path / "no", layer=layer, targets="present"), chain)


def test_segmentation_networks_are_explained_where_they_predict(tmp_path):
    items, chain, _ = nifti_scans(tmp_path)
    torch.manual_seed(0)
    network = UNet(3, 1, 2, (4, 8), (2,)).eval()
    evaluate(network, items, AttentionSaver(network, tmp_path / "out", layer="model.0"), chain)
    found = read_attention(tmp_path / "out" / "scan0.npz")
    expected = attention_maps(network, chain(items[0])["image"][None].as_tensor(), layer="model.0")
    np.testing.assert_allclose(found.maps["hirescam"], expected.values[0], rtol=1e-4, atol=1e-4)
    assert found.labels == ("label0", "label1")
