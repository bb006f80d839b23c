"""The whole command with the shipped bundle: phantoms in, verdicts, tables and pictures out; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from organcam.audit.traits import TRAITS
from organcam.cli import app
from organcam.data.phantom import PhantomSettings, plan_dataset
from organcam.data.phantom.render import render_scan
from organcam.data.writers import write_nifti
from organcam.errors import ConfigError, OrganCamError

BUNDLE = Path(__file__).resolve().parents[2] / "workflows" / "bundle"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Three phantoms of the size that the bundle was trained on, their organs beside them, and a broken file."""
    folder = tmp_path_factory.mktemp("scans")
    (folder / "organs").mkdir()
    (folder / "images").mkdir()
    settings = PhantomSettings(
        scans={"train": 3, "valid": 0, "test": 0, "shifted": 0}, prevalence={"pleural_effusion": 0}, interventions=0
    )
    rows = []
    for number, spec in enumerate(plan_dataset(settings)):
        made = render_scan(settings, spec)
        write_nifti(folder / "images" / f"s{number}.nii.gz", made.hu, made.affine)
        write_nifti(folder / "organs" / f"s{number}_organs.nii.gz", made.organs, made.affine)
        rows.append((f"s{number}", int("pleural_effusion" in spec.findings)))
    (folder / "images" / "s9.nii.gz").write_bytes(b"no volume")
    pd.DataFrame(rows, columns=["scan_id", "lung_pleural_effusion"]).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def audited(scans):
    arguments = ["audit", BUNDLE, "--scans", scans / "images", "--organs", scans / "organs", "--out", scans / "out"]
    wishes = ["--labels", scans / "labels.csv", "--insert", "effusion:30mm", "--insert", "token", "--insert", "noise"]
    return CliRunner().invoke(app, [*map(str, [*arguments, *wishes])]), scans / "out"


def test_it_ends_with_a_verdict_on_each_label_and_the_broken_scan_told(audited):
    done, out = audited
    assert done.exit_code == 3, done.output
    assert "s9" in (out / "failures.csv").read_text(encoding="utf-8")
    table = pd.read_csv(out / "audit.csv")
    assert len(table) == 19
    assert table["scans"].unique().tolist() == [3]
    assert set(table["verdict"].str.partition(":")[0]) <= {
        *("uses the organ", "mixed", "shortcut", "no shortcut found", "not learned", "cannot be told")
    }
    assert table["words"].str.startswith(table["label"].iloc[0]).iloc[0]
    shares = table[["evidence_in_organs", "evidence_elsewhere_in_body", "evidence_outside"]].sum(axis=1)
    known = table["evidence_in_organs"].notna()
    assert known.sum() > 10
    np.testing.assert_allclose(shares[known], 1, atol=1e-5)


def test_fluid_that_is_put_in_raises_effusion_where_it_was_put(audited):
    """The bundle's own network, trained on other phantoms: the one test here of a network that learned."""
    table = pd.read_csv(audited[1] / "insertions.csv")
    fluid = table.query("inserted == 'effusion' and label == 'lung_pleural_effusion'")
    assert len(fluid) == 3
    assert (fluid["change"] > 2).all()
    assert fluid["peak_hits"].mean() >= 2 / 3
    token = table.query("inserted == 'token' and label == 'lung_pleural_effusion'")
    assert token["change"].abs().max() < fluid["change"].min()


def test_pictures_and_traits_are_written(audited):
    _, out = audited
    document = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert document["inserted"] == ["effusion:30mm", "token:22mm", "noise"]
    assert len(document["pictures"]) == 9
    with Image.open(out / document["pictures"][0]["file"]) as picture:
        assert picture.width > 2 * picture.height  # before, after, and what lit up
    traits = pd.read_csv(out / "traits.csv").set_index("scan_id")
    assert set(traits.columns) == set(TRAITS)
    assert traits.notna().all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no run directory: give --scans"),
        (["--scans", "{scans}/images", "--insert", "nodul"], "unknown kind 'nodul'"),
        (["--scans", "{scans}/nowhere"], "no such file or folder"),
    ],
)
def test_what_cannot_be_is_refused(scans, arguments, words):
    done = CliRunner().invoke(app, ["audit", str(BUNDLE), *(text.format(scans=scans) for text in arguments)])
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)


def test_without_any_scan_that_can_be_used_it_says_why(scans, tmp_path):
    arguments = ["--scans", str(scans / "images" / "s9.nii.gz"), "--out", str(tmp_path), "--insert", "token"]
    done = CliRunner().invoke(app, ["audit", str(BUNDLE), *arguments])
    assert isinstance(done.exception, OrganCamError)
    assert "no scan could be used; the first one, s9" in str(done.exception)
