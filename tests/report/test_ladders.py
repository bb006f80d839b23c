"""Where the gain comes from, on the page: the table's figures and the sentence."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from organcam.report.ladders import ladder_sections
from organcam.report.results import Results, read_results
from organcam.stages.report import run_report
from organcam.stages.run import Run

COLUMNS = ("own", "control", "model", "figure", "split", "value", "gain", "low", "high", "change")
ROWS = [
    ("masked", "none", "baseline", "organ_iou", "test", 0.5, 0.4, 0.3, 0.5, "gained"),
    ("masked", "own", "masked", "organ_iou", "test", 0.9, None, None, None, ""),
    ("masked", "atlas", "mean", "organ_iou", "test", 0.89, 0.01, -0.01, 0.03, "unclear"),
    ("masked", "none", "baseline", "auroc_median", "shifted", 0.7, 0.2, 0.1, 0.25, "gained"),
    ("masked", "own", "masked", "auroc_median", "shifted", 0.9, None, None, None, ""),
    ("masked", "atlas", "mean", "auroc_median", "shifted", 0.88, 0.02, -0.02, 0.06, "unclear"),
]
TABLE = pd.DataFrame(ROWS, columns=list(COLUMNS))


def test_a_section_for_each_mask_loss_with_controls():
    other = TABLE.replace({"own": {"masked": "second"}, "model": {"masked": "second"}})
    found = ladder_sections(Results(pd.DataFrame(), ladder=pd.concat([TABLE, other])))
    assert [section["own"] for section in found] == ["masked", "second"]
    section = found[0]
    assert section["headings"] == ["OrganIoU, all labels, test", "AUROC, median, shifted"]
    assert [row["model"] for row in section["rows"]] == ["baseline", "masked", "mean"]
    beyond = [[cell["beyond"] for cell in row["cells"]] for row in section["rows"]]
    assert beyond == [[True, True], [False, False], [False, False]]
    assert section["rows"][1]["cells"][0]["interval"] is None
    assert "where organs usually lie 98%" in section["sentence"]
    assert ladder_sections(Results(pd.DataFrame())) == []


def test_the_page_shows_table_and_sentence_once(make_run: Callable[..., Run]):
    run = make_run()
    TABLE.to_csv(run.root / "evaluation" / "ladder.csv", index=False)
    run_report(run)
    page = (run.root / "report" / "index.html").read_text("utf-8")
    assert page.count("in OrganIoU over baseline") == 1
    for text in ("mean of the training scans", "0.890", "+0.010", "-0.010 to +0.030", "+0.400"):
        assert text in page
    assert "another patient" not in page
    read = read_results(run.root, ["baseline", "masked"])
    assert read.ladder is not None
    assert len(read.ladder) == len(TABLE)
