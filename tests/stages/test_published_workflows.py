"""Shipped workflows for published data sets, on made data in the same form on disk: they pass `check`."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from organcam.catalogue import abnormalities, locations
from organcam.check import check_workflow
from organcam.networks import build_backbone
from organcam.runner import read_failures
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SUBSETS = {"trn": "imgtrain", "val": "imgvalid_a", "tst": "imgtest_c"}
SCANS = ("trn00001", "trn00002", "val00001", "val00002", "tst00001", "tst00002")


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch hub's cache with a file of torchvision's form and name."""
    folder = tmp_path / "hub" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save({**build_backbone("resnet18").state_dict(), "fc.weight": torch.zeros(1000, 512)}, folder / "a.pth")
    digest = hashlib.sha256((folder / "a.pth").read_bytes()).hexdigest()
    (folder / "a.pth").rename(folder / f"resnet18-{digest[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture
def rad_chestct(tmp_path: Path) -> Path:
    """npz files (key ct), the label files' 84 x 52 columns, the extrema table and the lists of random subsets."""
    folder = tmp_path / "rad"
    (folder / "npz").mkdir(parents=True)
    np.savez_compressed(folder / "scan.npz", ct=np.full((300, 320, 400), -1000, np.int16))
    for name in (*SCANS, "val99999"):  # the last one is in no list
        shutil.copy(folder / "scan.npz", folder / "npz" / f"{name}.npz")
    cells = [
        f"{abnormality}*{location}"
        for abnormality in (*(entry.name for entry in abnormalities()), "other_path")
        for location in (*(entry.name for entry in locations()), "other_location")
    ]
    assert len(cells) == 84 * 52
    for number, short in enumerate(SUBSETS):
        names = [name for name in SCANS if name.startswith(short)]
        table = pd.DataFrame(0, index=pd.Index(names, name="NoteAcc_DEID"), columns=cells)
        table.loc[names[0], ["nodule*left_upper", "cardiomegaly*heart"]] = 1
        table.to_csv(folder / f"img{('train', 'valid', 'test')[number]}_Abnormality_and_Location_Labels.csv")
    extrema = pd.DataFrame({"NoteAcc_DEID": SCANS})
    extrema["VolumeAcc_DEID"] = extrema.NoteAcc_DEID + ".npz"
    extrema["sup_axis0min"] = 0
    extrema["Subset_Assigned"] = [SUBSETS[name[:3]] for name in SCANS]
    extrema.to_csv(folder / "Extrema_5747.csv", index=False)
    lists = extrema[["NoteAcc_DEID", "Subset_Assigned"]]
    for short, name in (("trn", "imgtrain_random2000.csv"), ("val", "imgvalid_a_random1000.csv")):
        lists[extrema.NoteAcc_DEID.str.startswith(short)].to_csv(folder / name, index=False)
    return folder


def wrong(name: str, settings: list[str]) -> list[str]:
    findings = check_workflow(load_workflow(name, settings))
    assert len(findings) >= 8
    return [f"{finding.what}: {finding.found}" for finding in findings if not finding.ok]


def rad_settings(folder: Path, parts: tuple[str, ...], splits: str) -> list[str]:
    labels = ", ".join(str(folder / f"img{part}_Abnormality_and_Location_Labels.csv") for part in parts)
    return [f"data.images={folder / 'npz'}", f"data.labels=[{labels}]", f"data.splits={splits}"]


def test_table_1_on_files_of_rad_chestct(rad_chestct, imagenet):
    lists = [str(rad_chestct / name) for name in ("imgtrain_random2000.csv", "imgvalid_a_random1000.csv")]
    settings = rad_settings(rad_chestct, ("train", "valid"), f"[{', '.join(lists)}]")
    assert wrong("axialnet_table1", settings) == []
    workflow = load_workflow("axialnet_table1", settings)
    assert {name: workflow.network_of(name).get("weights") for name in ("axialnet", "axialnet_random_start")} == {
        "axialnet": "imagenet",
        "axialnet_random_start": None,
    }


def test_table_2_on_files_of_rad_chestct(rad_chestct, imagenet):
    settings = rad_settings(rad_chestct, ("train", "valid", "test"), str(rad_chestct / "Extrema_5747.csv"))
    assert wrong("axialnet_table2", settings) == []
    told = wrong("axialnet_table2", [*settings, "data.only_listed=false"])
    assert "splits: 1 scans have none: val99999" in told
    absent = wrong("axialnet_table2", ["data.images=none", *settings[1:]])
    assert any("no such file or folder: none" in told for told in absent)


def test_without_the_imagenet_file_it_is_told_where_it_belongs(rad_chestct, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    settings = rad_settings(rad_chestct, ("train", "valid", "test"), str(rad_chestct / "Extrema_5747.csv"))
    [told] = wrong("axialnet_table2", settings)
    assert "no ImageNet weights of resnet18 in" in told
    assert "nothing is downloaded" in told


@pytest.fixture
def ct_rate(tmp_path: Path) -> Path:
    """``train_fixed/train_1/train_1_a/train_1_a_1.nii.gz`` and both tables of reports as one."""
    folder = tmp_path / "ct_rate"
    (folder / "dataset").mkdir(parents=True)
    nib.save(
        nib.Nifti1Image(np.full((100, 100, 80), -1000, np.int16), np.diag([-3.5, -3.5, 4, 1])), folder / "a.nii.gz"
    )
    rows = []
    for part, number, study in (
        ("train", 1, "a"),
        ("train", 1, "b"),
        ("train", 20, "a"),
        ("train", 40, "a"),
        ("valid", 1, "a"),
    ):
        name = f"{part}_{number}_{study}"
        for reconstruction in (1, 2):
            place = folder / "dataset" / f"{part}_fixed" / f"{part}_{number}" / name / f"{name}_{reconstruction}.nii.gz"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "a.nii.gz", place)
        found = "A 5 mm nodule in the right upper lobe." if len(rows) % 2 == 0 else "Both lungs are clear."
        rows.append((f"{name}_1.nii.gz", "", "", found, "Not given."))
    columns = ["VolumeName", "ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "reports.csv", index=False)
    return folder


def test_ct_rate_on_files_of_its_form(ct_rate, imagenet, tmp_path):
    settings = [
        f"data.images={ct_rate / 'dataset'}",
        f"data.reports={ct_rate / 'reports.csv'}",
        "labels.min_positives=1",
    ]
    assert wrong("ctrate", settings) == []
    outcome = run_workflow(
        load_workflow("ctrate", settings), tmp_path / "run", executor="serial", stages=("ingest", "parse")
    )
    assert outcome.exit_code == 0
    assert not read_failures(tmp_path / "run")
    manifest = pd.read_csv(tmp_path / "run" / "manifest.csv").set_index("scan_id")
    assert manifest.split.to_dict() == {
        "train_1_a_1": "train",
        "train_1_b_1": "train",
        "train_20_a_1": "valid",
        "train_40_a_1": "valid",
        "valid_1_a_1": "test",
    }
    assert manifest.patient_id["train_1_b_1"] == "train_1"
    assert manifest.report_id["train_1_a_1"] == "train_1_a_1.nii.gz"
