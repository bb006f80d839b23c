"""The audits of a run on its page: worst first, pictures inside, and none of a model that has changed since."""

from __future__ import annotations

import base64
import json

import pytest

from organcam.report.audits import read_audits
from organcam.runner import fingerprint_file
from organcam.stages.report import run_report

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def row(label, verdict):
    areas = {"auroc_full": 0.9, "auroc_only": 0.8, "auroc_without": None, "evidence_in_organs": 0.5}
    return {"label": label, "verdict": verdict, **areas, "correlates_with": "", "words": f"{label}: <said>."}


def write_audit(root, model, content=""):
    folder = root / "audit" / model
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "one.png").write_bytes(PIXEL)
    picture = {"scan_id": "s3", "inserted": "token:22mm", "place": "skin", "label": "lung_nodule", "change": 1.25}
    document = {
        "model": model,
        "content": content,
        "scans": 12,
        "inserted": ["token:22mm"],
        "labels": [row("lung_nodule", "uses the organ"), row("heart_cardiomegaly", "shortcut: token")],
        "pictures": [{**picture, "file": "pictures/one.png"}],
        "notes": [],
    }
    (folder / "audit.json").write_text(json.dumps(document), encoding="utf-8")


def test_worst_first_with_pictures_inside(tmp_path):
    write_audit(tmp_path, "masked")
    (found,) = read_audits(tmp_path, ["baseline", "masked"])
    assert [label["verdict"] for label in found["labels"]] == ["shortcut: token", "uses the organ"]
    assert base64.b64decode(found["pictures"][0]["data"]) == PIXEL


@pytest.mark.parametrize("same", [True, False])
def test_an_audit_of_other_weights_is_left_out_and_said(tmp_path, same):
    weights = tmp_path / "models" / "masked" / "model.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    write_audit(tmp_path, "masked", fingerprint_file(weights) if same else "sha256:other")
    (found,) = read_audits(tmp_path, ["masked"])
    assert ("labels" in found) is same
    assert ("trained again since" in found.get("missing", "")) is not same


def test_a_damaged_audit_is_said(tmp_path):
    write_audit(tmp_path, "masked")
    (tmp_path / "audit" / "masked" / "audit.json").write_text("{", encoding="utf-8")
    assert read_audits(tmp_path, ["masked"]) == (
        {"model": "masked", "missing": "audit.json cannot be read (JSONDecodeError)"},
    )


def test_the_page_has_its_section(make_run):
    run = make_run()
    write_audit(run.root, "masked")
    run_report(run)
    text = (run.root / "report" / "index.html").read_text(encoding="utf-8")
    assert "Audit: organ or shortcut" in text
    assert text.index("shortcut: token") < text.index("uses the organ")
    assert "&lt;said&gt;" in text
    assert "lung_nodule +1.25" in text
    assert "0.90</td><td>0.80</td><td>" in text
