"""The pages of a small run: escaped, complete, the same again, and their figures those of the tables."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organcam.data.network_input import grid_key
from organcam.data.region_store import read_regions
from organcam.data.volume import Volume
from organcam.geometry import FeatureGrid
from organcam.report import SCAN_PAGE_MARK, ModelMaps, ScanView, scan_context, shown_labels
from organcam.report.scan_view import label_window
from organcam.runner import Failure, write_json_atomic
from organcam.stages.report import run_report
from organcam.stages.run import Run
from organcam.workflow_file import parse_workflow

MakeRun = Callable[..., Run]
GRID = FeatureGrid((10, 8, 8), (3.0, 8.0, 8.0), (1.0, 3.5, 3.5), (3, 31, 31), (30, 64, 64))
HOSTILE = "<script>alert('x')</script> nodule & \"mass\""


class Page(HTMLParser):
    """Tags, text, addresses, and the cells of each table that has an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._table: list[list[str]] | None = None
        self._in_cell = self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value]
        self._in_style = tag == "style"
        if tag == "table":
            self._table = self.tables.setdefault(found.get("id") or f"table{len(self.tables)}", [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("td", "th") and self._table:
            self._in_cell = True
            self._table[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")
        self._in_style = self._in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self._in_style:
            return
        self.words.append(data)
        if self._in_cell and self._table:
            self._table[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def pages_of(run: Run) -> dict[str, Page]:
    return {path.name: Page(path.read_text(encoding="utf-8")) for path in sorted((run.root / "report").glob("*.html"))}


def test_pages_of_a_whole_run(make_run: MakeRun) -> None:
    run = make_run(pages=2)
    summary = run_report(run)
    assert (summary.stage, summary.done, summary.failures) == ("report", 3, ())
    pages = pages_of(run)
    assert list(pages) == ["index.html", "s3.html", "s4.html"]  # test scans, two wanted
    assert {"s3.html", "s4.html"} <= set(pages["index.html"].addresses)
    for page in pages.values():
        assert "not a medical device" in page.text.lower()
        assert "removes" not in page.text
        assert "removed" not in page.text


def test_pages_stand_alone(reported_run: Run) -> None:
    run = reported_run
    for page in pages_of(run).values():
        assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
        outside = [
            a for a in page.addresses if not a.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,"))
        ]
        assert set(outside) <= {"index.html", "s3.html"}
        assert any(address.startswith("data:") for address in page.addresses)


def test_figures_equal_those_of_the_tables(reported_run: Run) -> None:
    run = reported_run
    page, folder = pages_of(run)["index.html"], run.root / "evaluation"
    scored = pd.read_csv(folder / "classification.csv").query("split == 'test'").set_index(["label", "model"])
    overlap = pd.read_csv(folder / "organ_iou.csv").query("split == 'test'")
    overlap = overlap.set_index(["by", "name", "model", "method"])["mean"]
    rows = page.tables["labels-table"][2:]
    assert len(rows) == 4
    for label, positives, *cells in rows:
        assert int(positives) == scored.loc[(label, "baseline"), "positives"]
        for position, model in enumerate(("baseline", "masked")):
            auroc, precision, iou = cells[3 * position : 3 * position + 3]
            want = scored.loc[(label, model)]
            assert auroc == ("\u2013" if np.isnan(want["auroc"]) else f"{want['auroc']:.3f}")
            assert precision == (
                "\u2013" if np.isnan(want["average_precision"]) else f"{want['average_precision']:.3f}"
            )
            assert iou == f"{overlap['label', label, model, 'hirescam']:.3f}"
    groups = page.tables["groups-table"][2:]
    assert [row[0] for row in groups] == ["overall", "lung", "heart"]
    for name, count, *cells in groups:
        by = "overall" if name == "overall" else "group"
        want_values = [
            overlap[by, name, m, method] for m in ("baseline", "masked") for method in ("gradcam", "hirescam")
        ]
        assert (int(count), cells) == (7, [f"{value:.3f}" for value in want_values])
    summary = json.loads((folder / "summary.json").read_text())["models"]
    models = page.tables["models-table"][2:]
    for model, cells in zip(("baseline", "masked"), models, strict=True):
        assert cells[0].startswith(model)
        for position, method in ((1, "gradcam"), (3, "hirescam")):  # learned labels first
            assert cells[position] == f"{summary[model]['organ_iou_learned'][method]:.3f}"
            assert cells[position + 1] == f"{summary[model]['organ_iou_ratio'][method]:.2f}"
        assert cells[5:7] == [f"{overlap['overall', 'overall', model, m]:.3f}" for m in ("gradcam", "hirescam")]
    assert "over the 2 labels that every model has learned (AUROC of 0.8 or more)" in page.text


def test_interventions_stand_beside_organ_iou(reported_run: Run) -> None:
    run = reported_run
    page = pages_of(run)["index.html"]
    first, second = page.tables["interventions-table"][1:]
    assert first[1:7] == ["baseline", "5.3", "1.00", "9.3", "1.00", "1.75"]
    assert second[:6] == ["masked", "3.9", "0.74", "2.6", "0.28", "0.67"]
    assert "masked reduces the use of the confounder" in page.text
    assert "does not prove that the network looks nowhere else" in page.text


def test_the_page_says_which_labels_fell(make_run: MakeRun) -> None:
    run = make_run()
    about = {"model": "masked", "reference": "baseline", "split": "test", "scans": 30, "positives": 5}
    rows = [
        {"label": "effusion", "reference_auroc": 0.7, "auroc": 0.95, "low": 0.1, "high": 0.4, "change": "gained"},
        {"label": "fat", "reference_auroc": 0.7, "auroc": 0.75, "low": -0.1, "high": 0.2, "change": "unclear"},
        {"label": "nodule", "reference_auroc": 0.7, "auroc": 0.66, "low": -0.2, "high": 0.1, "change": "unclear"},
        {"label": "mass", "reference_auroc": 0.7, "auroc": 0.5, "low": -0.3, "high": -0.1, "change": "lost"},
        {"label": "cyst", "reference_auroc": 0.7, "auroc": 0.6, "low": None, "high": None, "change": "unclear"},
    ]
    table = pd.DataFrame([{**about, **row} for row in rows])
    table["difference"] = table["auroc"] - table["reference_auroc"]
    table.to_csv(run.root / "evaluation" / "gains.csv", index=False)
    run_report(run)
    text = pages_of(run)["index.html"].text
    assert (
        "Lower: 3 (1 beyond chance) mass \u22120.200 (\u22120.300 to \u22120.100) 0.700 to 0.500, 5 positives" in text
    )
    assert "2 within chance: cyst, nodule" in text
    assert "Higher: 2 (1 beyond chance) effusion +0.250 (+0.100 to +0.400)" in text


def test_flags_and_remarks_are_counted_apart(make_run: MakeRun) -> None:
    """The stage says how many are flagged; the page must not call what is a remark a flag too."""
    run = make_run()
    path = run.root / "organs" / "quality.csv"
    quality = pd.read_csv(path, dtype={"explanation": str})
    quality.loc[quality["scan_id"].isin(["s1", "s2"]), "explanation"] = "the arms are down"
    quality.to_csv(path, index=False)
    run_report(run)
    text = pages_of(run)["index.html"].text
    assert "1 of 6 segmentations is flagged: its masks are not used as they are. 2 more carry a remark" in text


def test_report_text_and_names_are_escaped(make_run: MakeRun) -> None:
    run = make_run(sentence=HOSTILE)
    run.failures.append(Failure("ingest", "<b>s9</b>", "bad <img src=x onerror=y>", "data"))
    run_report(run)
    for page in pages_of(run).values():
        assert "script" not in page.tags
    assert HOSTILE in pages_of(run)["s3.html"].text
    index = pages_of(run)["index.html"]
    assert "bad <img src=x onerror=y>" in index.text
    assert "the <left> lung is cut" in index.text
    assert "img src=x" not in index.addresses
    assert "b" not in index.tags


def test_every_reason_of_a_scan_is_on_the_page(make_run: MakeRun) -> None:
    run = make_run()
    reasons = ["is cut short after 12 slices", "has no report", "lost its organs"]
    for reason, (stage, kind) in zip(
        reasons, (("ingest", "data"), ("ingest", "unpaired"), ("segment", "crash")), strict=True
    ):
        run.failures.append(Failure(stage, "s9", reason, kind))
    run_report(run)
    page = (run.root / "report" / "index.html").read_text("utf-8")
    assert [reason for reason in reasons if reason not in page] == []


def test_same_inputs_same_bytes_in_another_folder(reported_run: Run, make_run: MakeRun) -> None:
    other = make_run("other")
    run_report(other)
    here, there = (
        {path.name: path.read_bytes() for path in (r.root / "report").iterdir()} for r in (reported_run, other)
    )
    assert here == there


@pytest.mark.parametrize(
    ("absent", "sentence", "explained"),
    [
        ("reports", "no labels", False),  # without them nothing is trained, and so nothing explained
        ("interventions", "data.interventions", True),
        ("organs", "No segmentation was done", False),
        ("evaluation", "No model was evaluated", True),
    ],
)
def test_a_missing_piece_is_said_and_the_rest_is_there(
    make_run: MakeRun, absent: str, sentence: str, explained: bool
) -> None:
    run = make_run(**{absent: False})
    assert run_report(run).done == 1 + explained
    pages = pages_of(run)
    assert sentence in pages["index.html"].text
    assert ("s3.html" in pages) == explained
    assert "Left out here" not in pages["index.html"].text


@pytest.mark.parametrize(
    ("section", "changed", "kept"),
    [
        ("segment", {"method": "reference"}, []),
        ("train", {"epochs": 9}, ["organs-table"]),
        ("explain", {"methods": ["hirescam"]}, ["organs-table", "training-table"]),
        ("evaluate", {"fidelity": "reference"}, ["organs-table", "training-table"]),
    ],
)
def test_results_of_other_settings_are_left_out_and_said(
    make_run: MakeRun, section: str, changed: dict[str, object], kept: list[str]
) -> None:
    run = make_run()
    document = run.workflow.document()
    document[section] |= changed
    run.workflow = parse_workflow(document)
    run_report(run)
    page = pages_of(run)["index.html"]
    assert "models-table" not in page.tables
    assert f"run the {section} stage" in page.text
    assert [name for name in ("organs-table", "training-table") if name in page.tables] == kept
    assert ("s3.html" in pages_of(run)) == (section == "evaluate")


def test_a_damaged_map_is_named_and_costs_its_own_page_only(make_run: MakeRun) -> None:
    run = make_run(pages=2)
    path = run.root / "attention" / "masked" / "s3.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    summary = run_report(run)  # the models of this run cannot make it again: they are files of text
    assert list(pages_of(run)) == ["index.html", "s4.html"]
    (lost,) = summary.failures
    assert (lost.stage, lost.id) == ("report", "s3")


def test_without_lesions_the_scan_page_says_so(reported_run: Run, make_run: MakeRun) -> None:
    run = make_run(lesions=False)
    run_report(run)
    assert "No known lesion was given" in pages_of(run)["s3.html"].text
    assert "through the known lesion" in pages_of(reported_run)["s3.html"].text


def test_nothing_but_a_manifest(make_run: MakeRun) -> None:
    run = make_run(reports=False, evaluation=False, organs=False, lesions=False, interventions=False)
    shutil.rmtree(run.root / "attention")
    shutil.rmtree(run.root / "volumes")
    assert run_report(run).done == 1
    page = pages_of(run)["index.html"]
    assert "No scan has a page" in page.text
    assert page.tables["scans-table"][1] == ["train", "1", "0"]


def test_pages_of_an_earlier_choice_go_and_other_files_stay(make_run: MakeRun) -> None:
    run = make_run(pages=0)
    folder = run.folder("report")
    (folder / "old.html").write_text(f"<html><head>{SCAN_PAGE_MARK}</head></html>")
    (folder / "mine.html").write_text("<html>notes</html>")
    run_report(run)
    assert {path.name for path in folder.iterdir()} == {"index.html", "mine.html"}


def test_scans_that_all_took_part_in_everything_carry_a_caution(make_run: MakeRun) -> None:
    run = make_run(splits=dict.fromkeys(["s1", "s2", "s3", "s4", "s5", "s6"], "all"))
    write_json_atomic(run.root / "run.json", {"stages": {"ingest": {"notes": ["two scans were <odd>"]}}})
    run_report(run)
    pages = pages_of(run)
    assert "not performance on new ones" in pages["index.html"].text
    assert "not performance on new ones" in pages["s1.html"].text
    assert "two scans were <odd>" in pages["index.html"].text


def test_labels_of_the_report_come_first_then_the_highest_scores() -> None:
    scores = {"a": (("x", "y", "z"), np.array([3.0, 1.0, 2.0])), "b": (("x", "y", "z"), np.array([3.0, 2.0, 0.0]))}
    assert shown_labels({"x": False, "y": True, "z": False}, scores, 2) == ["y", "x"]
    assert shown_labels(None, scores, 3) == ["x", "y", "z"]


def test_window_by_label() -> None:
    assert label_window("lung_nodule").name == "lung"
    assert label_window("lung_pleural_effusion").name == "mediastinum"
    assert label_window("heart_cardiomegaly").name == "mediastinum"
    assert label_window("something of my own").name == "mediastinum"


def test_evidence_in_allowed_cells_is_counted_on_the_cells(reported_run: Run) -> None:
    run = reported_run
    with np.load(run.root / "attention" / "masked" / "s3.npz") as archive:
        cells = archive["hirescam"][0]
        labels = tuple(archive["labels"].tolist())
    view = _view_of(cells, labels)
    allowed = view.models["m"].allowed
    assert allowed is not None
    want = np.clip(cells, 0, None)[allowed[0]].sum() / np.clip(cells, 0, None).sum()
    (section,) = scan_context(view, [labels[0]])["labels"]
    assert f"{want:.0%} of positive evidence" in section["pictures"][1]["lines"][1]


def test_the_page_shows_hirescam_of_its_own_scan_and_model(reported_run: Run) -> None:
    """Shares of positive evidence in the right lung, from the files; those of Grad-CAM and of other scans differ."""
    text, found = pages_of(reported_run)["s3.html"].text, {}
    allowed = read_regions(reported_run.root / "regions" / "s3.npz", grid_key(GRID))[0]
    for model in ("baseline", "masked"):
        with np.load(reported_run.root / "attention" / model / "s3.npz") as archive:
            for method in ("hirescam", "gradcam"):
                cells = np.clip(archive[method][archive["labels"].tolist().index("lung_nodule")], 0, None)
                found[model, method] = f"{cells[allowed].sum() / cells.sum():.0%} of positive evidence"
    assert len({found["baseline", "hirescam"], found["masked", "hirescam"], found["masked", "gradcam"]}) == 3
    assert 0 < text.find(found["baseline", "hirescam"]) < text.find(found["masked", "hirescam"])


def _view_of(cells: np.ndarray, labels: tuple[str, ...]) -> ScanView:
    maps = np.stack([cells] * len(labels))
    allowed = np.zeros(maps.shape, dtype=bool)
    allowed[:, 4:, 2:6, :4] = True
    model = ModelMaps(labels, maps, np.zeros(len(labels), np.float32), GRID, allowed)
    volume = Volume(np.zeros((30, 64, 64), np.int16), np.diag([-1.0, -1.0, -1.0, 1.0])[[2, 1, 0, 3]])
    return ScanView("s", volume, {"m": model}, present=dict.fromkeys(labels, True))


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_browser_shows_the_pages_without_errors(reported_run: Run, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs a Chromium on PATH")
    for name in ("index.html", "s3.html"):
        picture = tmp_path / f"{name}.png"
        flags = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600"),
        ]
        done = subprocess.run(
            [browser, *flags, f"--screenshot={picture}", (reported_run.root / "report" / name).as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=True,
        )
        assert picture.stat().st_size > 20_000
        assert "CONSOLE" not in done.stderr  # blocked by the content policy, or broken
