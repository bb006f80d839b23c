"""Choosing a candidate, and the changes of logits between paired scans, by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from organcam.errors import ConfigError
from organcam.runner import StageSpec, Unit, make_executor, run_stage
from organcam.stages.interventions import logit_changes, summarise_changes
from organcam.stages.train import choose_candidate


def test_the_chosen_candidate_is_copied_and_all_are_written_down(tmp_path: Path) -> None:
    """Within .02 of the best AUROC the higher OrganIoU wins; the third has the highest, and tells too little."""
    judged = [
        {"id": "m-weight-1", "weight": 1.0, "auroc_median": 0.95, "organ_iou": 0.4},
        {"id": "m-weight-5", "weight": 5.0, "auroc_median": 0.935, "organ_iou": 0.6},
        {"id": "m-weight-9", "weight": 9.0, "auroc_median": 0.925, "organ_iou": 0.9},
    ]
    folder = tmp_path / "candidates"
    folder.mkdir()
    for row in judged:
        (folder / f"{row['id']}.pt").write_text(f"weights of {row['id']}")
        (folder / f"{row['id']}.csv").write_text(f"curve of {row['id']}")
    payload = {"folder": str(folder), "judged": judged, "labels": ["a", "b"]}
    spec = StageSpec("train", 1, tmp_path / "m", choose_candidate)
    result = run_stage(spec, [Unit("m", {}, payload)], make_executor("serial"))
    assert result.done["m"]["details"] == {**judged[1], "labels": ["a", "b"]}
    assert (tmp_path / "m" / "model.pt").read_text() == "weights of m-weight-5"
    assert (tmp_path / "m" / "metrics.csv").read_text() == "curve of m-weight-5"
    table = pd.read_csv(tmp_path / "m" / "selection.csv")
    assert table.columns.tolist() == ["weight", "auroc_median", "organ_iou", "chosen"]
    assert table["chosen"].tolist() == [False, True, False]


PAIRS = """scan_id,counterpart,inserted,label
a1,a0,lesion,nodule
b1,b0,lesion,nodule
c1,c0,confounder,nodule
d1,d0,lesion,mass
e1,gone,lesion,nodule
"""
LOGITS = {"a1": 3.0, "a0": 1.0, "b1": 0.5, "b0": 1.0, "c1": 4.0, "c0": 0.0, "d1": 7.0, "d0": 7.0, "e1": 9.0}


def test_changes_are_after_minus_before_and_half_pairs_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "interventions.csv"
    path.write_text(PAIRS)
    changes = logit_changes(path, lambda scan_id, label: LOGITS.get(scan_id))
    assert changes.values.tolist() == [
        ["nodule", "lesion", 2.0],
        ["nodule", "lesion", -0.5],
        ["nodule", "confounder", 4.0],
        ["mass", "lesion", 0.0],
    ]
    table = summarise_changes(changes).set_index(["label", "inserted"])
    assert table.loc[("nodule", "lesion")].tolist() == [0.75, 1.25, 2]
    assert table.loc[("nodule", "confounder")].tolist() == [4.0, 4.0, 1]
    assert table.loc[("mass", "lesion")].tolist() == [0.0, 0.0, 1]


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "interventions.csv"
    path.write_text("scan_id,label\na,nodule\n")
    with pytest.raises(ConfigError, match=r"data\.interventions.*counterpart"):
        logit_changes(path, lambda scan_id, label: 0.0)
