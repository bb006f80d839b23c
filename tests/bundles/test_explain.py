"""`organcam explain SCANS --model ...`: a run's model, somebody's bundle, TorchScript; one scan, tables, DICOM."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from monai.networks.nets import DenseNet
from typer.testing import CliRunner

from organcam.attention import attention_maps, read_attention
from organcam.cli import app
from organcam.networks import AxialNet
from organcam.placement import SourceGrid, map_on_source

OPTIONS = {"backbone": "small", "head": "registered", "head_channels": [8, 8], "head_kernel": 1}
AFFINE = np.array([[-2.4, 0, 0, 20], [0, -2.4, 0, 30], [0, 0, 3.5, -5], [0, 0, 0, 1]])
LABELS = ["lung_nodule", "heart_stent"]
CLASSIFIER = {"in_channels": 1, "out_channels": 3, "init_features": 4, "growth_rate": 4, "block_config": [1, 1]}


def write_scan(path, shape=(72, 60, 14)):
    values = np.random.default_rng(0).integers(-1000, 400, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path


def write_run(root):
    torch.manual_seed(0)
    network = AxialNet(num_labels=2, input_shape=(12, 64, 64), **OPTIONS).eval()
    (root / "models" / "only").mkdir(parents=True)
    state = {
        "weights": network.state_dict(),
        "labels": LABELS,
        "network": {"name": "axialnet", **OPTIONS},
        "input": {"shape": [12, 64, 64], "window_hu": [-1000.0, 800.0]},
        "grid": network.feature_grid((12, 64, 64)).to_dict(),
    }
    torch.save(state, root / "models" / "only" / "model.pt")
    sections = "store: {spacing_mm: null}", "input: {shape: [12, 64, 64], window_hu: [-1000, 800]}"
    (root / "workflow.yaml").write_text("\n".join(["data: {images: scans}", *sections, ""]))
    return network


def write_bundle(root):
    """Somebody's own: any preprocessing, any network, labels in its metadata."""
    torch.manual_seed(0)
    network = DenseNet(3, **CLASSIFIER).eval()
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.save({"model": network.state_dict()}, root / "models" / "model.pt")
    steps = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 400, "b_min": 0, "b_max": 1},
        {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": [32, 32, 16]},
    ]
    config = {
        "network_def": {"_target_": "DenseNet", "spatial_dims": 3, **CLASSIFIER},
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "evaluator": {"_target_": "SupervisedEvaluator", "network": "@network_def"},
    }
    image = {"num_channels": 1, "spatial_shape": [32, 32, 16]}
    names = {"0": "none", "1": "mild", "2": "severe"}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": {"channel_def": names}}}}
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return network


def explain(*words):
    return CliRunner().invoke(app, ["explain", *map(str, words)])


def test_a_runs_model_explains_one_scan(tmp_path):
    write_run(tmp_path / "run")
    scan = write_scan(tmp_path / "one.nii.gz")
    done = explain(
        scan, "--model", tmp_path / "run", "--out", tmp_path / "out", "--methods", "hirescam,gradcam,gradient_x_input",
        "--labels", "heart_stent", "--nifti", "--png",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = read_attention(tmp_path / "out" / "one.npz")
    assert found.labels == tuple(LABELS)
    assert set(found.maps) == {"hirescam", "gradcam", "gradient_x_input"}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "failures.csv", "one.npz", "one_heart_stent.nii.gz", "one_heart_stent.png", "scores.csv",
    ]  # fmt: skip
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    np.testing.assert_allclose(scores[LABELS].to_numpy()[0], found.scores, atol=1e-5)
    image = nib.load(tmp_path / "out" / "one_heart_stent.nii.gz")
    assert image.shape == (72, 60, 14)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    # by hand: network axes are I, P, L; (14 - 12) // 2 = 1, -(64 - 60) // 2 = -2, (72 - 64) // 2 = 4
    turned = AFFINE @ np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [-1, 0, 0, 13], [0, 0, 0, 1]])
    shifted = turned @ np.array([[1, 0, 0, 1.0], [0, 1, 0, -2], [0, 0, 1, 4], [0, 0, 0, 1]])
    placed = map_on_source(found.maps["hirescam"][1], found.grid, shifted, SourceGrid((72, 60, 14), AFFINE))
    np.testing.assert_allclose(np.asarray(image.dataobj), placed.array, atol=1e-5)


def test_a_table_goes_on_after_a_rotten_scan(tmp_path):
    write_run(tmp_path / "run")
    write_scan(tmp_path / "good.nii.gz")
    (tmp_path / "rotten.nii.gz").write_bytes(b"not a scan")
    (tmp_path / "scans.csv").write_text("scan_id,image\nbad,rotten.nii.gz\nfine,good.nii.gz\n")
    done = explain(tmp_path / "scans.csv", "--model", tmp_path / "run" / "models" / "only", "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert "1 of 2 scans" in done.output
    assert pd.read_csv(tmp_path / "out" / "failures.csv")["scan_id"].tolist() == ["bad"]
    assert pd.read_csv(tmp_path / "out" / "scores.csv")["scan_id"].tolist() == ["fine"]
    assert (tmp_path / "out" / "fine.npz").is_file()


def test_somebodys_bundle_with_its_own_preprocessing(tmp_path):
    network = write_bundle(tmp_path / "bundle")
    scan = write_scan(tmp_path / "one.nii.gz", (40, 40, 20))
    done = explain(scan, "--model", tmp_path / "bundle", "--out", tmp_path / "out", "--nifti", "--top-k", "2")
    assert done.exit_code == 0, done.output
    found = read_attention(tmp_path / "out" / "one.npz")
    assert found.labels == ("none", "mild", "severe")
    values = (np.asarray(nib.load(scan).dataobj)[4:36, 4:36, 2:18] + 1000) / 1400
    expected = attention_maps(network, torch.from_numpy(values)[None, None].float(), layer="class_layers.relu")
    np.testing.assert_allclose(found.maps["hirescam"], expected.values[0], rtol=1e-3, atol=1e-5)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_torchscript_is_explained_by_what_needs_no_layers(tmp_path):
    network = write_bundle(tmp_path / "bundle")
    torch.jit.trace(network, torch.zeros(1, 1, 32, 32, 16)).save(tmp_path / "model.ts")
    scan = write_scan(tmp_path / "one.nii.gz", (40, 40, 20))
    words = (scan, "--model", tmp_path / "bundle", "--weights", tmp_path / "model.ts", "--out", tmp_path / "out")
    refused = explain(*words)
    assert refused.exit_code != 0
    assert "TorchScript hides" in str(refused.exception)
    assert "gradient_x_input" in str(refused.exception)
    done = explain(*words, "--methods", "gradient_x_input", "--labels", "mild", "--nifti")
    assert done.exit_code == 0, done.output
    found = read_attention(tmp_path / "out" / "one.npz")
    values = torch.from_numpy((np.asarray(nib.load(scan).dataobj)[4:36, 4:36, 2:18] + 1000) / 1400)[None, None].float()
    expected = attention_maps(network, values, method="gradient_x_input", targets=[1])
    assert found.labels == ("mild",)
    np.testing.assert_allclose(found.maps["gradient_x_input"][0], expected.values[0, 0], rtol=1e-2, atol=1e-6)


def test_a_dicom_series_gets_dicom_objects(tmp_path, write_series):
    write_run(tmp_path / "run")
    folder = write_series(tmp_path / "ct")
    done = explain(folder, "--model", tmp_path / "run", "--out", tmp_path / "out", "--labels", "lung_nodule", "--dicom")
    assert done.exit_code == 0, done.output
    held = pydicom.dcmread(tmp_path / "out" / "ct_lung_nodule.dcm")
    assert held.StudyInstanceUID == "1.2.3"
    assert (tmp_path / "out" / "ct_lung_nodule_regions.dcm").is_file()
    scan = write_scan(tmp_path / "one.nii.gz")
    refused = explain(scan, "--model", tmp_path / "run", "--out", tmp_path / "no", "--dicom")
    assert refused.exit_code == 1
    assert "is no DICOM series" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs --model"),
        (["--model", "nowhere"], "neither a run directory with trained models nor a MONAI bundle"),
        (["--model", "run", "--labels", "lung_nodul"], "did you mean 'lung_nodule'"),
        (["--model", "run", "--methods", "hirescan"], "did you mean 'hirescam'"),
        (["--model", "bundle", "--weights", "workflow.txt"], "neither a state dictionary nor TorchScript"),
    ],
)
def test_wrong_words_are_told(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    write_bundle(tmp_path / "bundle")
    (tmp_path / "workflow.txt").write_text("x")
    write_scan(tmp_path / "one.nii.gz")
    done = explain("one.nii.gz", "--out", "out", *words)
    assert done.exit_code != 0
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
