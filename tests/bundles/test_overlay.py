"""Bundles in the model zoo's form, made here, run by MONAI's own command with the printed lines."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.networks.nets import DenseNet, UNet
from typer.testing import CliRunner

from organcam.attention import attention_maps, read_attention
from organcam.cli import app

AFFINE = np.array([[-1.1, 0.1, 0, 20], [0.1, 1.2, 0, -30], [0, 0, 2.0, 5], [0, 0, 0, 1]])
CLASSIFIER = {"in_channels": 1, "out_channels": 3, "init_features": 4, "growth_rate": 4, "block_config": [1, 1]}
SEGMENTER = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}


def write_bundle(root, network, weights, configs, channels, size):
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.save(weights, root / "models" / "model.pt")
    metadata = {
        "version": "0.1.0",
        "monai_version": "1.6.1",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "num_channels": channels, "spatial_shape": size}},
            "outputs": {"pred": {"type": "probabilities", "num_channels": 3}},
        },
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for name, config in configs.items():
        (root / "configs" / name).write_text(json.dumps({"network_def": network, **config}))


def inference(steps, roi):
    """In the manner of a zoo bundle's inference.json."""
    return {
        "imports": ["$import glob"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "$@bundle_root + '/data'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "device": "$torch.device('cpu')",
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                *steps,
                {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": roi},
                {"_target_": "EnsureTyped", "keys": "image"},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 2, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
            },
            {"_target_": "StatsHandler", "iteration_log": False},
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }


def training(roi):
    """In the manner of a zoo bundle's train.json; validation writes the maps."""
    data = "$[{'image': i, 'label': i} for i in sorted(glob.glob('data/*.nii.gz'))]"
    steps = {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": ["image", "label"]},
            {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
            {"_target_": "ResizeWithPadOrCropd", "keys": ["image", "label"], "spatial_size": roi},
            {"_target_": "AsDiscreted", "keys": "label", "threshold": 0.5},
        ],
    }
    return {
        "imports": ["$import glob"],
        "device": "$torch.device('cpu')",
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "DiceLoss", "to_onehot_y": True, "softmax": True},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": 0.0},
        "train": {
            "dataset": {"_target_": "Dataset", "data": data, "transform": steps},
            "dataloader": {"_target_": "DataLoader", "dataset": "@train#dataset", "batch_size": 2},
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [
                {
                    "_target_": "ValidationHandler",
                    "validator": "@validate#evaluator",
                    "epoch_level": True,
                    "interval": 1,
                }
            ],
            "trainer": {
                "_target_": "SupervisedTrainer",
                "max_epochs": 1,
                "device": "@device",
                "train_data_loader": "@train#dataloader",
                "network": "@network",
                "loss_function": "@loss",
                "optimizer": "@optimizer",
                "inferer": "@train#inferer",
                "train_handlers": "$@train#handlers[: -2 if False else None]",
            },
        },
        "validate": {
            "dataset": {"_target_": "Dataset", "data": data, "transform": steps},
            "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": roi, "sw_batch_size": 1},
            "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
            "evaluator": {
                "_target_": "SupervisedEvaluator",
                "device": "@device",
                "val_data_loader": "@validate#dataloader",
                "network": "@network",
                "inferer": "@validate#inferer",
                "val_handlers": "@validate#handlers",
            },
        },
        "run": ["$@train#trainer.run()"],
    }


def write_scans(folder, shape, affine=AFFINE):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        nib.save(nib.Nifti1Image(generator.random(shape, np.float32), affine), folder / f"{name}.nii.gz")


def lines_of(root, *options):
    done = CliRunner().invoke(app, ["overlay", "--bundle", str(root), "--out", str(root / "organcam.yaml"), *options])
    assert done.exit_code == 0, done.output
    return done.output


def run_bundle(root, config):
    files = f"['configs/{config}','organcam.yaml']"
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", files],
        cwd=root,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]


def loaded(root, shape):
    values = np.asarray(nib.load(root / "data" / "one.nii.gz").dataobj)
    start = [(have - want) // 2 for have, want in zip(values.shape, shape, strict=True)]
    cut = tuple(slice(at, at + want) for at, want in zip(start, shape, strict=True))
    return torch.from_numpy(values[cut])[None, None].float(), start


def test_three_dimensional_classification(tmp_path):
    torch.manual_seed(0)
    network = DenseNet(3, **CLASSIFIER).eval()
    definition = {"_target_": "DenseNet", "spatial_dims": 3, **CLASSIFIER}
    write_bundle(
        tmp_path, definition, network.state_dict(), {"inference.json": inference([], [32, 32, 16])}, 1, ["8*n", 32, 32]
    )
    write_scans(tmp_path / "data", (40, 40, 20))
    said = lines_of(tmp_path)
    assert "class_layers.relu (ReLU, " in said
    assert "python -m monai.bundle run --config_file \"['configs/inference.json','organcam.yaml']\"" in said
    text = (tmp_path / "organcam.yaml").read_text()
    assert len(text.splitlines()) == 3
    assert yaml.safe_load(text) == {
        "+handlers": [
            {
                "_target_": "organcam.handlers.AttentionSaver",
                "network": "@network",
                "layer": "class_layers.relu",
                "output_dir": "@output_dir",
                "targets": "predicted",
                "file_format": "nifti",
                "space": "source",
            }
        ]
    }
    run_bundle(tmp_path, "inference.json")
    x, start = loaded(tmp_path, (32, 32, 16))
    best = int(network(x).argmax())
    image = nib.load(tmp_path / "eval" / f"one_label{best}.nii.gz")
    assert image.shape == (40, 40, 20)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    values = np.asarray(image.dataobj)
    expected = attention_maps(network, x, targets=best, layer="class_layers.relu", upsample=True).values[0, 0]
    inside = tuple(slice(at, at + want) for at, want in zip(start, (32, 32, 16), strict=True))
    np.testing.assert_allclose(values[inside], expected, atol=1e-5)
    assert np.isnan(values).sum() == 40 * 40 * 20 - 32 * 32 * 16


def test_two_dimensional_classification(tmp_path):
    torch.manual_seed(0)
    network = DenseNet(2, **CLASSIFIER).eval()
    definition = {"_target_": "DenseNet", "spatial_dims": 2, **CLASSIFIER}
    steps = [{"_target_": "SqueezeDimd", "keys": "image", "dim": -1}]
    write_bundle(
        tmp_path, definition, network.state_dict(), {"inference.json": inference(steps, [32, 32])}, 1, [64, 64]
    )
    write_scans(tmp_path / "data", (40, 40, 1))
    lines_of(tmp_path, "--layer", "features.denseblock2")
    run_bundle(tmp_path, "inference.json")
    found = read_attention(tmp_path / "eval" / "one.npz")
    x = torch.from_numpy(np.asarray(nib.load(tmp_path / "data" / "one.nii.gz").dataobj)[4:36, 4:36, 0])[None, None]
    expected = attention_maps(network, x, layer="features.denseblock2")
    best = int(expected.logits.argmax())
    assert found.labels == (f"label{best}",)
    np.testing.assert_allclose(found.maps["hirescam"][0], expected.values[0, best], atol=1e-5)


def test_three_dimensional_segmentation_in_training(tmp_path):
    torch.manual_seed(0)
    network = UNet(**SEGMENTER).eval()
    write_bundle(
        tmp_path,
        {"_target_": "UNet", **SEGMENTER},
        network.state_dict(),
        {"train.json": training([32, 32, 16])},
        1,
        ["2**p*n", "2**p*n", "2**p*n"],
    )
    write_scans(tmp_path / "data", (40, 40, 20))
    said = lines_of(tmp_path)
    assert "+validate#handlers:" in said
    run_bundle(tmp_path, "train.json")
    image = nib.load(tmp_path / "attention" / "one_label1.nii.gz")
    assert image.shape == (40, 40, 20)
    assert np.nanmax(np.abs(np.asarray(image.dataobj))) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config", "inferense"], "did you mean 'inference'"),
        (["--layer", "class_layers.rela"], "did you mean 'class_layers.relu'"),
    ],
)
def test_wrong_words_are_told(tmp_path, options, words):
    definition = {"_target_": "DenseNet", "spatial_dims": 3, **CLASSIFIER}
    write_bundle(tmp_path, definition, {}, {"inference.json": inference([], [32, 32, 16])}, 1, [32, 32, 32])
    done = CliRunner().invoke(app, ["overlay", "--bundle", str(tmp_path), *options])
    assert done.exit_code != 0
    assert words in str(done.exception)


def test_other_folders_and_broken_bundles_are_told(tmp_path):
    from organcam.bundles.overlay import overlay_of
    from organcam.errors import ConfigError, OrganCamError

    with pytest.raises(ConfigError, match="no MONAI bundle"):
        overlay_of(tmp_path)
    write_bundle(tmp_path, {"_target_": "DenseNat"}, {}, {"inference.json": inference([], [8, 8, 8])}, 1, [32, 32, 32])
    with pytest.raises(OrganCamError, match="network cannot be built.*DenseNat"):
        overlay_of(tmp_path)
    (tmp_path / "configs" / "inference.json").write_text('{"network_def": {"_target_": "DenseNet"}}')
    with pytest.raises(ConfigError, match="has an evaluator"):
        overlay_of(tmp_path)
    (tmp_path / "configs" / "inference.json").write_text("{")
    with pytest.raises(ConfigError, match="not a readable configuration"):
        overlay_of(tmp_path)
