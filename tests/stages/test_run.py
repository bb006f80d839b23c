"""What a stage is given of the scans: those that got as far, each in the shard that it belongs to."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from organcam.errors import OrganCamError
from organcam.runner import Failure, Shard, SilentProgress, make_executor, write_json_atomic
from organcam.stages.run import Run
from organcam.workflow_file import parse_workflow

IDS = [f"s{n}" for n in range(8)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    table = {"scan_id": IDS, "image": "x.nii.gz", "patient_id": IDS, "split": "train", "report_id": IDS}
    pd.DataFrame(table).to_csv(tmp_path / "manifest.csv", index=False)
    return Run(parse_workflow({"data": {"images": "x"}}), tmp_path, make_executor("serial"), SilentProgress())


def read(run: Run, ids: list[str]) -> None:
    """What the ingest stage leaves of some scans."""
    (run.root / "scans").mkdir(exist_ok=True)
    for name in ids:
        sidecar = {"id": name, "stage": "ingest", "outputs": {}, "details": {"content": f"sha256:{name}"}}
        write_json_atomic(run.root / "scans" / f"{name}.json", sidecar)


def test_scans_that_were_never_read_are_asked_for(run: Run) -> None:
    read(run, IDS[1:])
    with pytest.raises(OrganCamError, match=r"1 scan \(s0\) of manifest\.csv was never read: run the ingest stage"):
        run.scan_units("segment")
    read(run, IDS)
    assert [unit.id for unit in run.scan_units("segment")] == IDS


def test_a_shard_asks_for_its_own_scans_only(run: Run) -> None:
    run.shard = Shard(1, 2)
    own = [name for name in IDS if run.shard.takes(name)]
    assert 0 < len(own) < len(IDS)
    read(run, own)
    assert [unit.id for unit in run.scan_units("segment")] == own
    assert [unit.id for unit in run.scan_units("segment", IDS)] == own  # the others' may come later
    (run.root / "scans" / f"{own[0]}.json").unlink()
    with pytest.raises(OrganCamError, match=f"{own[0]}.*run the ingest stage"):
        run.scan_units("segment")


def test_a_failure_counts_from_the_next_stage_on(run: Run) -> None:
    run.begin(
        [
            Failure("segment", "s1", "no chest", "data"),
            Failure("explain", "s2", "no memory", "crash"),
            Failure("ingest", "s3", "without a report", "unpaired"),
        ]
    )
    assert "s1" in {record.scan_id for record in run.records("segment")}
    assert {record.scan_id for record in run.records("store")} == {*IDS} - {"s1"}
    assert {record.scan_id for record in run.records("evaluate")} == {*IDS} - {"s1", "s2"}
    run.lost["s4"] = "its file is damaged"
    assert {record.scan_id for record in run.records("store")} == {*IDS} - {"s1", "s4"}
    run.begin([])
    assert [record.scan_id for record in run.records("store")] == IDS
