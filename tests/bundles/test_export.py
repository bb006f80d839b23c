"""A model as a bundle: MONAI's own checks, its own command, and the very scores that the run's network gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from typer.testing import CliRunner

import organcam.workflows
from organcam.attention import attention_maps, read_attention
from organcam.cli import app
from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.errors import ConfigError
from organcam.geometry import FeatureGrid
from organcam.networks import NETWORKS
from organcam.transforms import HUWindow, LoadScan, PadOrCropAir, SlabStack

SHIPPED = Path(organcam.workflows.__file__).parent / "bundle"
OPTIONS = {"backbone": "small", "head": "registered", "head_channels": [8, 8], "head_kernel": 1}


def write_run(root: Path, spacing=None, more=None, options=None):
    """A run directory as training leaves it."""
    torch.manual_seed(0)
    options = options or {"name": "axialnet", **OPTIONS}
    builder = NETWORKS.get(options["name"])
    network = builder(num_labels=2, input_shape=(12, 64, 64), **{k: v for k, v in options.items() if k != "name"})
    (root / "models" / "only").mkdir(parents=True)
    state = {
        "weights": network.state_dict(),
        "labels": ["lung_nodule", "heart_stent"],
        "network": options,
        "input": {"shape": [12, 64, 64], "window_hu": [-1000.0, 800.0]},
        "grid": network.feature_grid((12, 64, 64)).to_dict(),
        **(more or {}),
    }
    torch.save(state, root / "models" / "only" / "model.pt")
    spaced = "null" if spacing is None else list(spacing)
    sections = f"store: {{spacing_mm: {spaced}}}", "input: {shape: [12, 64, 64], window_hu: [-1000, 800]}"
    (root / "workflow.yaml").write_text("\n".join(["data: {images: scans}", *sections, ""]))
    return network.eval()


def export(*options):
    return CliRunner().invoke(app, ["export-bundle", *map(str, options)])


def check(bundle: Path) -> None:
    """What MONAI asks of a bundle."""
    config, meta = str(bundle / "configs" / "inference.yaml"), str(bundle / "configs" / "metadata.json")
    workflow = ConfigWorkflow(
        config,
        meta_file=meta,
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    assert not workflow.check_properties()
    verify_net_in_out("network_def", meta_file=meta, config_file=config, device="cpu")


def run_bundle(bundle: Path, *words: str) -> None:
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml", *words]
    done = subprocess.run(command, cwd=bundle, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("spacing", [None, (4.0, 3.0, 3.0)])
def test_a_bundle_gives_what_the_runs_network_gives(tmp_path, spacing):
    network = write_run(tmp_path / "run", spacing)
    done = export(tmp_path / "run", "--out", tmp_path / "bundle")
    assert done.exit_code == 0, done.output
    check(tmp_path / "bundle")
    scans = tmp_path / "scans"
    scans.mkdir()
    affine = np.array([[-2.4, 0, 0, 20], [0, -2.4, 0, 30], [0, 0, 3.5, -5], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(-1200, 400, (72, 60, 14)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, affine), scans / "one.nii.gz")
    run_bundle(tmp_path / "bundle", "--dataset_dir", str(scans), "--top", "2")

    volume = LoadScan(spacing)(scans / "one.nii.gz")
    x = SlabStack()(HUWindow(lower=-1000, upper=800)(PadOrCropAir((12, 64, 64))(volume)))[None]
    expected = attention_maps(network, x)
    found = read_attention(tmp_path / "bundle" / "attention" / "one.npz")
    assert found.labels == ("lung_nodule", "heart_stent")
    np.testing.assert_allclose(found.scores, expected.logits[0], atol=1e-5)
    np.testing.assert_allclose(found.maps["hirescam"], expected.values[0], atol=1e-5)
    for label in found.labels:
        image = nib.load(tmp_path / "bundle" / "attention" / f"one_{label}.nii.gz")
        assert image.shape == values.shape
        np.testing.assert_allclose(image.affine, affine, atol=1e-4)


def test_the_shipped_bundle_is_small_sound_and_trained(tmp_path):
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 1_000_000
    check(SHIPPED)
    parser = ConfigParser()
    parser.read_config(SHIPPED / "configs" / "inference.yaml")
    parser["bundle_root"], parser["device"] = str(SHIPPED), "$torch.device('cpu')"
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(SHIPPED / "models" / "model.pt", weights_only=True))
    before = parser.get_parsed_content("preprocessing")
    labels = json.loads((SHIPPED / "configs" / "metadata.json").read_text())
    names = labels["network_data_format"]["outputs"]["pred"]["channel_def"]
    effusion = next(int(place) for place, name in names.items() if name == "lung_pleural_effusion")
    settings = PhantomSettings(seed=5, shape=(24, 96, 96), scans={"train": 12, "valid": 0, "test": 0, "shifted": 0})
    scores: dict[bool, list[float]] = {True: [], False: []}
    for plan in plan_dataset(settings):
        scan = render_scan(settings, plan)
        nib.save(nib.Nifti1Image(scan.hu.astype(np.int16), scan.affine), tmp_path / "scan.nii.gz")
        image = before({"image": str(tmp_path / "scan.nii.gz")})["image"][None]
        there = "pleural_effusion" in plan.findings
        with torch.no_grad():
            scores[there].append(float(network(image)[0, effusion]))
    assert scores[True]
    assert scores[False]
    assert np.median(scores[True]) > np.median(scores[False]) + 2


def test_the_shipped_bundle_runs_by_monais_command(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bundle")
    settings = PhantomSettings(shape=(24, 96, 96))
    scan = render_scan(settings, plan_dataset(settings)[0])
    (tmp_path / "bundle" / "data").mkdir()
    nib.save(nib.Nifti1Image(scan.hu.astype(np.int16), scan.affine), tmp_path / "bundle" / "data" / "one.nii.gz")
    run_bundle(tmp_path / "bundle")
    found = read_attention(tmp_path / "bundle" / "attention" / "one.npz")
    best = found.labels[int(found.scores.argmax())]
    image = nib.load(tmp_path / "bundle" / "attention" / f"one_{best}.nii.gz")
    assert image.shape == scan.hu.shape
    assert isinstance(found.grid, FeatureGrid)


def test_slabs_of_a_bundle_hold_as_many_slices_as_the_networks(tmp_path):
    options = {"name": "pylon", "backbone": "small", "in_channels": 4}
    network = write_run(tmp_path / "run", options=options)
    assert export(tmp_path / "run", "--out", tmp_path / "bundle").exit_code == 0
    check(tmp_path / "bundle")
    parser = ConfigParser()
    parser.read_config(tmp_path / "bundle" / "configs" / "inference.yaml")
    values = np.random.default_rng(0).integers(-1200, 400, (72, 60, 14)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-2.4, -2.4, 3.5, 1.0])), tmp_path / "one.nii.gz")
    image = parser.get_parsed_content("preprocessing")({"image": str(tmp_path / "one.nii.gz")})["image"]
    assert tuple(image.shape) == (3, 4, 64, 64)
    assert network(image[None]).shape == (1, 2)


def test_runs_that_cannot_be_bundles_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no trained model" in str(export(tmp_path / "empty", "--out", tmp_path / "b").exception)
    write_run(tmp_path / "run")
    done = export(tmp_path / "run", "--out", tmp_path / "b", "--model", "onli")
    assert isinstance(done.exception, ConfigError)
    assert "did you mean 'only'" in str(done.exception)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    assert "is not empty" in str(export(tmp_path / "run", "--out", tmp_path / "full").exception)
    write_run(tmp_path / "organs", more={"input_places": [[1, 0, 0], [0, 0, 1]]})
    assert "takes each scan's organs" in str(export(tmp_path / "organs", "--out", tmp_path / "b").exception)
    assert not (tmp_path / "b").exists()
