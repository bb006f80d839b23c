from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organcam.runner import (
    atomic_path,
    clean_temporary,
    write_csv_atomic,
    write_json_atomic,
    write_text_atomic,
)
from organcam.runner.atomic import FOREIGN_AGE
from organcam.runner.liveness import host_tag


def test_file_is_there_only_when_the_block_is_over(tmp_path):
    final = tmp_path / "deep" / "er" / "a.nii.gz"
    with atomic_path(final) as path:
        path.write_text("content")
        assert path.name == "a.nii.gz"
        assert not final.exists()
    assert final.read_text() == "content"
    assert os.listdir(final.parent) == ["a.nii.gz"]


def test_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "a.txt"
    final.write_text("old")

    def interrupted_write():
        with atomic_path(final) as path:
            path.write_text("half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_write()
    assert final.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_writers_that_choose_the_format_by_the_ending_work(tmp_path):
    with atomic_path(tmp_path / "a.npz") as path:
        np.savez(path, values=np.arange(3))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["values"].tolist() == [0, 1, 2]


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match=r"nothing was written for a\.txt"), atomic_path(tmp_path / "a.txt"):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="permissions of unix")
def test_file_has_the_permissions_that_the_user_asked_for(tmp_path):
    before = os.umask(0o027)
    try:
        write_text_atomic(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_text_has_unix_line_ends(tmp_path):
    write_text_atomic(tmp_path / "a.txt", "Übersicht\n2\n")
    assert (tmp_path / "a.txt").read_bytes() == "Übersicht\n2\n".encode()


def test_json_takes_numpy_and_paths_and_has_no_nan(tmp_path):
    value = {
        "mean": np.float32(0.5),
        "count": np.int64(3),
        "flag": np.bool_(True),
        "nan": float("nan"),
        "row": np.array([1.0, np.inf]),
        "path": Path("a") / "b",
        "pair": (1, None),
    }
    write_json_atomic(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "mean": 0.5,
        "count": 3,
        "flag": True,
        "nan": None,
        "row": [1.0, None],
        "path": "a/b",
        "pair": [1, None],
    }


def test_json_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(TypeError, match="got set"):
        write_json_atomic(tmp_path / "a.json", {"labels": {1, 2}})
    assert os.listdir(tmp_path) == []


def test_csv_comes_back_as_it_was(tmp_path):
    table = pd.DataFrame({"scan_id": ["a", "b"], "score": [0.25, np.nan], "note": ['say "x", y', ""]})
    write_csv_atomic(tmp_path / "a.csv", table)
    back = pd.read_csv(tmp_path / "a.csv", keep_default_na=False, na_values={"score": [""]})
    pd.testing.assert_frame_equal(back, table)


def temporary(folder, host, pid, age=0.0):
    path = folder / f".scan.{host}-{pid}-0123abcd.tmp"
    path.mkdir()
    (path / "scan.nii.gz").write_text("half")
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    return path


def test_leftovers_of_dead_processes_go_and_those_of_live_ones_stay(tmp_path, dead_process):
    dead = temporary(tmp_path, host_tag(), dead_process)
    live = temporary(tmp_path, host_tag(), os.getppid())
    young = temporary(tmp_path, "00000000", 1)
    (tmp_path / ".hidden.tmp").write_text("not ours")
    (tmp_path / "scan.nii.gz").write_text("whole")
    assert clean_temporary(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == sorted([live.name, young.name, ".hidden.tmp", "scan.nii.gz"])
    assert not dead.exists()


def test_leftovers_of_other_hosts_go_when_they_are_old(tmp_path):
    temporary(tmp_path, "00000000", 1, age=FOREIGN_AGE + 60)
    assert clean_temporary(tmp_path) == 1
    assert os.listdir(tmp_path) == []


def test_folder_that_is_not_there_is_clean(tmp_path):
    assert clean_temporary(tmp_path / "none") == 0
