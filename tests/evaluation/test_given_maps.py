"""Maps, masks and labels of another program: tables by hand, intervals, and what bad files are told."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from organcam.cli import app
from organcam.errors import ConfigError
from organcam.metrics import organ_iou_curve
from organcam.metrics.thresholds import THRESHOLDS
from organcam.stages.given_maps import evaluate_given_maps

LABELS = ("lung_nodule", "heart_stent")
GRID = (2, 3, 3)


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, labels=np.asarray(LABELS), **arrays)


@pytest.fixture
def files(tmp_path):
    """Eight scans; model "good" lights allowed cells alone, "bad" as many forbidden ones, half as bright."""
    allowed = np.zeros((2, *GRID), bool)
    allowed[0, 0], allowed[1, 1] = True, True
    rows = []
    for number in range(8):
        name = f"s{number}"
        good = np.where(allowed, 1.0, 0.0)
        write_npz(
            tmp_path / "maps" / "good" / f"{name}.npz",
            gradcam=good + 0.5,
            hirescam=good,
            scores=np.array([number, 0.0]),
        )
        write_npz(tmp_path / "maps" / "bad" / f"{name}.npz", hirescam=1.0 - 0.5 * good, scores=np.array([-number, 0.0]))
        write_npz(tmp_path / "masks" / f"{name}.npz", allowed=allowed)
        rows.append((name, f"p{number // 2}", int(number >= 4), int(number == 0)))
    table = pd.DataFrame(rows, columns=["scan_id", "patient_id", *LABELS])
    table.to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


def evaluated(folder, **options):
    return evaluate_given_maps(folder / "maps", [folder / "masks"], folder / "labels.csv", folder / "out", **options)


def test_figures_by_hand(files):
    """good/hirescam is confined, 1; good/gradcam is the same after its minimum is subtracted; bad lights the rest."""
    found, failures = evaluated(files)
    assert failures == []
    overall = found.tables["organ_iou"].query("by == 'overall'").set_index(["model", "method"])
    assert overall["mean"].to_dict() == {
        ("bad", "hirescam"): 0.0,
        ("good", "gradcam"): 1.0,
        ("good", "hirescam"): 1.0,
    }
    assert overall["count"].tolist() == [5, 5, 5]
    assert overall.loc["good", "hirescam"][["low", "high"]].tolist() == [1.0, 1.0]
    scores = found.tables["classification"].set_index(["model", "label"])["auroc"]
    assert scores["good", "lung_nodule"] == 1.0
    assert scores["bad", "lung_nodule"] == 0.0
    assert scores["good", "heart_stent"] == 0.5
    assert scores["good", "median"] == 0.75
    said = found.tables["classification"].set_index(["model", "label"])["calibration_error"]
    assert said["good", "heart_stent"] == pytest.approx(0.5 - 1 / 8)  # one in two said, one in eight there
    table1 = found.tables["table1"].set_index("model")
    assert table1.loc["good", ["median_auroc", "organ_iou_gradcam", "organ_iou_hirescam"]].tolist() == [
        75.0,
        100.0,
        100.0,
    ]
    table2 = found.tables["table2"].set_index("group")
    assert table2.loc["lung", ["percent", "bad_hirescam", "good_hirescam"]].tolist() == [80.0, 0.0, 100.0]
    assert any("chosen on the scans that are scored" in note for note in found.notes)


def test_everything_is_written_and_json_holds_the_same(files):
    found, _ = evaluated(files)
    names = {"organ_iou", "gains", "table1", "table2", "pairs", "classification"}
    assert set(found.tables) == names
    assert {path.stem for path in (files / "out").glob("*.csv")} == names | {"failures"}
    summary = json.loads((files / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["scans"] == {"bad": 8, "good": 8}
    assert len(summary["tables"]["organ_iou"]) == len(pd.read_csv(files / "out" / "organ_iou.csv"))


def test_gains_are_relative_paired_and_by_group(tmp_path):
    """One model lights 2 cells, 1 allowed, in every scan; the other 2 of 2 in half of the patients: gain 1/2."""
    allowed = np.zeros((2, 4))
    allowed[:, :2] = 1
    rows = []
    for number in range(40):
        other = [1.0, 1.0, 0.0, 0.0] if number % 2 else [1.0, 0.0, 1.0, 0.0]
        for model, cells in (("a", [1.0, 0.0, 1.0, 0.0]), ("b", other)):
            write_npz(tmp_path / "maps" / model / "hirescam" / f"s{number}.npz", x=np.array([cells] * 2))
        write_npz(tmp_path / "masks" / f"s{number}.npz", allowed=allowed)
        rows.append((f"s{number}", 1, 0))
    pd.DataFrame(rows, columns=["scan_id", *LABELS]).to_csv(tmp_path / "labels.csv", index=False)
    gains = evaluated(tmp_path)[0].tables["gains"].set_index("group")
    row = gains.loc["overall"]
    assert (row["reference"], row["organ_iou"], row["reference_organ_iou"]) == ("a/hirescam", 0.75, 0.5)
    assert row["relative_gain"] == 0.5
    assert 0.25 < row["low"] < 0.5 < row["high"] < 0.75
    # 40 coins: a standard error of sqrt(.25 / 40) x .5 / .5 of the gain, 1.96 of it to each side
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 40), rel=0.2)
    assert "heart" not in gains.index  # no pair
    other = evaluated(tmp_path, reference="b/hirescam")[0].tables["gains"].set_index("group")
    assert other.loc["overall", "relative_gain"] == pytest.approx(-1 / 3)


def test_thresholds_come_from_validation_scans_or_a_file(files, tmp_path):
    table = pd.read_csv(files / "labels.csv")
    table["split"] = ["valid" if number % 2 else "test" for number in range(8)]
    table.to_csv(files / "labels.csv", index=False)
    found, _ = evaluated(files)
    assert not any("chosen on the scans" in note for note in found.notes)
    assert found.tables["organ_iou"].query("by == 'overall'")["count"].tolist() == [3, 3, 3]  # s0, s4, s6
    chosen = json.loads((files / "out" / "thresholds.json").read_text(encoding="utf-8"))
    assert chosen["good"]["hirescam"]["masks"]["lung_nodule"] == THRESHOLDS[0]
    assert chosen["good"]["hirescam"]["masks"]["heart_stent"] is None  # absent in the validation scans
    again, _ = evaluated(files, thresholds=files / "out" / "thresholds.json")
    pd.testing.assert_frame_equal(again.tables["organ_iou"], found.tables["organ_iou"])
    (tmp_path / "wrong.json").write_text('{"lung_nodul": 0.5, "heart_stent": 0.5}', encoding="utf-8")
    with pytest.raises(ConfigError, match="none for the label 'lung_nodule'.*did you mean 'lung_nodul'"):
        evaluated(files, thresholds=tmp_path / "wrong.json")


def test_scores_are_those_of_the_pure_function(tmp_path):
    rng = np.random.default_rng(0)
    expected, rows = [], []
    for number in range(6):
        maps, allowed = rng.normal(size=(2, *GRID)), rng.random((2, *GRID)) < 0.5
        write_npz(tmp_path / "maps" / f"s{number}.npz", gradcam=maps)
        write_npz(tmp_path / "masks" / f"s{number}.npz", allowed=allowed)
        rows.append((f"s{number}", "valid" if number < 3 else "test", 1, 0))
        import torch

        attention = torch.tensor(maps, dtype=torch.float32)[None]
        expected.append(organ_iou_curve(attention, torch.tensor(allowed)[None])[0, 0].numpy())
    pd.DataFrame(rows, columns=["scan_id", "split", *LABELS]).to_csv(tmp_path / "labels.csv", index=False)
    found, _ = evaluated(tmp_path)
    best = int(np.argmax(np.mean(expected[:3], axis=0)))
    pairs = found.tables["pairs"]
    assert pairs["scan_id"].tolist() == ["s3", "s4", "s5"]
    np.testing.assert_allclose(pairs["organ_iou"], [curve[best] for curve in expected[3:]], rtol=1e-6)
    assert set(pairs["model"]) == {"maps"}


def test_nifti_maps_and_masks_of_single_labels(tmp_path):
    """Full-size volumes, a file a label; of the absent label there is none."""
    for kind, values in (("maps", [4, 3, 1, 0]), ("masks", [1, 0, 0, 0])):
        folder = tmp_path / kind / ("m/cam" if kind == "maps" else "")
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            array = np.tile(np.asarray(values, np.float32), (2, 2, 1))
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}_lung_nodule.nii.gz")
    (tmp_path / "labels.csv").write_text("scan_id,lung_nodule,heart_stent\na,1,0\nb,1,0\n", encoding="utf-8")
    found, failures = evaluated(tmp_path)
    assert failures == []
    overall = found.tables["organ_iou"].query("by == 'overall'").iloc[0]
    assert (overall["model"], overall["method"], overall["mean"], overall["count"]) == ("m", "cam", 1.0, 2)
    assert any("1 labels are present in no scan" in note for note in found.notes)


def test_lesions_give_pointing_hits_and_recall(files):
    for number in range(4, 8):
        lesions = np.zeros((2, *GRID), np.int16)
        lesions[0, 0, 0, 0], lesions[0, 1, 2, 2] = 1, 2
        write_npz(files / "lesions" / f"s{number}.npz", lesions=lesions)
    found, failures = evaluated(files, lesions=files / "lesions")
    assert failures == []
    table = found.tables["localization"].query("by == 'overall' and method == 'hirescam'")
    means = table.set_index(["model", "measure"])["mean"]
    assert means["good", "pointing"] == 1.0
    assert means["good", "energy"] == pytest.approx(1 / 9)
    assert means["good", "recall_1"] == 0.5
    assert means["bad", "pointing"] == 0.0
    assert table["count"].unique().tolist() == [4]
    strata = found.tables["localization"].query("method == 'hirescam' and model == 'good' and measure == 'pointing'")
    assert strata.query("by == 'lesion_cells'")[["name", "mean", "count"]].values.tolist() == [["2 to 2", 1.0, 4]]
    assert strata.query("by == 'score'")["count"].sum() == 4


def test_two_sources_of_masks_give_an_interval(files):
    for number in range(8):
        allowed = np.zeros((2, *GRID))
        allowed[:, 0, 0] = 1
        write_npz(files / "other" / f"s{number}.npz", allowed=allowed)
    sources = [files / "masks", files / "other"]
    found, _ = evaluate_given_maps(files / "maps", sources, files / "labels.csv", files / "out")
    row = found.tables["mask_sensitivity"].query("model == 'good' and method == 'hirescam' and by == 'overall'").iloc[0]
    assert row["highest"] == 1.0
    assert row["lowest"] == pytest.approx((4 * 3 / 9 + 0) / 5)


@pytest.mark.parametrize("broken", ["grid", "nan", "missing", "no mask", "cut"])
def test_one_rotten_scan_never_stops_the_rest(files, broken):
    path = files / "maps" / "good" / "s5.npz"
    words = {
        "grid": "its maps have 2 x 3 x 4 cells, its mask 2 x 3 x 3; both must be the same",
        "nan": "the maps of method hirescam hold NaN or infinity",
        "missing": "maps holds no map of it",
        "no mask": "masks holds no mask of it",
        "cut": "unreadable or truncated",
    }[broken]
    if broken == "grid":
        write_npz(path, hirescam=np.ones((2, 2, 3, 4)))
    elif broken == "nan":
        write_npz(path, hirescam=np.full((2, *GRID), np.nan))
    elif broken == "cut":
        path.write_bytes(path.read_bytes()[:200])
    else:
        (path if broken == "missing" else files / "masks" / "s5.npz").unlink()
    found, failures = evaluated(files)
    assert {failure.id for failure in failures} == {"s5"}
    assert all(words in failure.reason for failure in failures)
    overall = found.tables["organ_iou"].query("by == 'overall' and model == 'good' and method == 'hirescam'").iloc[0]
    assert (overall["mean"], overall["count"]) == (1.0, 4)


def test_maps_without_a_positive_value_score_zero_and_are_told(files):
    write_npz(files / "maps" / "good" / "s5.npz", hirescam=np.zeros((2, *GRID)), gradcam=-np.ones((2, *GRID)))
    found, failures = evaluated(files)
    assert failures == []
    assert sum("1 maps of present labels have no positive value" in note for note in found.notes) == 2
    overall = found.tables["organ_iou"].query("by == 'overall' and model == 'good' and method == 'hirescam'").iloc[0]
    assert (overall["mean"], overall["count"]) == (0.8, 5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,lung_nodule\ns0,1\n", "scan_id"),
        ("scan_id\ns0\n", "a column for each label"),
        ("scan_id,lung_nodule\ns0,2\n", "scan 's0', column 'lung_nodule' holds '2'; 0 or 1 is needed"),
        ("scan_id,lung_nodule\ns0,\n", "holds ''; 0 or 1"),
        ("scan_id,lung_nodule\ns0,1\ns0,0\n", "scan 's0' has more than one row"),
        ("scan_id,lung_nodule\nother,1\n", "holds no map of a scan of the table, such as"),
        ("scan_id,cardiomegaly\ns0,1\n", "none of its labels is in the table"),
    ],
)
def test_unusable_labels_say_what_is_wrong(files, text, words):
    (files / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        evaluated(files)
    assert not (files / "out").exists()


def test_the_command_prints_the_published_forms(files):
    arguments = ["evaluate", "--maps", files / "maps", "--masks", files / "masks", "--labels", files / "labels.csv"]
    done = CliRunner().invoke(app, [*map(str, arguments), "--out", str(files / "out")])
    assert done.exit_code == 0, done.output
    assert "organ_iou_hirescam" in done.output
    assert "By concept group" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--maps", "maps"], "--maps needs --labels"),
        (["--masks", "masks"], "--masks belongs to --maps"),
        (["--maps", "maps", "--labels", "labels.csv"], "--maps needs --masks"),
        (["--maps", "nowhere", "--masks", "masks", "--labels", "labels.csv"], "--maps: no such folder"),
        (["--maps", "maps", "--masks", "masks", "--labels", "labels.csv", "--reference", "x/y"], "no maps of 'x/y'"),
    ],
)
def test_the_command_names_what_is_missing(files, monkeypatch, arguments, words):
    monkeypatch.chdir(files)
    done = CliRunner().invoke(app, ["evaluate", "--out", "out", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
