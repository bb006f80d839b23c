"""One bright voxel on its way from the scan's file through store, network input and attention back to the scan's grid.

A map that is flipped, shifted or turned anywhere on the way puts it at another point of the patient.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from organcam.config import InputConfig
from organcam.data.network_input import input_affine
from organcam.data.volume_store import read_stored
from organcam.engines import image_transforms
from organcam.networks import contract_of
from organcam.runner import StageSpec, Unit, make_executor, run_stage
from organcam.stages.attention_files import read_attention
from organcam.stages.explain import explain_scan
from organcam.stages.grids import build_model
from organcam.stages.store import store_scan

SHOWN = InputConfig(shape=(24, 64, 64))
NETWORK = {"name": "axialnet", "backbone": "small", "head": "registered", "head_channels": [8], "head_kernel": 1}
BACKGROUND = -192
"""HU that the network sees as 0: 0.449 of the window from -1000 to 800."""
STORED_MM = (3.0, 2.0, 2.0)


def turned(degrees: float, spacing: tuple[float, float, float], axes: np.ndarray) -> np.ndarray:
    """A scan's affine: its axes (columns of a signed permutation) turned about the patient's axis, a shift aside."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * np.asarray(spacing)
    affine[:3, 3] = (31.0, -47.0, 12.0)
    return affine


SCANS = {
    "usual": (turned(0, (1.9, 2.1, 3.2), np.diag([-1.0, -1.0, 1.0])), (44, 40, 18)),
    "oblique": (turned(8, (1.9, 2.1, 3.2), np.diag([-1.0, -1.0, 1.0])), (44, 40, 18)),
    "flipped": (turned(-5, (2.3, 1.7, 2.6), np.diag([1.0, 1.0, -1.0])), (36, 50, 22)),
    "cropped": (turned(3, (1.9, 2.1, 3.2), np.diag([-1.0, -1.0, 1.0])), (97, 88, 34)),  # more than the network sees
    "permuted": (turned(4, (3.1, 1.8, 2.2), np.array([[0.0, 0, 1], [0, -1, 0], [1, 0, 0]])), (19, 44, 38)),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose first label's evidence is the brightness above the background: no weight is negative."""
    network = build_model(NETWORK, SHOWN, 2)
    for name, value in network.state_dict().items():
        if name.endswith("weight") and value.ndim > 1:
            value.fill_(1.0 / value[0].numel())
    network.fc.bias.data.zero_()
    network.fc.weight.data[1] *= -1.0
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            module.bias.data.zero_()
    path = tmp_path_factory.mktemp("model") / "model.pt"
    grid = contract_of(network).feature_grid(SHOWN.shape)
    state = {"weights": network.state_dict(), "labels": ["bright", "dark"], "network": NETWORK, "grid": grid.to_dict()}
    torch.save({**state, "input": SHOWN.model_dump(mode="json")}, path)
    return path


def done(stage: str, folder: Path, work: Any, parameters: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
    result = run_stage(StageSpec(stage, 1, folder, work, parameters), [Unit("s", {}, payload)], make_executor("serial"))
    assert not result.failed, result.failed
    details: dict[str, Any] = result.done["s"]["details"]
    return details


def centre_of(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass in millimetres."""
    places = np.stack(np.meshgrid(*map(np.arange, weights.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    mean = (places * weights.reshape(-1, 1)).sum(axis=0) / weights.sum()
    return affine[:3, :3] @ mean + affine[:3, 3]


@pytest.mark.parametrize("corner", [(0.3, 0.3, 0.3), (0.7, 0.35, 0.6)])
@pytest.mark.parametrize("name", SCANS)
def test_it_stays_where_it_is_in_the_patient(name: str, corner: tuple[float, ...], model: Path, tmp_path: Path) -> None:
    affine, shape = SCANS[name]
    voxel = tuple(round(share * size) for share, size in zip(corner, shape, strict=True))
    scan = np.full(shape, BACKGROUND, np.int16)
    scan[voxel] = 800
    nib.save(nib.Nifti1Image(scan, affine), tmp_path / "s.nii.gz")
    point = affine[:3, :3] @ np.asarray(voxel) + affine[:3, 3]

    stored = {"spacing_mm": STORED_MM, "clip_hu": (-1000, 1000)}
    payload = {"image": str(tmp_path / "s.nii.gz"), "max_voxels": 10**9}
    place = done("store", tmp_path / "volumes", store_scan, stored, payload)
    assert nib.aff2axcodes(np.asarray(place["affine"])) == ("I", "P", "L")  # as networks see every scan
    volume = read_stored(tmp_path / "volumes" / "s.b2nd")
    found = centre_of(np.clip(volume - float(BACKGROUND), 0, None), np.asarray(place["affine"]))
    assert np.linalg.norm(found - point) < 0.5  # linear interpolation keeps the centre of mass

    seen = Compose(image_transforms(SHOWN, "slabs"))({"image": str(tmp_path / "volumes" / "s.b2nd")})["image"]
    seen = seen.numpy().reshape(SHOWN.shape)
    at = input_affine(np.asarray(place["affine"]), tuple(place["shape"]), SHOWN.shape)
    assert np.linalg.norm(centre_of(np.clip(seen - 0.01, 0, None), at) - point) < 0.7

    settings = {
        "methods": ["hirescam"],
        "volumes": ["bright"],
        "volume_scans": None,
        "volume_method": "hirescam",
        "top": 1,
    }
    asked = {"model": str(model), "content": "", "present": [], "device": "cpu", "geometry": place}
    done(
        "explain",
        tmp_path / "attention",
        explain_scan,
        settings,
        {**asked, "stored": str(tmp_path / "volumes" / "s.b2nd")},
    )
    attention = read_attention(tmp_path / "attention" / "s.npz")
    cells, grid = attention.maps["hirescam"][0], attention.grid
    assert attention.scores[0] > 0 > attention.scores[1]
    peak = np.asarray(np.unravel_index(cells.argmax(), cells.shape))
    centre = at[:3, :3] @ (np.asarray(grid.offset) + peak * np.asarray(grid.stride)) + at[:3, 3]
    cell_mm = np.asarray(grid.stride) * STORED_MM
    assert np.linalg.norm(centre - point) < np.linalg.norm(cell_mm / 2) + 1.0

    written = nib.load(tmp_path / "attention" / "s_bright.nii.gz")
    assert written.shape == shape
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    shown = np.nan_to_num(np.asarray(written.dataobj))  # NaN: cropped away, not seen
    assert np.linalg.norm(centre_of(np.clip(shown, 0, None), affine) - point) < np.linalg.norm(cell_mm / 2)
    brightest = np.asarray(np.unravel_index(shown.argmax(), shape))
    assert np.linalg.norm(affine[:3, :3] @ (brightest - voxel)) < np.linalg.norm(cell_mm / 2) + 2.0
    for axis in range(3):  # flipped along any axis it would be found elsewhere
        flipped = brightest.copy()
        flipped[axis] = shape[axis] - 1 - flipped[axis]
        assert np.linalg.norm(affine[:3, :3] @ (flipped - voxel)) > np.linalg.norm(affine[:3, :3] @ (brightest - voxel))
