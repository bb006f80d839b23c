"""Nothing of an old run is ever reported as new: changed settings, failed trainings, damaged and missing files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from organcam.data.volume_store import read_stored
from organcam.errors import OrganCamError
from organcam.networks import NETWORKS, AxialNet
from organcam.networks.backbones import SmallBackbone
from organcam.runner import read_failures
from organcam.stages.attention_files import read_attention
from organcam.stages.run import StageSummary
from organcam.stages.workflow import run_workflow
from organcam.transforms import loading
from organcam.workflow_file import load_workflow

TINY = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 6, valid: 3, test: 3, shifted: 2}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=2",
    "train.epochs=1",
    "models={baseline: {}, masked: {mask_loss: {weight: [5, 10]}}}",
    "report.scans=1",
)
SCORED = ("train", "explain", "evaluate")
ALL = ("phantom", "ingest", "parse", "segment", "store", "regions", *SCORED)

Summaries = dict[str, StageSummary]


def run(out: Path, *settings: str, stages: tuple[str, ...] | None = ALL) -> Summaries:
    outcome = run_workflow(load_workflow("phantom", [*TINY, *settings]), out, executor="serial", stages=stages)
    return {summary.stage: summary for summary in outcome.summaries}


def done(summaries: Summaries) -> dict[str, int]:
    """Units made anew by each stage that made some."""
    return {stage: summary.done for stage, summary in summaries.items() if summary.done}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "run"
    assert not any(summary.failures for summary in run(out, stages=None).values())
    return out


@pytest.fixture
def finished(first: Path, tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return Path(shutil.copytree(first, tmp_path / "run"))


def flip(path: Path) -> bytes:
    """Change a bit in the middle of a file; its bytes before."""
    data = path.read_bytes()
    position = len(data) // 2
    path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
    return data


@pytest.fixture
def broken_network(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network that can be built and cannot be trained."""

    class Broken(AxialNet):
        def forward(self, x: torch.Tensor, attention: bool = False) -> Any:
            if self.training:
                msg = "the device went away"
                raise RuntimeError(msg)
            return super().forward(x, attention)

    monkeypatch.setitem(NETWORKS._builders, "broken", Broken)
    return "broken"


def logits_of_weights(out: Path, model: str, scan_id: str) -> np.ndarray:
    """HiResCAM is complete: the cells of a map and the bias of the model's own weights make the logit."""
    bias = torch.load(out / "models" / model / "model.pt", weights_only=True)["weights"]["fc.bias"].numpy()
    return read_attention(out / "attention" / model / f"{scan_id}.npz").maps["hirescam"].sum(axis=(1, 2, 3)) + bias


def test_no_figure_is_of_the_old_model(finished: Path) -> None:
    before = pd.read_csv(finished / "evaluation" / "scores.csv")
    assert (before["split"] == "shifted").any()
    found = run(finished, "train.epochs=2", "explain.splits=[valid,test]")
    assert done(found) == {"train": 5, "explain": 12, "evaluate": 1}
    after = pd.read_csv(finished / "evaluation" / "scores.csv")
    for name in ("scores", "pairs", "classification", "organ_iou"):
        assert set(pd.read_csv(finished / "evaluation" / f"{name}.csv")["split"]) == {"valid", "test"}, name
    assert pd.read_csv(finished / "evaluation" / "interventions.csv").empty
    explained = [path.stem for path in (finished / "attention" / "masked").glob("*.npz")]
    assert {name.rsplit("-", 1)[1] for name in explained} == {"valid", "test"}
    labels = after.columns[3:]
    for row in after.to_dict("records"):  # a cached model of the same path would give the old scores
        want = logits_of_weights(finished, row["model"], row["scan_id"])
        np.testing.assert_allclose([row[label] for label in labels], want, atol=1e-4)
    assert not after.merge(before, on=["model", "split", "scan_id", labels[0]]).shape[0]


def test_a_failed_training_leaves_no_model_and_no_figure_of_it(finished: Path, broken_network: str) -> None:
    found = run(finished, "train.epochs=2", f"models.masked.network.name={broken_network}", stages=None)
    assert sorted(failure.id for failure in found["train"].failures) == ["masked-weight-10", "masked-weight-5"]
    assert "the device went away" in found["train"].failures[0].reason
    assert any("models.masked: training failed" in note for note in found["train"].notes)
    assert not list((finished / "models" / "masked").glob("*"))
    assert not list((finished / "attention" / "masked").glob("*"))
    summary = json.loads((finished / "evaluation" / "summary.json").read_text())
    assert list(summary["models"]) == ["baseline"]
    assert not (finished / "evaluation" / "gains.csv").exists()
    page = (finished / "report" / "index.html").read_text("utf-8")
    assert "models.masked: training failed" in page
    assert 'scope="row">masked<' not in page
    again = run(finished, "train.epochs=2")
    assert (again["train"].done, again["train"].skipped, again["train"].failures) == (3, 2, ())
    assert list(json.loads((finished / "evaluation" / "summary.json").read_text())["models"]) == ["baseline", "masked"]


def test_if_every_training_fails_nothing_of_the_old_one_is_left(finished: Path, broken_network: str) -> None:
    found = run(finished, "train.epochs=2", f"network.name={broken_network}", stages=None)
    assert len(found["train"].failures) == 3
    assert not found["explain"].failures
    assert not list(finished.glob("evaluation/*.csv"))
    assert not list(finished.glob("attention/*/*.npz"))
    assert "No model was evaluated" in (finished / "report" / "index.html").read_text("utf-8")


def test_all_models_are_explained_from_one_reading_of_a_scan(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counted(path: Path) -> np.ndarray:
        read.append(path.stem)
        return read_stored(path)

    monkeypatch.setattr(loading, "read_stored", counted)
    found = run(finished, "explain.methods=[gradcam]", "explain.splits=[valid]", stages=("explain",))
    assert done(found) == {"explain": 6}
    assert sorted(read) == sorted(path.stem for path in (finished / "attention" / "masked").glob("*.npz"))


def test_a_picture_more_trains_and_explains_nothing(finished: Path) -> None:
    assert done(run(finished, "segment.png=true")) == {"segment": 20}
    assert len(list((finished / "organs").glob("*.png"))) == 20


def test_a_new_grid_trains_only_the_model_that_has_it(finished: Path) -> None:
    found = run(finished, "models.coarse={network: {backbone: resnet18}}", "explain.splits=[valid]")
    assert done(found) == {"regions": 20, "train": 2, "explain": 3, "evaluate": 1}


@pytest.mark.parametrize(
    ("stage", "settings", "says"),
    [
        ("explain", ("train.epochs=2",), r"trained candidates: 3 of them .* are stale .*: run the train stage"),
        ("explain", ("store.clip_hu=[-1000,900]",), r"stored volumes: .* stale .* run the store stage"),
        (
            "explain",
            ("parse.uncertain=negative",),
            r"label tables: 1 of them \(reports\) is stale .* run the parse stage",
        ),
        ("evaluate", ("explain.methods=[gradcam]",), r"attention of the model baseline: .* run the explain stage"),
        ("evaluate", ("regions.threshold=0.3",), r"allowed regions: .* stale .* run the regions stage"),
        ("train", ("segment.method=reference",), r"organ masks: .* stale .* run the segment stage"),
    ],
)
def test_a_stage_alone_says_which_stage_has_to_run_first(
    first: Path, stage: str, settings: tuple[str, ...], says: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in first.glob("evaluation/*")}
    with pytest.raises(OrganCamError, match=says):
        run(first, *settings, stages=(stage,))
    assert {path: path.stat().st_mtime_ns for path in first.glob("evaluation/*")} == before


def test_missing_maps_are_asked_for_and_not_passed_over(finished: Path) -> None:
    for path in (finished / "attention" / "masked").glob("*-test.*"):
        path.unlink()
    with pytest.raises(
        OrganCamError, match=r"attention of the model masked: 3 of them .* missing: run the explain stage"
    ):
        run(finished, stages=("evaluate",))


@pytest.mark.parametrize(
    ("file", "settings", "redone"),
    [
        ("volumes/{}.b2nd", ("train.epochs=2",), {"train": 5}),
        ("regions/{}.npz", ("train.epochs=2",), {"train": 5}),
        ("organs/{}_organs.nii.gz", ("regions.threshold=0.3",), {"regions": 20, "train": 5}),
        ("labels/labels_by_location.csv", ("train.epochs=2",), {"train": 5}),
    ],
)
def test_a_flipped_bit_is_named_and_its_file_made_again(
    finished: Path, file: str, settings: tuple[str, ...], redone: dict[str, int]
) -> None:
    path = finished / file.format("phantom-0002-train")
    sound = flip(path)
    found = run(finished, *settings, stages=("store", "regions", "train"))
    assert done(found) == redone
    assert path.read_bytes() == sound
    assert not any(summary.failures for summary in found.values())
    (note,) = (note for summary in found.values() for note in summary.notes)
    unit = "reports" if path.parent.name == "labels" else "phantom-0002-train"
    assert note == f"{path.parent.name}: damaged files of 1 unit ({unit}) were made again"
    notes = json.loads((finished / "run.json").read_text())["stages"]
    assert note in [said for stage in notes.values() for said in stage["notes"]]


@pytest.mark.parametrize("file", ["attention/masked/{}.npz", "regions/{}.npz"])
def test_a_flipped_bit_in_what_is_evaluated(finished: Path, file: str) -> None:
    before = pd.read_csv(finished / "evaluation" / "pairs.csv")
    path = finished / file.format("phantom-0002-test")
    sound = flip(path)
    found = run(finished, "evaluate.pointing_tolerance=1", stages=("evaluate",))
    assert path.read_bytes() == sound
    assert len(found["evaluate"].notes) == 1
    assert "damaged files of 1 unit (phantom-0002-test) were made again" in found["evaluate"].notes[0]
    after = pd.read_csv(finished / "evaluation" / "pairs.csv")
    pd.testing.assert_frame_equal(after.drop(columns="pointing"), before.drop(columns="pointing"))


def test_flipped_bits_in_weights_and_pages(finished: Path) -> None:
    sound = {path: flip(finished / path) for path in ("models/masked/model.pt", "models/candidates/masked-weight-5.pt")}
    run(finished, "explain.methods=[hirescam]", "explain.splits=[valid]", stages=("explain",))
    chosen = json.loads((finished / "models" / "masked" / "masked.json").read_text())["details"]["id"]
    redone = ["models/masked/model.pt"] + (["models/candidates/masked-weight-5.pt"] if chosen.endswith("-5") else [])
    for path in redone:
        assert (finished / path).read_bytes() == sound[path]


def test_a_damaged_volume_whose_scan_is_gone_costs_its_own_scan(finished: Path) -> None:
    flip(finished / "volumes" / "phantom-0002-train.b2nd")
    source = finished / "phantom" / "images" / "phantom-0002-train.nii.gz"
    source.unlink()
    # manifest.csv names the first run's image, so that one is put out of the way in the copy's table
    table = finished / "manifest.csv"
    table.write_text(table.read_text().replace("phantom-0002-train.nii.gz", "gone.nii.gz"))
    found = run(finished, "train.epochs=2", stages=SCORED)
    (lost,) = found["train"].failures
    assert (lost.id, lost.kind) == ("phantom-0002-train", "data")
    assert "volumes was damaged and could not be made again" in lost.reason
    assert [failure.id for failure in read_failures(finished)] == ["phantom-0002-train"]
    assert done(found) == {"train": 5, "explain": 28, "evaluate": 1}


def test_a_cut_file_is_made_again_by_the_stage_that_needs_it(finished: Path) -> None:
    path = finished / "attention" / "baseline" / "phantom-0001-valid.npz"
    sound = path.read_bytes()
    path.write_bytes(sound[:1000])
    run(finished, "evaluate.pointing_tolerance=1", stages=("evaluate",))
    assert path.read_bytes() == sound


def test_where_it_is_computed_trains_nothing_again(finished: Path) -> None:
    settings = ("train.cache_gb=0", "train.device=cpu", "train.loader_workers=1", "train.parallel=false")
    assert done(run(finished, *settings, stages=SCORED)) == {}


def test_other_first_weights_at_the_same_path_are_other_weights(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    settings = (f"network.weights={path}", "models={baseline: {}}")
    save_backbone(path, 1)
    assert done(run(finished, *settings, stages=("train",))) == {"train": 2}
    assert done(run(finished, *settings, stages=("train",))) == {}
    save_backbone(path, 2)
    assert done(run(finished, *settings, stages=("train",))) == {"train": 2}
    moved = Path(shutil.copyfile(path, tmp_path / "moved.pt"))
    assert done(run(finished, f"network.weights={moved}", "models={baseline: {}}", stages=("train",))) == {}


def save_backbone(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save(SmallBackbone().state_dict(), path)


def test_what_the_workflow_names_no_more_is_removed(finished: Path) -> None:
    found = run(finished, "models={masked: {mask_loss: {weight: [5]}}}", stages=SCORED)
    assert sorted(path.name for path in (finished / "models").iterdir()) == ["candidates", "masked"]
    assert {path.name.split(".")[0] for path in (finished / "models" / "candidates").iterdir()} == {"masked-weight-5"}
    assert [path.name for path in (finished / "attention").iterdir()] == ["masked"]
    assert list(json.loads((finished / "evaluation" / "summary.json").read_text())["models"]) == ["masked"]
    assert any("names them no more: baseline" in note for note in found["train"].notes)
    assert not list((finished / "models" / "candidates").glob("masked-weight-10*"))


def test_sidecars_of_earlier_versions_are_done_again(finished: Path) -> None:
    """They do not say what their files hold, so nothing that came after could be checked."""
    for path in [*(finished / "volumes").glob("*.json"), *(finished / "attention").glob("*/*.json")]:
        sidecar = json.loads(path.read_text())
        del sidecar["seal"]
        sidecar["outputs"] = {name: made["bytes"] for name, made in sidecar["outputs"].items()}
        path.write_text(json.dumps(sidecar))
    with pytest.raises(OrganCamError, match="run the store stage"):
        run(finished, stages=("evaluate",))
    assert done(run(finished)) == {"store": 20, "explain": 28}


def test_the_cases_of_this_file_share_one_first_run(first: Path) -> None:
    assert done(run(first)) == {}
