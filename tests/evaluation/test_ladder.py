"""What a gain comes from: found in the workflow, measured, and told in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from organcam.evaluation import Ladder, ModelScores, ScanFigures, find_ladders, ladder_sentence, ladder_table
from organcam.workflow_file import parse_workflow

LOSS = {"form": "absolute", "weight": 10}


def ladders_of(**models):
    return find_ladders(parse_workflow({"network": {"backbone": "small"}, "models": models}))


def test_models_that_differ_by_their_control_alone_are_a_ladder():
    [ladder] = ladders_of(
        wrong={"mask_loss": {**LOSS, "control": "shuffled"}},
        other={"mask_loss": {**LOSS, "weight": 11, "control": "permuted"}},
        plain={"mask_loss": None},
        longer={"mask_loss": {**LOSS, "control": "atlas"}, "train": {"epochs": 3}},
        pooled={"mask_loss": None, "network": {"name": "masked_pooling", "backbone": "small"}},
        own={"mask_loss": LOSS},
    )
    assert ladder == Ladder({"own": "own", "shuffled": "wrong"}, "plain")
    assert list(ladder.models) == ["none", "own", "shuffled"]


def test_each_loss_has_its_own_ladder_and_one_without_own_masks_is_none():
    both = {
        f"{form}_{control}": {"mask_loss": {"form": form, "control": control}}
        for form in ("l2", "energy")
        for control in ("own", "atlas")
    }
    found = ladders_of(**both, lone={"mask_loss": {**LOSS, "control": "atlas"}})
    assert found == [Ladder({"own": f"{form}_own", "atlas": f"{form}_atlas"}, None) for form in ("l2", "energy")]


MODELS = {"none": "plain", "own": "masked", "permuted": "others", "shuffled": "random"}
LADDER = Ladder({rung: model for rung, model in MODELS.items() if rung != "none"}, "plain")


def scored(overlaps: dict[str, float], scans: int = 40, noise: float = 0.02) -> dict[str, ModelScores]:
    """Each model's OrganIoU with noise of its own; label 1 is absent; only own masks' logits tell label 0."""
    found = {}
    for rung, value in overlaps.items():
        rng = np.random.default_rng([len(rung), len(found)])
        scores = found[MODELS[rung]] = ModelScores(("a", "b"))
        for split in ("valid", "test", "shifted"):
            for number in range(scans):
                there = np.array([number % 2 == 0, False])
                overlap = np.where(there, value + noise * rng.standard_normal(), np.nan)
                logits = np.where(there, 1.0, 0.0) * (rung == "own") + np.zeros(2)
                overlaps_of = {"hirescam": overlap}
                figures = ScanFigures(f"{split}{number}", split, there, logits.astype(np.float32), overlaps_of)
                scores.scans.append(figures)
    return found


def table_of(overlaps, **options):
    return ladder_table(LADDER, scored(overlaps, **options), "test", {}, seed=0)


def test_rows_are_own_masks_beside_every_rung():
    table = table_of({"none": 0.5, "own": 0.9, "permuted": 0.89, "shuffled": 0.45}, noise=0.0)
    overlap = table[table["figure"] == "organ_iou"].set_index("control")
    assert overlap["value"].tolist() == pytest.approx([0.5, 0.9, 0.89, 0.45])
    assert overlap["gain"].drop("own").tolist() == pytest.approx([0.4, 0.01, 0.45])
    assert overlap["low"].drop("own").tolist() == pytest.approx([0.4, 0.01, 0.45])
    assert overlap["change"].to_dict() == {"none": "gained", "own": "", "permuted": "gained", "shuffled": "gained"}
    assert overlap["own"].unique().tolist() == ["masked"]
    areas = table[table["figure"] == "auroc_median"]
    assert areas["split"].unique().tolist() == ["test", "shifted"]
    assert areas.set_index(["split", "control"])["value"]["test"].to_dict() == {
        **dict.fromkeys(("none", "permuted", "shuffled"), 0.5),
        "own": 1.0,
    }


def test_scans_that_a_model_lacks_are_left_out_of_all():
    scores = scored({"none": 0.5, "own": 0.9}, noise=0.0)
    dropped = next(scan for scan in scores["plain"].scans if scan.scan_id == "test0")
    scores["plain"].scans.remove(dropped)
    scores["masked"].scans = [
        scan if scan.scan_id != "test0" else ScanFigures(**{**vars(scan), "organ_iou": {"hirescam": np.zeros(2)}})
        for scan in scores["masked"].scans
    ]
    table = ladder_table(LADDER, scores, "test", {}, seed=0).set_index(["figure", "control"])
    assert table.loc[("organ_iou", "own"), "value"] == pytest.approx(0.9)


def test_patients_and_not_scans_are_drawn():
    one = dict.fromkeys((f"test{number}" for number in range(40)), "one")
    scores = scored({"none": 0.5, "own": 0.9}, noise=0.3)
    row = ladder_table(LADDER, scores, "test", one, seed=0).set_index(["figure", "control"]).loc[("organ_iou", "none")]
    assert row["low"] == pytest.approx(row["high"])


@pytest.mark.parametrize(
    ("overlaps", "words", "never"),
    [
        (
            {"none": 0.5, "own": 0.9, "permuted": 0.9, "shuffled": 0.45},
            ["mostly from where organs usually lie", "mere regularisation 0%", "another patient's masks"],
            [],
        ),
        (
            {"none": 0.5, "own": 0.9, "permuted": 0.6, "shuffled": 0.5},
            ["mostly from the patient's own anatomy", "usually lie 2"],
            ["within chance"],
        ),
        (
            {"none": 0.5, "own": 0.9, "permuted": 0.9, "shuffled": 0.89},
            ["mostly from mere regularisation"],
            [],
        ),
        ({"none": 0.5, "own": 0.9, "shuffled": 0.45}, ["mostly from where the masks' cells lie"], ["anatomy"]),
        ({"none": 0.9, "own": 0.9, "permuted": 0.9}, ["no gain beyond chance"], ["mostly"]),
        ({"own": 0.9, "permuted": 0.5}, ["+0.4", "beside another patient's masks"], ["gain"]),
    ],
)
def test_the_sentence_names_the_source(overlaps, words, never):
    sentence = ladder_sentence(table_of(overlaps))
    for word in words:
        assert word in sentence
    for word in never:
        assert word not in sentence


def test_what_chance_may_have_done_is_told_so():
    sentence = ladder_sentence(table_of({"none": 0.5, "own": 0.9, "permuted": 0.9, "shuffled": 0.4}, noise=0.1))
    assert "own masks are" in sentence
    assert "within chance" in sentence


def test_without_own_masks_or_anything_beside_them_there_is_nothing_to_say():
    assert ladder_table(LADDER, scored({"none": 0.5, "permuted": 0.5}), "test", {}, seed=0).empty
    assert ladder_table(LADDER, scored({"own": 0.5}), "test", {}, seed=0).empty
    assert ladder_sentence(pd.DataFrame()) == ""
