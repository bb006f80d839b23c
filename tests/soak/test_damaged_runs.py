"""Files of a run that are damaged or gone between its stages and between runs: never a wrong file nor a traceback.

After a run of all its stages, whatever was damaged is as it was, byte for byte, unless it kept its size and no stage
had to read it (it is noticed when one has to). A stage that runs alone on damaged files makes the same files or says
in words what is wrong. The short form is part of the suite; ``make soak`` damages some hundred runs. Both print their
counts.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from runpy import run_path

import pandas as pd
import pytest

from organcam.errors import OrganCamError
from organcam.stages.workflow import Outcome, run_workflow
from organcam.workflow_file import load_workflow

damaged = run_path(str(Path(__file__).with_name("test_damaged_files.py")))["damaged"]
SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 2, valid: 1, test: 1, shifted: 1}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=1",
)
STAGES = ("phantom", "ingest", "parse", "segment", "store", "regions")
KEPT = (".csv", ".npz", ".b2nd", ".gz")
"""Endings of what a run makes; JSON beside it and ``quality.csv`` also say how long it took."""


def run(out: Path, stages: tuple[str, ...]) -> Outcome:
    return run_workflow(load_workflow("phantom", list(SETTINGS)), out, executor="serial", stages=stages)


UNREAD = (".npz", ".b2nd", "organs.nii.gz")
"""Endings of what a later stage reads only where it has something to do."""


def sized(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def contents(out: Path) -> dict[str, bytes]:
    files = (
        path
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name.endswith(KEPT) and path.name != "quality.csv"
    )
    return {path.relative_to(out).as_posix(): _anywhere(path, out) for path in files if "logs" not in path.parts}


def _anywhere(path: Path, out: Path) -> bytes:
    """The content of a file; of a table that names files of the run, whatever folder that is in."""
    content = path.read_bytes()
    return content.replace(str(out).encode(), b"RUN") if path.suffix == ".csv" else content


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert not any(summary.failures for summary in run(out, STAGES).summaries)
    return out


def strike(out: Path, files: list[Path], chance: random.Random) -> str:
    """One accident: a file changed, cut or gone, alone or with its folder; returns which file."""
    name = chance.choice(files)
    path = out / name
    accident = chance.choice(("changed", "changed", "changed", "gone", "folder gone"))
    if accident == "changed":
        path.write_bytes(damaged(path.read_bytes(), chance))
    elif accident == "folder gone" and path.parent != out:
        shutil.rmtree(path.parent)
    else:
        path.unlink()
    return name.as_posix()


MADE_BY = {"segment": "organs", "store": "volumes", "regions": "regions"}


def same_scans(out: Path, expected: dict[str, bytes], folders: Collection[str], failed: Collection[str]) -> bool:
    """Whether some folders hold what they held, but for scans that failed."""
    found = contents(out)
    names = [Path(name) for name in expected if Path(name).parts[0] in folders]
    scans = {name: name.name.split(".")[0].removesuffix("_organs") for name in names}
    return all(found.get(str(name)) == expected[str(name)] for name in names if scans[name] not in failed)


def told(error: OrganCamError | OSError) -> None:
    """A message for people; of the system's own errors the command line makes one."""
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 2_000


@pytest.mark.parametrize("times", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_run_over_damaged_files_ends_with_the_same_files(tmp_path, whole, times, capsys):
    chance, counts, expected = random.Random(20261121), Counter(), contents(whole)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    for number in range(times):
        out = Path(shutil.copytree(whole, tmp_path / str(number)))
        hit = []
        for _ in range(chance.randint(1, 3)):
            hit.append(strike(out, [path for path in files if (out / path).is_file()], chance))
        unread = {name for name in hit if name.endswith(UNREAD) and sized(out / name) == sized(whole / name)}
        try:
            outcome = run(out, STAGES)
        except (OrganCamError, OSError) as error:
            told(error)
            counts["told"] += 1
        else:
            assert [row for summary in outcome.summaries for row in summary.failures] == [], hit
            found = contents(out)
            assert {name for name in expected.keys() | found.keys() if found.get(name) != expected.get(name)} <= unread
            counts["the same files"] += 1
        shutil.rmtree(out)
    with capsys.disabled():
        print(f"\n{times} runs over damaged files: {dict(counts)}")
    assert counts.total() == times
    assert counts["the same files"] > 0.8 * times


@pytest.mark.parametrize("times", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_a_stage_on_damaged_files_makes_the_same_files_or_says_what_is_wrong(tmp_path, whole, times, capsys):
    chance, counts, expected = random.Random(7), Counter(), contents(whole)
    for number in range(times):
        out = Path(shutil.copytree(whole, tmp_path / str(number)))
        first = chance.randint(2, len(STAGES) - 1)
        later = chance.choice([STAGES[first : first + 1], STAGES[first:]])
        tables = [out / "manifest.csv", out / "labels" / "labels_by_location.csv", out / "labels" / "findings.csv"]
        made = [path for path in sorted(out.rglob("*")) if path.is_file() and "phantom" not in path.parts]
        path = chance.choice(chance.choice([tables, made]))
        strike(out, [path.relative_to(out)], chance)
        try:
            outcome = run(out, later)
        except (OrganCamError, OSError) as error:
            told(error)
            counts["told"] += 1
        else:
            failed = {row.id: row.reason for summary in outcome.summaries for row in summary.failures}
            assert not any("\n" in reason for reason in failed.values())
            places = [MADE_BY[stage] for stage in later if stage in MADE_BY]
            assert same_scans(out, expected, places, failed), (path, later)
            counts["failures" if failed else "the same files"] += 1
        shutil.rmtree(out)
    with capsys.disabled():
        print(f"\n{times} stages on damaged files: {dict(counts)}")
    assert counts.total() == times


@pytest.mark.parametrize("times", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_where_half_of_the_scans_vanish_nothing_is_trained(tmp_path, whole, times, capsys):
    chance, counts, expected = random.Random(3), Counter(), contents(whole)
    scans = sorted((whole / "phantom" / "images").iterdir())
    for number in range(times):
        out = Path(shutil.copytree(whole, tmp_path / str(number)))
        gone = {path.name for path in chance.sample(scans, chance.randint(1, len(scans)))}
        for name in gone:
            (out / "phantom" / "images" / name).unlink()
        stages = (*STAGES[1:], "train") if len(gone) > len(scans) / 2 else STAGES[1:]
        try:
            outcome = run(out, stages)
        except (OrganCamError, OSError) as error:
            told(error)
            assert len(gone) > len(scans) / 2
            assert not (out / "models").exists()
            counts["stopped"] += 1
        else:
            assert len(gone) <= len(scans) / 2
            failed = {row.id for summary in outcome.summaries for row in summary.failures}
            assert {f"{name}.nii.gz" for name in failed} == gone
            assert same_scans(out, expected, list(MADE_BY.values()), failed)
            counts["went on without them"] += 1
        rows = pd.read_csv(out / "failures.csv")
        assert {f"{name}.nii.gz" for name in rows["scan_id"]} == gone
        shutil.rmtree(out)
    with capsys.disabled():
        print(f"\n{times} times some scans gone: {dict(counts)}")
    assert counts.total() == times
