"""2D data sets in their published form on disk go through a whole workflow, from the files to the pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.attention import read_attention
from organcam.check import check_workflow
from organcam.errors import ConfigError
from organcam.runner import read_failures
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

TINY = (
    "input.shape=[1,32,32]",
    "network={name: pylon, spatial_dims: 2, in_channels: 1, backbone: small, channels: 8}",
    "models={pylon: {mask_loss: null}, densenet: {mask_loss: null, network: {name: monai.DenseNet121, in_channels: 1, "
    "block_config: [1, 1], growth_rate: 8, init_features: 8}}}",
    "train.epochs=6",
    "train.batch_size=4",
    "train.learning_rate=0.01",
    "train.amp=false",
    "train.augment=false",
    "train.loader_workers=0",
    "explain.methods=[hirescam, gradcam]",
    "report.scans=2",
)


def settings_of(given: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in given.items()]


@pytest.fixture(scope="module")
def nih_run(tmp_path_factory: pytest.TempPathFactory, image_sets: SimpleNamespace) -> Path:
    folder = tmp_path_factory.mktemp("nih")
    settings = [*settings_of(image_sets.write_nih(folder / "data")), *TINY, "explain.volumes=[mass]"]
    outcome = run_workflow(load_workflow("pylon_nih", settings), folder / "run", executor="serial")
    assert [summary.stage for summary in outcome.summaries] == [
        *("ingest", "parse", "store", "train", "explain", "evaluate", "report")
    ]
    assert not read_failures(folder / "run")
    return folder / "run"


def test_an_image_knows_its_patient_and_its_split(nih_run: Path):
    manifest = pd.read_csv(nih_run / "manifest.csv", dtype=str).set_index("scan_id")
    assert len(manifest) == 32
    assert manifest.patient_id["00000003_001"] == "00000003"
    assert manifest.split.value_counts().to_dict() == {"train": 22, "test": 8, "valid": 2}
    assert set(manifest.index[manifest.split == "valid"]) == {"00000011_000", "00000011_001"}


def test_labels_are_those_of_the_data_set(nih_run: Path):
    labels = pd.read_csv(nih_run / "labels" / "labels.csv", dtype={"report_id": str}).set_index("report_id")
    assert len(labels.columns) == 14
    assert labels.loc["00000001_000", ["mass", "pleural_thickening"]].tolist() == [1, 1]
    assert labels.sum().to_dict()["cardiomegaly"] == 8
    assert labels.sum().to_dict()["hernia"] == 0


def test_both_networks_tell_the_finding_and_their_maps_peak_on_its_box(nih_run: Path):
    classes = pd.read_csv(nih_run / "evaluation" / "classification.csv")
    mass = classes[(classes.label == "mass") & (classes.split == "test")].set_index("model")
    assert mass.positives.tolist() == [4, 4]
    assert mass.auroc["pylon"] == 1.0
    places = pd.read_csv(nih_run / "evaluation" / "localization.csv")
    pointing = places[(places.label == "mass") & (places.method == "hirescam")].set_index("model")
    assert pointing.pairs["pylon"] == 4
    assert pointing.pointing["pylon"] == 1.0
    assert not (nih_run / "evaluation" / "organ_iou.csv").exists()


def test_maps_are_of_one_slice_and_lie_on_the_pixels_of_the_file(nih_run: Path):
    found = read_attention(nih_run / "attention" / "pylon" / "00000015_000.npz")
    assert found.maps["hirescam"].shape == (len(found.labels), 1, *found.grid.shape[1:])
    volume = nib.load(nih_run / "attention" / "pylon" / "00000015_000_mass.nii.gz")
    assert volume.shape == (1, 64, 64)
    map_ = np.asarray(volume.dataobj)[0]
    row, column = np.unravel_index(np.nanargmax(map_), map_.shape)
    assert 8 + 4 * (15 % 7) <= row <= 24 + 4 * (15 % 7)
    assert 40 <= column <= 56


def test_the_pages_show_one_picture_a_model_and_speak_of_no_organ(nih_run: Path):
    index = (nih_run / "report" / "index.html").read_text("utf-8")
    assert "OrganIoU" not in index
    assert "Peak on a known place" in index
    page = next(path for path in (nih_run / "report").glob("0*.html")).read_text("utf-8")
    assert "axial" not in page
    assert "known place" in page
    assert page.count("<figure>") == 3 * 3  # the image and two models, for three labels


def test_the_published_workflow_checks_a_data_set_of_its_form(tmp_path: Path, image_sets: SimpleNamespace):
    settings = settings_of(image_sets.write_nih(tmp_path))
    findings = check_workflow(load_workflow("pylon_nih", [*settings, *TINY]))
    assert [f"{finding.what}: {finding.found}" for finding in findings if not finding.ok] == []
    told = {finding.what: finding.found for finding in findings}
    assert told["sizes"] == "32 headers read, 64 x 64 pixels, stored as 32 x 32"
    assert told["splits"] == "train 22, valid 2, test 8"


def test_radiographs_of_vindr_with_faults_leave_rows_and_the_rest_goes_on(
    tmp_path: Path, image_sets: SimpleNamespace, caplog: pytest.LogCaptureFixture
):
    given = image_sets.write_vindr(tmp_path / "data", images=20)
    names = [f"{number:032x}" for number in range(20)]
    cut = tmp_path / "data" / "train" / f"{names[2]}.dicom"
    cut.write_bytes(cut.read_bytes()[:3000])
    labels = Path(given["data.labels"])
    kept = [line for line in labels.read_text().split("\n") if not line.startswith(names[4])]
    labels.write_text("\n".join([*kept[:-1], "0123456789abcdef,R8,1,0,0", ""]))  # an image that is not there
    boxes = Path(given["data.lesions"])
    (tmp_path / "splits.csv").write_text(
        "scan_id,split\n"
        + "\n".join(f"{name},{'train' if n < 12 else 'valid' if n < 16 else 'test'}" for n, name in enumerate(names))
    )
    boxes.write_text(boxes.read_text() + f"{names[17]},R8,Nodule/Mass,900,900,950,950\n")
    settings = [
        *settings_of(given),
        *(line for line in TINY if not line.startswith("models=")),
        f"data.splits={tmp_path / 'splits.csv'}",
        "labels.min_positives=1",
        "train.head_epochs=1",
        "train.epochs=2",
        "train.validate_every=1",
        "train.augment=true",
        "explain.methods=[hirescam]",
    ]
    outcome = run_workflow(load_workflow("pylon_vindr", settings), tmp_path / "run", executor="serial")
    assert outcome.exit_code == 3
    told = {(failure.stage, failure.id): failure.reason for failure in read_failures(tmp_path / "run")}
    assert len(told) == 4
    assert "cut short" in told["ingest", names[2]]
    assert told["ingest", names[4]].startswith("no label with id")
    assert told["ingest", "0123456789abcdef"] == "a label without a scan"
    assert f"a box of nodule_mass lies outside of the image {names[17]}" in told["evaluate", names[17]]
    classes = pd.read_csv(tmp_path / "run" / "evaluation" / "classification.csv")
    assert set(classes.label) == {"nodule_mass", "no_finding"}  # nobody has another disease
    places = pd.read_csv(tmp_path / "run" / "evaluation" / "localization.csv")
    assert places.set_index("label").pairs["nodule_mass"] == 1  # of two positive test images one has a usable box
    sidecar = json.loads((tmp_path / "run" / "volumes" / f"{names[0]}.json").read_text())["details"]
    assert sidecar["scan_shape"] == [1, 64, 64]
    assert 0 < sidecar["grey"][0] < sidecar["grey"][1] < 4095  # percentiles, written down
    endings = {".json", ".csv", ".html", ".log", ".yaml"}
    written = [path for path in (tmp_path / "run").rglob("*") if path.suffix in endings]
    assert len(written) > 20
    assert not [path for path in written if "ecret" in path.read_text(errors="replace")]
    assert "ecret" not in caplog.text


def test_colour_photographs_and_masks_of_voc(tmp_path: Path, image_sets: SimpleNamespace):
    given = dict(image_sets.write_voc(tmp_path / "data"))
    given["data.lesions"] = given["data.lesions"].replace("Annotations", "SegmentationClass")
    settings = [
        *settings_of(given),
        "input.shape=[3,32,32]",
        "network={name: pylon, spatial_dims: 2, in_channels: 3, backbone: small, channels: 8}",
        "models={pylon: {mask_loss: null}}",
        *("train.head_epochs=0", "train.epochs=12", "train.batch_size=4", "train.learning_rate=0.02"),
        *("train.amp=false", "train.augment=false", "train.loader_workers=0"),
        *("explain.methods=[hirescam]", "explain.volumes=[dog]", "report.scans=1"),
    ]
    workflow = load_workflow("pylon_voc", settings)
    assert [f"{found.what}: {found.found}" for found in check_workflow(workflow) if not found.ok] == []
    outcome = run_workflow(workflow, tmp_path / "run", executor="serial")
    assert outcome.exit_code == 0
    classes = pd.read_csv(tmp_path / "run" / "evaluation" / "classification.csv").set_index("label")
    assert classes.positives.to_dict() == {"boat": 2, "dog": 2}
    assert classes.auroc["dog"] == 1.0  # red squares, where boats are blue ones
    places = pd.read_csv(tmp_path / "run" / "evaluation" / "localization.csv").set_index("label")
    assert places.pairs.to_dict() == {"boat": 2, "dog": 2}
    volume = nib.load(tmp_path / "run" / "attention" / "pylon" / "2008_000004_dog.nii.gz")
    assert volume.shape == (1, 64, 48)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("input.shape=[4,32,32]", "input.shape: 2D images have 1 channel (grey) or 3 (colour)"),
        ("models={a: {mask_loss: {weight: 1}}}", "models.a.mask_loss: 2D images have no organs"),
        ("train.monitor=organ_iou", "train.monitor: organ_iou is not measured of 2D images"),
        ("data.organs=organs.csv", "data.organs: is for volumes"),
        ("store.grey=[255,0]", "store.grey"),
        ("store.grey=bright", "store.grey"),
        ("input.window_hu=[-2000,-1000]", "lies outside the stored values of images"),
        ("labels.names=[mas]", "labels.names: unknown label 'mas': did you mean 'mass'"),
    ],
)
def test_settings_that_cannot_be_of_images_are_told_before_anything_is_read(
    tmp_path: Path, image_sets: SimpleNamespace, setting: str, said: str
):
    (tmp_path / "labels.csv").write_text("id,mass\na,1\n")
    (tmp_path / "a.png").write_bytes(b"")
    given = [f"data.images={tmp_path}", f"data.labels={tmp_path / 'labels.csv'}", "data.splits=null", *TINY, setting]
    with pytest.raises(ConfigError) as caught:
        run_workflow(load_workflow("pylon_nih", given), tmp_path / "run", executor="serial")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()
