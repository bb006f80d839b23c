"""The shipped experiments: they pass `check`, differ in what they say they do, and go through in a tiny form."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from organcam.check import check_workflow
from organcam.runner import read_failures
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow, shipped_workflows

EXPERIMENTS = [name for name in shipped_workflows() if name.startswith("experiments/")]
LADDERS = [name for name in EXPERIMENTS if "mask_ladder_" in name]
RUNGS = ["none", "own", "permuted", "atlas", "shuffled", "swapped"]
TINY = (
    "phantom.scans={train: 4, valid: 2, test: 2, shifted: 2}",
    "phantom.interventions=0",
    "labels.names=[lung_mass, lung_pleural_effusion, heart_cardiomegaly]",
    "labels.min_positives=0",
    "train.epochs=2",  # in the first one, of a single step, the ramp of the mask loss begins at 0
    "train.parallel=false",
    "train.validate_every=1",
    "search={}",
    "report.scans=1",
)


FORMS = ("off_centre", "turned", "cropped", "raised_domes", "small_lung", "5mm", "2mm", "small_findings", "one_sided")


def test_all_are_there():
    wanted = {"table1", "table2", "mask_ladder", *(f"mask_ladder_{form}" for form in FORMS)}
    assert set(EXPERIMENTS) == {f"experiments/{name}" for name in wanted}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_check_finds_nothing_wrong(name):
    workflow = load_workflow(name)
    assert f"experiments/{workflow.name}" == name
    assert [finding for finding in check_workflow(workflow) if not finding.ok] == []


@pytest.mark.parametrize("name", LADDERS)
def test_ladders_differ_by_their_phantoms_alone(name):
    """And by what follows from the number of slices."""
    here, usual = (load_workflow(each).document() for each in (name, "experiments/mask_ladder"))
    differing = {key for key in usual if here[key] != usual[key]}
    thick = here["phantom"]["shape"] == usual["phantom"]["shape"]
    assert differing == {"name", "phantom"} | (set() if thick else differing & {"input", "train", "search"})
    changed = {key for key, value in usual["phantom"].items() if here["phantom"][key] != value}
    assert len(changed - {"scans", "shape", "prevalence", "variant_share"}) == 1


def tiny_run(name: str, folder: Path) -> dict:
    outcome = run_workflow(load_workflow(name, TINY), folder, executor="serial")
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    assert not read_failures(folder)
    assert (folder / "report" / "index.html").is_file()
    return json.loads((folder / "evaluation" / "summary.json").read_text("utf-8"))


@pytest.mark.parametrize("name", ["experiments/table1", "experiments/table2"])
def test_tables_go_through(name, tmp_path):
    summary = tiny_run(name, tmp_path)
    assert list(summary["models"]) == list(load_workflow(name).models)
    assert "ladder" not in summary
    assert not (tmp_path / "evaluation" / "ladder.csv").is_file()


def test_the_ladder_is_trained_judged_and_told(tmp_path):
    summary = tiny_run("experiments/mask_ladder", tmp_path)
    [ladder] = summary["ladder"]
    assert list(ladder["models"]) == RUNGS
    table = pd.read_csv(tmp_path / "evaluation" / "ladder.csv", keep_default_na=False)
    assert table[table["figure"] == "organ_iou"]["control"].tolist() == RUNGS
    for row in table[table["figure"] == "organ_iou"].to_dict("records"):
        assert float(row["value"]) == pytest.approx(summary["models"][row["model"]]["organ_iou"]["hirescam"])
    areas = table[(table["figure"] == "auroc_median") & (table["split"] == "shifted")].set_index("control")["value"]
    shifted = summary["models"]["own"]["splits"]["shifted"]["auroc_median"]
    assert areas["own"] == ("" if shifted is None else pytest.approx(shifted))
    page = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert page.count(ladder["sentence"].partition(" (")[0]) == 1
    trained = {model: (tmp_path / "models" / model / "model.pt").read_bytes() for model in RUNGS[1:]}
    assert len(set(trained.values())) == len(trained)  # each control makes another network

    # another control of one model trains that one alone, and no longer makes a rung of the old one
    settings = [*TINY, "models.permuted.mask_loss.control=atlas"]
    outcome = run_workflow(load_workflow("experiments/mask_ladder", settings), tmp_path, executor="serial")
    done = {summary.stage: summary.done for summary in outcome.summaries}
    assert done["train"] == 2  # the training and the choice
    assert trained["own"] == (tmp_path / "models" / "own" / "model.pt").read_bytes()
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text("utf-8"))
    assert list(summary["ladder"][0]["models"]) == ["none", "own", "atlas", "shuffled", "swapped"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LADDERS)
def test_every_form_of_the_ladder_goes_through(name, tmp_path):
    summary = tiny_run(name, tmp_path)
    assert list(summary["ladder"][0]["models"]) == RUNGS
