"""Files of earlier stages that are no longer what was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runner_work import number_units, square, square_stage

from organcam.runner import (
    DamagedFilesError,
    StageSpec,
    Unit,
    fingerprint_file,
    make_executor,
    output_hash,
    read_sidecar,
    retire_others,
    run_stage,
    unit_state,
)


def needing(root: Path, count: int) -> tuple[StageSpec, list[Unit]]:
    """Units that read the outputs of a stage before them."""
    before = square_stage(root)
    made = run_stage(before, number_units(root, count), make_executor("serial")).done
    units = []
    for name, sidecar in made.items():
        path = before.folder / f"{name}.txt"
        content = output_hash(sidecar, path.name)
        assert content == fingerprint_file(path)
        units.append(Unit(name, {"square": content}, {"path": str(path)}, {str(path): content}))
    return StageSpec("fourth", 1, root / "out" / "fourth", square), units


def test_a_unit_whose_input_changed_fails_by_name_and_the_rest_goes_on(tmp_path, executor):
    spec, units = needing(tmp_path, 3)
    damaged = tmp_path / "out" / "squares" / "001.txt"
    damaged.write_text("8\n")
    result = run_stage(spec, units, executor)
    assert list(result.done) == ["000", "002"]
    (failure,) = result.failed
    assert (failure.id, failure.kind, failure.files) == ("001", "damaged", (str(damaged),))
    assert str(damaged) in failure.reason


def test_outputs_of_before_stay_when_the_input_is_damaged(tmp_path):
    spec, units = needing(tmp_path, 1)
    run_stage(spec, units, make_executor("serial"))
    Path(units[0].payload["path"]).write_text("8\n")
    newer = StageSpec(spec.name, 2, spec.folder, spec.work)
    assert run_stage(newer, units, make_executor("serial")).failed
    assert (spec.folder / "000.txt").read_text() == "0\n"


def test_shared_files_are_looked_at_before_anything_begins(tmp_path, executor):
    spec, units = needing(tmp_path, 3)
    shared = {path: content for unit in units for path, content in unit.needs.items()}
    names = [tmp_path / "out" / "squares" / name for name in ("000.txt", "002.txt")]
    names[0].unlink()
    names[1].write_text("5\n")
    with pytest.raises(DamagedFilesError) as caught:
        run_stage(spec, units, executor, shared=shared)
    assert caught.value.files == tuple(map(str, names))
    assert not list(spec.folder.glob("*"))


def test_shared_files_are_not_read_when_everything_is_done(tmp_path):
    spec, units = needing(tmp_path, 2)
    run_stage(spec, units, make_executor("serial"))
    done = run_stage(spec, units, make_executor("serial"), shared={str(tmp_path / "gone"): "sha256:0"})
    assert done.counts == {"done": 0, "skipped": 2, "failed": 0}


def test_states_of_a_unit(tmp_path):
    spec, (unit, *_) = square_stage(tmp_path), number_units(tmp_path, 1)
    assert unit_state(spec, unit) == ("missing", None)
    run_stage(spec, [unit], make_executor("serial"))
    sidecar = read_sidecar(spec.folder, "000")
    assert unit_state(spec, unit) == ("current", sidecar)
    assert unit_state(square_stage(tmp_path, scale=2), unit)[0] == "stale"
    assert unit_state(StageSpec("other", 1, spec.folder, square), unit)[0] == "missing"
    (spec.folder / "000.txt").write_text("cut")
    assert unit_state(spec, unit)[0] == "damaged"
    old = {**sidecar, "outputs": {"000.txt": 3}}  # as earlier versions wrote it
    del old["seal"]
    (spec.folder / "000.json").write_text(json.dumps(old))
    assert unit_state(spec, unit)[0] == "stale"
    assert run_stage(spec, [unit], make_executor("serial")).counts["done"] == 1


def test_what_nobody_asks_for_is_removed_and_nothing_else(tmp_path):
    spec = square_stage(tmp_path)
    run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    (spec.folder / "notes.json").write_text("{}")
    (spec.folder / "other.json").write_text(json.dumps({"id": "other", "stage": "cube", "outputs": {"001.txt": {}}}))
    assert retire_others(spec.folder, spec.name, {"001"}) == ["000", "002"]
    assert sorted(path.name for path in spec.folder.iterdir()) == ["001.json", "001.txt", "notes.json", "other.json"]
    assert retire_others(tmp_path / "nowhere", spec.name, ()) == []
