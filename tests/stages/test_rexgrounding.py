"""ReXGroundingCT in its form on disk becomes the known lesions that evaluation takes."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.errors import ConfigError
from organcam.geometry import FeatureGrid
from organcam.runner import make_executor
from organcam.stages.lesions import Lesions
from organcam.stages.rexgrounding import convert_rexgrounding

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
GRID = FeatureGrid(
    shape=(2, 2, 2), stride=(3, 3, 3), offset=(1, 1, 1), receptive_field=(3, 3, 3), input_shape=(6, 6, 6)
)


@pytest.fixture
def on_disk(tmp_path):
    """Two cases: findings that share voxels, one that the vocabulary does not know, and a mask of another size."""
    volumes = tmp_path / "dataset" / "train_fixed" / "train_1" / "train_1_a"
    volumes.mkdir(parents=True)
    for name in ("train_1_a_1", "train_2_a_1"):
        nib.save(nib.Nifti1Image(np.zeros((6, 6, 6), np.int16), AFFINE), volumes / f"{name}.nii.gz")
    masks = np.zeros((3, 6, 6, 6), np.uint8)
    masks[0, :3, :3, :3] = 1
    masks[1, :, :, :3] = 2  # two instances of a finding have two values
    masks[2, 5, 5, 5] = 1
    (tmp_path / "masks").mkdir()
    nib.save(nib.Nifti1Image(masks, np.eye(4)), tmp_path / "masks" / "train_1_a_1.nii.gz")
    nib.save(nib.Nifti1Image(masks[:, :4], np.eye(4)), tmp_path / "masks" / "train_2_a_1.nii.gz")
    sentences = {"0": "A 5 mm nodule in the left upper lobe.", "1": "Consolidation in the left lower lobe.", "2": "Hm."}
    cases = [
        {"name": f"{name}.nii.gz", "findings": sentences} for name in ("train_1_a_1", "train_2_a_1", "valid_9_a_1")
    ]
    (tmp_path / "dataset.json").write_text(json.dumps({"train": cases[:2], "val": cases[2:]}))
    return tmp_path


def convert(folder):
    with make_executor("serial") as executor:
        return convert_rexgrounding(
            folder / "dataset.json", folder / "masks", folder / "dataset", folder / "out", executor
        )


def test_findings_become_lesions_at_their_place_and_a_wrong_mask_costs_its_case_alone(on_disk):
    result = convert(on_disk)
    assert list(result.done) == ["train_1_a_1"]
    assert result.done["train_1_a_1"]["details"]["unknown"] == [2]
    (failure,) = result.failed
    assert failure.id == "train_2_a_1"
    assert "3 x 4 x 6 x 6 voxels; a mask for each finding of the 6 x 6 x 6 voxels" in failure.reason
    table = pd.read_csv(on_disk / "out" / "lesions.csv")
    assert table[["scan_id", "value", "abnormality", "mask"]].values.tolist() == [
        ["train_1_a_1", 1, "nodule", "masks/train_1_a_1_1.nii.gz"],
        ["train_1_a_1", 2, "consolidation", "masks/train_1_a_1_2.nii.gz"],
    ]
    lesions = Lesions(on_disk / "out" / "lesions.csv")
    ipl = np.array([[0, 0, -2.0, 0.0], [0, -2.0, 0, 0.0], [-2.0, 0, 0, 10.0], [0, 0, 0, 1.0]])
    found = lesions.occupancy(
        "train_1_a_1", ("lung_nodule", "lung_consolidation"), GRID, {"affine": ipl.tolist(), "shape": [6, 6, 6]}
    )
    nodule, consolidation = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    nodule[1, 0, 0] = 1  # the lower half of the volume, which the network sees last
    consolidation[1] = 1
    np.testing.assert_allclose(found, [nodule, consolidation], atol=1e-6)
    assert convert(on_disk).skipped == ("train_1_a_1",)


def test_no_sentence_of_a_report_is_kept(on_disk):
    convert(on_disk)
    for path in (on_disk / "out").rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            assert "upper lobe" not in path.read_text()


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1]", '{"train": 3}', '[{"name": "a", "findings": {"x": "y"}}]'])
def test_json_of_another_form_is_refused_by_name(on_disk, content):
    (on_disk / "dataset.json").write_text(content)
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        convert(on_disk)
