from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from runner_work import ACTIONS, held_square, misbehave, number_units, square, square_stage

from organcam.errors import DataError, OrganCamError
from organcam.runner import Failure, StageSpec, Unit, make_executor, read_sidecar, run_stage, run_stages

REPORT = "The lungs are clear without focal consolidation. A 4 mm nodule is seen in the right upper lobe."


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".txt"}


def listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def misbehaving(root: Path, *actions: str) -> list[Unit]:
    payload = {"journal": str(root / "journal"), "report": REPORT}
    return [Unit(f"{n}-{action}", {}, {**payload, "do": action}) for n, action in enumerate(actions)]


def misbehaving_stage(root: Path) -> StageSpec:
    return StageSpec("misbehave", 1, root / "out" / "work", misbehave)


def attempts(root: Path) -> list[str]:
    return (root / "journal").read_text().split()


def test_every_unit_gets_its_output_and_its_sidecar(tmp_path, executor):
    result = run_stage(square_stage(tmp_path, scale=10), number_units(tmp_path, 4), executor)
    folder = tmp_path / "out" / "squares"
    assert outputs(folder) == {"000.txt": b"0\n", "001.txt": b"10\n", "002.txt": b"40\n", "003.txt": b"90\n"}
    assert list(result.done) == ["000", "001", "002", "003"]
    assert result.counts == {"done": 4, "skipped": 0, "failed": 0}
    assert listing(folder) == sorted([*outputs(folder), "000.json", "001.json", "002.json", "003.json"])


def test_sidecar_says_what_a_file_was_made_from(tmp_path):
    spec, units = square_stage(tmp_path, scale=2), number_units(tmp_path, 4)
    result = run_stage(spec, units, make_executor("serial"))
    sidecar = json.loads((spec.folder / "003.json").read_text())
    assert sidecar == read_sidecar(spec.folder, "003") == result.done["003"]
    assert sidecar["key"] == spec.key(units[3])
    assert sidecar["inputs"] == dict(units[3].inputs)
    content = hashlib.sha256(b"18\n").hexdigest()
    assert sidecar["outputs"] == {"003.txt": {"bytes": 3, "sha256": content}}
    assert sidecar["details"] == {"value": 18}
    assert {"stage", "version", "id", "parameters_hash", "seconds", "organcam"} <= sidecar.keys()


def held_stage(root: Path, name: str, **parameters: object) -> StageSpec:
    return StageSpec("square", 1, root / "out" / name, held_square, parameters)


def test_units_of_a_scan_run_together_and_share_what_one_of_them_read(tmp_path, executor):
    units = number_units(tmp_path, 6)
    plans = [(held_stage(tmp_path, "once", scale=1), units), (held_stage(tmp_path, "ten", scale=10), units)]
    once, ten = run_stages(plans, executor)
    assert [made["details"]["value"] for made in once.done.values()] == [0, 1, 4, 9, 16, 25]
    assert [made["details"]["value"] for made in ten.done.values()] == [0, 10, 40, 90, 160, 250]
    assert sorted((tmp_path / "in" / "journal").read_text().split()) == [unit.id for unit in units]
    pids = [[made["details"]["pid"] for made in result.done.values()] for result in (once, ten)]
    assert pids[0] == pids[1]


def test_what_was_shared_in_one_run_is_read_anew_in_the_next(tmp_path):
    stage = held_stage(tmp_path, "once", scale=1)
    run_stage(stage, number_units(tmp_path, 1), make_executor("serial"))
    (tmp_path / "in" / "000.txt").write_text("7")
    again = run_stage(stage, number_units(tmp_path, 1), make_executor("serial"))
    assert again.done["000"]["details"]["value"] == 49


def test_of_stages_together_each_keeps_its_own_count_and_failures(tmp_path, executor):
    units = number_units(tmp_path, 3)
    run_stage(held_stage(tmp_path, "ten", scale=10), units[:1], executor)
    plans = [
        (held_stage(tmp_path, "once", scale=1, fails_on="001"), units),
        (held_stage(tmp_path, "ten", scale=10), units),
    ]
    once, ten = run_stages(plans, executor)
    assert once.counts == {"done": 2, "skipped": 0, "failed": 1}
    assert ten.counts == {"done": 2, "skipped": 1, "failed": 0}
    assert [(failure.id, failure.reason) for failure in once.failed] == [("001", "a fault of this scan in this stage")]
    assert outputs(tmp_path / "out" / "ten") == {"000.txt": b"0\n", "001.txt": b"10\n", "002.txt": b"40\n"}


def test_a_crash_of_one_costs_the_others_of_its_scan_nothing(tmp_path, processes):
    (unit,) = misbehaving(tmp_path, "kill")
    number_units(tmp_path, 1)
    fine = Unit(unit.id, {}, {"path": str(tmp_path / "in" / "000.txt")})
    stage = StageSpec("misbehave", 1, tmp_path / "out" / "squares", held_square, {"scale": 1})
    first, second = run_stages([(stage, [fine]), (misbehaving_stage(tmp_path), [unit])], processes)
    assert first.counts == {"done": 1, "skipped": 0, "failed": 0}
    assert [failure.kind for failure in second.failed] == ["crash"]


def test_second_run_does_nothing(tmp_path):
    spec = square_stage(tmp_path)
    first = run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    second = run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    assert second.counts == {"done": 0, "skipped": 3, "failed": 0}
    assert second.done == first.done


def test_changed_parameter_or_version_redoes_everything(tmp_path):
    units = number_units(tmp_path, 3)
    run_stage(square_stage(tmp_path, scale=1), units, make_executor("serial"))
    spec = square_stage(tmp_path, scale=3)
    assert run_stage(spec, units, make_executor("serial")).counts["done"] == 3
    assert (spec.folder / "002.txt").read_text() == "12\n"
    newer = StageSpec(spec.name, 2, spec.folder, spec.work, spec.parameters)
    assert run_stage(newer, units, make_executor("serial")).counts["done"] == 3


def test_changed_input_redoes_one(tmp_path):
    spec = square_stage(tmp_path)
    run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    (tmp_path / "in" / "001.txt").write_text("7")
    result = run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    assert result.skipped == ("000", "002")
    assert (spec.folder / "001.txt").read_text() == "49\n"


@pytest.mark.parametrize("damage", ["missing", "truncated", "no sidecar", "damaged sidecar", "changed digit"])
def test_incomplete_unit_is_redone(tmp_path, damage):
    spec = square_stage(tmp_path)
    run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    before = outputs(spec.folder)
    match damage:
        case "missing":
            (spec.folder / "001.txt").unlink()
        case "truncated":
            (spec.folder / "001.txt").write_text("")
        case "no sidecar":
            (spec.folder / "001.json").unlink()
        case "damaged sidecar":
            (spec.folder / "001.json").write_text('{"id": "001", "outp')
        case "changed digit":  # of what later stages read there
            text = (spec.folder / "001.json").read_text()
            (spec.folder / "001.json").write_text(text.replace('"value": 1', '"value": 7'))
            assert read_sidecar(spec.folder, "001") is None
    result = run_stage(spec, number_units(tmp_path, 3), make_executor("serial"))
    assert result.skipped == ("000", "002")
    assert outputs(spec.folder) == before
    assert read_sidecar(spec.folder, "001")["details"] == {"value": 1}


def test_return_to_old_parameters_after_a_failure_in_between_redoes(tmp_path):
    """New files under an old sidecar would be taken for old ones: outdated files go before new ones come."""
    units = number_units(tmp_path, 1)
    run_stage(square_stage(tmp_path, scale=1), units, make_executor("serial"))
    failing = square_stage(tmp_path, scale=None)
    assert run_stage(failing, units, make_executor("serial")).counts["failed"] == 1
    assert listing(failing.folder) == []
    assert run_stage(square_stage(tmp_path, scale=1), units, make_executor("serial")).counts["done"] == 1


def test_outdated_sidecar_cannot_name_files_elsewhere(tmp_path):
    spec, precious = square_stage(tmp_path), tmp_path / "out" / "precious"
    run_stage(spec, number_units(tmp_path, 1), make_executor("serial"))
    precious.write_text("keep")
    sidecar = json.loads((spec.folder / "000.json").read_text())
    del sidecar["seal"]
    (spec.folder / "000.json").write_text(json.dumps({**sidecar, "key": "", "outputs": {"../precious": 4}}))
    run_stage(spec, number_units(tmp_path, 1), make_executor("serial"))
    assert precious.read_text() == "keep"


def test_failure_leaves_no_output_and_the_rest_goes_on(tmp_path, executor):
    units = misbehaving(tmp_path, "nothing", "data", "missing", "fault", "exit", "nothing")
    result = run_stage(misbehaving_stage(tmp_path), units, executor)
    assert list(result.done) == ["0-nothing", "5-nothing"]
    assert [(failure.id, failure.kind) for failure in result.failed] == [
        ("1-data", "data"),
        ("2-missing", "data"),
        ("3-fault", "internal"),
        ("4-exit", "internal"),
    ]
    assert result.failed[0].reason == "volume has 2 axes, expected 3"
    assert result.failed[1].reason == "No such file or directory: nowhere/scan.nii.gz"
    names = listing(tmp_path / "out" / "work")
    assert all(name.startswith(("0-nothing", "5-nothing")) for name in names)
    assert len(names) == 6  # two outputs and a sidecar each


def test_traceback_of_a_fault_goes_to_the_logs(tmp_path):
    result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "fault"), make_executor("serial"))
    log = (tmp_path / "out" / "logs" / "misbehave-0-fault.log").read_text()
    assert result.failed[0].reason == ("ZeroDivisionError: a fault of ours (traceback in logs/misbehave-0-fault.log)")
    assert "Traceback" in log
    assert "runner_work.py" in log


def test_report_text_is_kept_out_of_reason_and_log(tmp_path):
    result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "quote"), make_executor("serial"))
    everything = (tmp_path / "out" / "logs" / "misbehave-0-quote.log").read_text() + result.failed[0].reason
    assert "clear without focal" not in everything
    assert "withheld" in result.failed[0].reason
    assert "runner_work.py" in everything


def test_failed_unit_is_tried_again_next_time(tmp_path):
    run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "data", "nothing"), make_executor("serial"))
    run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "data", "nothing"), make_executor("serial"))
    assert attempts(tmp_path) == ["0-data", "1-nothing", "0-data"]


@pytest.mark.parametrize("action", ["full", "full_wrapped"])
def test_full_disk_stops_the_run_and_leaves_nothing_half_written(tmp_path, executor, action):
    spec = misbehaving_stage(tmp_path)
    with pytest.raises(OrganCamError, match=r"no space left on the disk of .*work.*stays done") as caught:
        run_stage(spec, misbehaving(tmp_path, "nothing", action, *["nothing"] * 20), executor)
    assert not isinstance(caught.value, DataError)
    # A neighbour that was stopped between its outputs and its sidecar leaves whole files, which do not count.
    assert not [name for name in listing(spec.folder) if name.startswith((".", "1-"))]
    assert set(outputs(spec.folder).values()) <= {b"first", b"fine"}
    again = run_stage(spec, misbehaving(tmp_path, *["nothing"] * 3), executor)
    assert (len(again.done), again.failed) == (3, ())


def test_failure_in_place_of_a_unit_is_noted_as_it_is(tmp_path):
    missing = Failure("square", "gone", "no such file: gone.nii.gz", "data")
    result = run_stage(square_stage(tmp_path), [missing, *number_units(tmp_path, 1)], make_executor("serial"))
    assert result.failed == (missing,)
    assert list(result.done) == ["000"]


@pytest.mark.parametrize("second", ["scan", "SCAN"])
def test_duplicate_ids_are_refused(tmp_path, second):
    with pytest.raises(DataError, match=f"{second}.*occurs"):
        run_stage(square_stage(tmp_path), [Unit("scan", {}, {}), Unit(second, {}, {})], make_executor("serial"))


def test_two_stages_in_one_folder_need_two_sidecar_names(tmp_path):
    spec, units = square_stage(tmp_path), number_units(tmp_path, 1)
    run_stage(spec, units, make_executor("serial"))
    with pytest.raises(OrganCamError, match=r"stage 'square'.*stage 'cube'.*different sidecar names"):
        run_stage(StageSpec("cube", 1, spec.folder, square), units, make_executor("serial"))
    beside = StageSpec("cube", 1, spec.folder, _other_output, sidecar="{id}.cube.json")
    run_stage(beside, units, make_executor("serial"))
    assert listing(spec.folder) == ["000.cube.json", "000.cube.txt", "000.json", "000.txt"]
    assert run_stage(spec, units, make_executor("serial")).skipped == ("000",)


def _other_output(context, payload, parameters):
    with context.output(f"{context.id}.cube.txt") as path:
        path.write_text("cube")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda context, *_: _write(context, "../escape.txt"), "output name '../escape.txt' cannot be a file name"),
        (lambda context, *_: (_write(context, "a.txt"), _write(context, "a.txt")), "written twice"),
        (lambda context, *_: _announce(context), "no file written"),
        (lambda context, *_: {"when": object()}, "only numbers, text, lists and mappings"),
    ],
)
def test_faulty_work_function_is_told_what_is_wrong(tmp_path, work, words):
    result = run_stage(StageSpec("faulty", 1, tmp_path / "f", work), [Unit("x", {}, {})], make_executor("serial"))
    assert words in result.failed[0].reason
    assert listing(tmp_path / "f") == []


def _write(context, name):
    with context.output(name) as path:
        path.write_text("text")


def _announce(context):
    with context.output("a.txt"):
        pass


def test_scratch_is_on_the_same_disk_and_goes(tmp_path):
    def work(context, payload, parameters):
        (context.scratch / "intermediate.nii").write_text("x")
        assert context.scratch.stat().st_dev == context.folder.stat().st_dev
        return {"made": (context.scratch / "intermediate.nii").exists()}

    result = run_stage(StageSpec("scratchy", 1, tmp_path / "s", work), [Unit("x", {}, {})], make_executor("serial"))
    assert result.done["x"]["details"] == {"made": True}
    assert listing(tmp_path / "s") == ["x.json"]


def test_output_path_keeps_the_ending_that_decides_the_format(tmp_path):
    names = []

    def work(context, payload, parameters):
        with context.output("x_organs.nii.gz") as path:
            names.append(path.name)
            path.write_text("x")

    run_stage(StageSpec("named", 1, tmp_path / "s", work), [Unit("x", {}, {})], make_executor("serial"))
    assert names == ["x_organs.nii.gz"]


def test_short_or_foreign_text_is_not_withheld(tmp_path):
    def work(context, payload, parameters):
        msg = f"{payload['path']}: header is shorter than its 348 bytes"
        raise DataError(msg)

    unit = Unit("x", {}, {"path": "/data/our second study/x.nii", "record": {"report": [REPORT]}})
    result = run_stage(StageSpec("s", 1, tmp_path / "s", work), [unit], make_executor("serial"))
    assert result.failed[0].reason == "/data/our second study/x.nii: header is shorter than its 348 bytes"


def test_serial_executor_says_that_it_keeps_no_timeout(tmp_path, caplog):
    run_stage(square_stage(tmp_path), number_units(tmp_path, 1), make_executor("serial"), timeout=5)
    assert "cannot keep a timeout (5 s asked for)" in caplog.text


def test_progress_hears_of_every_unit(tmp_path):
    heard = []

    class Ear:
        def advance(self, stage, done, total, failed):
            heard.append((stage, done, total, failed))

    units = misbehaving(tmp_path, "nothing", "data")
    run_stage(misbehaving_stage(tmp_path), units, make_executor("serial"), progress=Ear())
    assert heard == [("misbehave", 0, 2, 0), ("misbehave", 1, 2, 0), ("misbehave", 2, 2, 1)]


def test_actions_of_the_tests_are_all_used():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [action for action in ACTIONS if f'"{action}"' not in source] == []
