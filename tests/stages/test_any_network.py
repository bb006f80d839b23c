"""Networks of either layout, and methods of an installed package, go through a workflow to the maps and the page."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from organcam.attention import METHODS, hirescam, read_attention
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 4, valid: 3, test: 1, shifted: 1}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=1",
    "train.epochs=1",
    "models={slabs: {network: SLABS, mask_loss: {weight: 5}}, volume: {network: VOLUME, mask_loss: MASK_LOSS}}",
    "explain.splits=[valid]",
    "explain.volumes=[predicted]",
    "explain.top=1",
)
OURS = ("{}", "{name: pylon, spatial_dims: 3, backbone: small, pooling: mean}", "{form: energy, weight: 1}")
MONAI = (
    "{name: monai.DenseNet121, block_config: [1, 1, 1, 1], growth_rate: 8, init_features: 8}",
    "{name: monai.resnet10, spatial_dims: 3, widen_factor: 0.25}",
    "{weight: 5}",
)


OTHER_SLABS = (
    "{name: pylon, backbone: small, in_channels: 1}",
    "{name: monai.resnet10, in_channels: 4, widen_factor: 0.125}",
    "null",
)


@pytest.mark.parametrize("networks", [OURS, MONAI, OTHER_SLABS], ids=["ours", "monai", "slabs of 1 and 4 slices"])
def test_a_volume_network_beside_one_of_slabs(tmp_path: Path, networks: tuple[str, str, str]):
    names = dict(zip(("SLABS", "VOLUME", "MASK_LOSS"), networks, strict=True))
    settings = [*SETTINGS, "explain.methods=[hirescam, layercam, gradient_x_input]"]
    for name, line in names.items():
        settings = [setting.replace(name, line) for setting in settings]
    stages = ("phantom", "ingest", "parse", "segment", "store", "regions", "train", "explain")
    workflow = load_workflow("phantom", settings)
    run_workflow(workflow, tmp_path, executor="serial", stages=stages[:-1])
    outcome = run_workflow(workflow, tmp_path, executor="serial", stages=stages[-1:])
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    for model in ("slabs", "volume"):
        maps = sorted((tmp_path / "attention" / model).glob("*.npz"))
        assert len(maps) == 3
        found = read_attention(maps[0])
        assert list(found.maps) == ["hirescam", "layercam", "gradient_x_input"]
        assert found.grid.input_shape == (24, 64, 64)
        assert all(values.shape[1:] == found.grid.shape for values in found.maps.values())
        [written] = (tmp_path / "attention" / model).glob(f"{maps[0].stem}_*.nii.gz")
        image = nib.load(written)
        scan = nib.load(tmp_path / "phantom" / "images" / f"{maps[0].stem}.nii.gz")
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, atol=1e-4)


def test_a_method_of_an_installed_package_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METHODS._builders, "half", lambda *given: hirescam(*given) / 2)
    own = ["explain.methods=[half]", "explain.volume_method=half", "models={slabs: {}}", "report.scans=1"]
    settings = [setting for setting in SETTINGS if not setting.startswith("models=")]
    workflow = load_workflow("phantom", [*settings, *own])
    outcome = run_workflow(workflow, tmp_path, executor="serial")
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    [page] = [path for path in (tmp_path / "report").glob("*.html") if path.name != "index.html"]
    assert "half of each model, through the peak of its own map" in page.read_text("utf-8")
