"""What a run would stumble over in hours is told in seconds: by `check`, and by `run` before its first stage."""

import nibabel as nib
import numpy as np
import pytest
import torch

from organcam.check import check_workflow
from organcam.config import ExplainConfig
from organcam.errors import ConfigError
from organcam.networks import NETWORKS
from organcam.stages.readiness import refuse_unready, unready
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow, parse_workflow

ALL = ("ingest", "parse", "segment", "store", "regions", "train", "explain", "evaluate", "report")
SMALL = {"name": "axialnet", "backbone": "small"}
LESIONS = "scan_id,value,abnormality,location,mask\n"
INPUT = {"shape": [24, 96, 96]}


@pytest.fixture
def data(tmp_path):
    """Two scans of 18 mm, their reports, and tables of known truth."""
    for name in ("a", "b", "c"):
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 6), np.int16), np.diag([30, 30, 3, 1])), tmp_path / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 6), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    (tmp_path / "scans.csv").write_text("scan_id,image,split\na,a.nii.gz,train\nb,b.nii.gz,valid\nc,c.nii.gz,valid\n")
    (tmp_path / "reports.csv").write_text(
        "scan_id,report_text\na,There is a nodule in the left upper lobe.\nb,Nodule in the right lung.\nc,Clear.\n"
    )
    (tmp_path / "lesions.csv").write_text(f"{LESIONS}a,1,nodule,left_upper,mask.nii.gz\na,2,,,mask.nii.gz\n")
    (tmp_path / "organs.csv").write_text("scan_id,organs\na,mask.nii.gz\n")
    (tmp_path / "moved.csv").write_text("scan_id,counterpart,inserted,label\na,b,lesion,lung_nodule\n")
    return tmp_path


def workflow_of(data, /, **sections):
    paths = {key: str(data / f"{name}.csv") for key, name in {"images": "scans", "reports": "reports"}.items()}
    given = {key: str(value) if key != "fractions" else value for key, value in sections.pop("data", {}).items()}
    return parse_workflow({"data": {**paths, **given}, "network": SMALL, "input": INPUT, **sections})


def refused(workflow, stages=ALL) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_unready(workflow, stages)
    return str(caught.value)


def test_what_is_ready_passes(data):
    tables = {"lesions": data / "lesions.csv", "organs": data / "organs.csv", "interventions": data / "moved.csv"}
    phantom = load_workflow("phantom")
    assert list(unready(workflow_of(data, data=tables), ALL)) == []
    assert list(unready(phantom, phantom.stages())) == []
    refuse_unready(phantom, phantom.stages())


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"explain": {"volumes": ["lung_nodul"]}}, "explain.volumes: unknown label 'lung_nodul': did you mean 'lung_n"),
        ({"labels": {"names": ["lung_nodul"]}}, "labels.names: unknown label"),
        ({"explain": {"splits": ["test"]}}, "explain.splits: test: evaluate needs valid (or all)"),
        ({"network": {"name": "axialnett"}}, "did you mean 'axialnet'"),
        ({"network": {**SMALL, "had": "none"}}, "did you mean 'head'"),
        ({"network": {**SMALL, "head": "non"}}, "unknown head 'non'"),
        ({"network": {**SMALL, "head_channels": [10**9] * 3}}, "network: "),
        ({"network": {**SMALL, "head_channels": "ab"}}, "network.head_channels: "),
        ({"network": {**SMALL, "checkpoint": "perhaps"}}, "network.checkpoint: "),
        ({"network": {**SMALL, "initial_bias": float("nan")}}, "network.initial_bias: "),
        ({"network": {**SMALL, "head": "reference"}, "input": {"shape": [24, 32, 32]}}, "network: "),
        ({"models": {"m": {"network": {"weights": "none.pt"}}}}, "'none.pt' not found"),
        ({"train": {"start_from": "none.pt#sha256=00"}}, "train.start_from: weights 'none.pt' not found"),
        (
            {"train": {"head_epochs": 2}, "network": {"name": "monai.resnet10"}},
            "train.head_epochs: MonaiNetwork has no backbone to freeze",
        ),
        ({"train": {"device": "cuda:99"}}, "train.device=cuda:99"),
        ({"models": {"m": {"train": {"device": "cuda:99"}}}}, "models.m.train.device=cuda:99"),
        ({"parse": {"vocabulary": "chest_cd"}}, "did you mean 'chest_ct'"),
        ({"parse": {"labels": "ct_rat"}}, "did you mean 'ct_rate'"),
        ({"segment": {"external": "nowhere"}}, "segment.external: no such folder: nowhere"),
        ({"data": {"reports": "nowhere.csv"}}, "data.reports: no such file: nowhere.csv"),
        ({"data": {"images": "nowhere.csv"}}, "data.images: no such file or folder: nowhere.csv"),
        ({"data": {"splits": "nowhere.csv"}}, "data.splits: no such file: nowhere.csv"),
        ({"data": {"report_id_column": "scan"}}, "did you mean 'scan_id'"),
        ({"data": {"lesions": "nowhere.csv"}}, "data.lesions: no such file: nowhere.csv"),
        ({"data": {"interventions": "nowhere.csv"}}, "data.interventions: no such file: nowhere.csv"),
    ],
)
def test_what_would_fail_late_is_refused_first(data, sections, words):
    assert words in refused(workflow_of(data, **sections))


def test_a_model_of_another_network_is_refused_as_a_start(data):
    """One whose layers have nothing in common; what fits in part is taken."""
    torch.save({"weights": {"convs.0.weight": torch.zeros(3)}, "labels": ["a"]}, data / "other.pt")
    told = refused(workflow_of(data, train={"start_from": str(data / "other.pt")}))
    assert "train.start_from: weights" in told
    assert "do not fit AxialNet: no layer has the same name and shape" in told
    (data / "broken.pt").write_bytes(b"PK")
    assert "cannot be read as a file of tensors" in refused(
        workflow_of(data, train={"start_from": str(data / "broken.pt")})
    )


def test_a_network_that_tells_nothing_of_itself_is_refused(data, monkeypatch):
    def plain(num_labels: int, input_shape: tuple[int, int, int]) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(input_shape)), num_labels))

    monkeypatch.setitem(NETWORKS._builders, "plain", plain)
    assert "network: plain does not give its own attention" in refused(workflow_of(data, network={"name": "plain"}))


@pytest.mark.parametrize(
    ("table", "text", "words"),
    [
        (
            "lesions",
            "scan_id,value,abnormality,location,mask\na,x,nodule,left_upper,mask.nii.gz\n",
            "line 2: value 'x'",
        ),
        ("lesions", f"{LESIONS}a,1,nodul,left_upper,mask.nii.gz\n", "mean 'nodule'"),
        ("lesions", f"{LESIONS}a,1,nodule,left_uper,mask.nii.gz\n", "mean 'left_upper'"),
        ("lesions", f"{LESIONS}a,1,nodule,left_upper,gone.nii.gz\n", "gone.nii.gz"),
        ("organs", "scan_id,organs\na,gone.nii.gz\n", "no such file: gone.nii.gz"),
        ("organs", "scan_id,organs\na,mask.nii.gz\na,mask.nii.gz\n", "line 3: scan id 'a' occurs twice"),
        ("interventions", "scan_id,counterpart,inserted,label\na,b,lesion,lung_nodul\n", "line 2: unknown label"),
    ],
)
def test_tables_of_known_truth_are_read_before_anything_is_trained(data, table, text, words):
    (data / "mine.csv").write_text(text)
    workflow = workflow_of(data, data={table: data / "mine.csv"})
    assert words in refused(workflow)
    refuse_unready(workflow, ("segment",))  # which does not need it


def test_everything_is_told_at_once_and_nothing_is_written(data, tmp_path):
    workflow = workflow_of(
        data, explain={"splits": ["test"], "volumes": ["x"]}, train={"device": "cuda:99"}, parse={"labels": "y"}
    )
    with pytest.raises(ConfigError, match="4 problems"):
        run_workflow(workflow, tmp_path / "out", executor="serial")
    assert not (tmp_path / "out").exists()


def test_a_workflow_put_together_in_python_is_held_to_the_same():
    workflow = parse_workflow({})
    contradictory = workflow.model_copy(update={"explain": ExplainConfig(methods=["gradcam"], volumes=["predicted"])})
    assert "explain.volume_method" in refused(contradictory, ("parse",))


def test_what_needs_reports_says_so_before_the_scans_are_read(data):
    workflow = parse_workflow({"data": {"images": str(data / "scans.csv")}, "network": SMALL, "input": INPUT})
    assert "data.reports is not set" in refused(workflow)
    refuse_unready(workflow, ("ingest", "parse", "segment", "store", "regions"))


def finding_of(workflow, what):
    return next(finding for finding in check_workflow(workflow) if finding.what == what)


def test_a_phantom_too_small_to_learn_from_is_refused_from_its_plan():
    workflow = load_workflow("phantom", ["phantom.scans={train: 12, valid: 4, test: 4}"])
    found = finding_of(workflow, "positives")
    assert not found.ok
    assert "labels.min_positives" in found.found
    assert "labels.min_positives" in refused(workflow, workflow.stages())
    refuse_unready(workflow, ("phantom", "ingest", "parse", "segment"))
    assert finding_of(load_workflow("phantom"), "positives").ok


def test_a_phantom_without_a_split_is_refused_before_it_is_rendered():
    workflow = load_workflow("phantom", ["phantom.scans={train: 300, test: 80}"])
    assert "phantom.scans: no scan in valid" in refused(workflow, workflow.stages())


def test_positives_of_real_reports_are_counted_by_the_parser(data):
    assert finding_of(workflow_of(data), "positives").ok
    found = finding_of(workflow_of(data, labels={"min_positives": 2}), "positives")
    assert not found.ok
    named = finding_of(workflow_of(data, labels={"names": ["lung_nodule", "lung_mass"]}), "positives")
    assert not named.ok
    assert "lung_mass" in named.found
    wanted = finding_of(workflow_of(data, explain={"volumes": ["lung_mass"]}), "positives")
    assert not wanted.ok
    assert "explain.volumes: lung_mass" in wanted.found


def test_check_tells_that_the_network_sees_a_slice_of_the_chest_only(data):
    short = finding_of(workflow_of(data, store={"spacing_mm": [0.75, 4, 4]}), "coverage")
    assert not short.ok  # 24 slices of 0.75 mm
    assert "18 mm" in short.found
    assert finding_of(load_workflow("folder", [f"data.images={data / 'scans.csv'}"]), "coverage").ok
    assert finding_of(load_workflow("phantom"), "coverage").ok


def test_check_tells_that_the_scans_themselves_hold_no_chest(data):
    found = finding_of(workflow_of(data), "sizes")
    assert not found.ok
    assert "a: covers 18 mm from top to bottom" in found.found
    (data / "b.nii.gz").write_bytes(b"no scan")
    assert "b.nii.gz" in finding_of(workflow_of(data), "sizes").found
    big = nib.Nifti1Image(np.zeros((8, 8, 60), np.int16), np.diag([50, 50, 5, 1]))
    for name in ("a", "b", "c"):
        nib.save(big, data / f"{name}.nii.gz")
    assert finding_of(workflow_of(data), "sizes").ok


def test_check_tells_which_way_up_the_scans_lie(data):
    for name, step in (("a", 5), ("b", -5), ("c", 5)):
        nib.save(nib.Nifti1Image(np.zeros((8, 8, 60), np.int16), np.diag([50, 50, step, 1])), data / f"{name}.nii.gz")
    found = finding_of(workflow_of(data), "slices")
    assert found.ok
    assert found.found == "by its header the first lies at the feet in 2 (a, c), at the head in 1 (b)"


def test_check_names_scans_for_volumes_that_are_not_there(data):
    sections = {"explain": {"volumes": ["present"], "volume_scans": ["a", "d"]}}
    found = finding_of(workflow_of(data, **sections), "explain.volume_scans")
    assert not found.ok
    assert "d" in found.found


def test_a_path_that_no_disk_can_hold_is_a_missing_file(data):
    (data / "scans.csv").write_text(f"scan_id,image,split\na,{'9' * 5000}.nii.gz,train\nb,b.nii.gz,valid\n")
    found = finding_of(workflow_of(data), "files missing")
    assert not found.ok
    assert found.found.startswith("1: a")


def test_check_tells_which_split_is_empty(data):
    found = finding_of(workflow_of(data), "splits")
    assert not found.ok
    assert "test is empty" in found.found


def test_check_names_what_lies_beside_the_scans_and_is_passed_over(data):
    (data / "notes.txt").touch()
    workflow = parse_workflow({"data": {"images": str(data)}, "network": SMALL, "input": INPUT})
    found = finding_of(workflow, "ignored")
    assert found.ok
    assert "files that are no scans (.txt): notes.txt" in found.found
