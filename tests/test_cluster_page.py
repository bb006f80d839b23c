"""What the cluster page tells to type is run here, with two shards and as far as the ingest stage."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "cluster.md").read_text(encoding="utf-8")


def block(language: str, word: str) -> str:
    """The code block of a language that holds a word."""
    found = [
        text for text in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if word in text
    ]
    return found[0]


@pytest.fixture
def project(tmp_path):
    """Scans, one of them rotten, reports, and an ``organcam`` on the path."""
    (tmp_path / "images").mkdir()
    for number in range(4):
        array = np.full((6, 6, 6), -800, np.int16)
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "images" / f"s{number}.nii.gz")
    (tmp_path / "images" / "rotten.nii.gz").write_bytes(b"no scan")
    rows = "".join(f"s{number},Nodule in the right lung.\n" for number in range(4))
    (tmp_path / "reports.csv").write_text(f"scan_id,report_text\n{rows}rotten,Normal.\n")
    command = tmp_path / "bin" / "organcam"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m organcam "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(project: Path, *words: str, **variables: str) -> str:
    place = {**os.environ, **variables, "PATH": f"{project / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=project, env=place, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def require_all_done(out: Path) -> None:
    assert len(pd.read_csv(out / "manifest.csv")) == 5
    assert len(list((out / "scans").glob("*.json"))) == 4


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_an_array_of_jobs_shares_the_scans_and_a_rotten_one_fails_no_job(project):
    script = block("bash", "--array=1-16").replace("=...", "=images", 1).replace("=...", "=reports.csv", 1)
    script = script.replace("--until regions", "--until ingest").replace('/16"', '/2"').replace("--workers 4", "-q")
    for number in ("1", "2"):
        run(project, "bash", "-c", script, SLURM_ARRAY_TASK_ID=number)
    require_all_done(project / "runs" / "mine")


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs snakemake on the path")
def test_the_snakefile_runs_each_shard_once_and_then_the_rest(project):
    text = block("snakemake", "rule shard").replace("SHARDS = 16", "SHARDS = 2")
    text = text.replace("--until regions", "--until ingest").replace('RUN + " || ', 'RUN + " --until parse || ')
    (project / "Snakefile").write_text(text.replace("run/report/index.html", "run/labels/labels.csv"))
    run(project, "snakemake", "--cores", "2")
    require_all_done(project / "run")
    assert len(pd.read_csv(project / "run" / "labels" / "labels.csv")) == 5
