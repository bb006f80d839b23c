"""The rim of the command line: whatever the system refuses becomes one sentence and an exit code."""

import errno
import os
import subprocess
import sys

import pytest

from organcam.console import end_of
from organcam.errors import ConfigError, OrganCamError


def ending(error: BaseException | None, capsys) -> tuple[int, str]:
    def command() -> None:
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as stopped:
        end_of(command)
    return stopped.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, 0, ""),
        (SystemExit(3), 3, ""),
        (SystemExit(None), 0, ""),
        (ConfigError("train.epoch: no such key"), 2, "error: train.epoch: no such key\n"),
        (OrganCamError("no manifest"), 1, "error: no manifest\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b.csv"), 1, "error: /a/b.csv: permission denied\n"),
        (OSError(errno.EROFS, "Read-only file system", "/a"), 1, "error: /a: read-only file system\n"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "w.yaml"), 1, "error: w.yaml: is a directory\n"),
        (OSError("cannot identify image file"), 1, "error: cannot identify image file\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
    ],
)
def test_every_foreseen_ending_is_one_message_and_a_code(error, code, words, capsys):
    assert ending(error, capsys) == (code, words)


def test_mistakes_of_ours_keep_their_traceback():
    with pytest.raises(KeyError):
        end_of(lambda: {}["x"])


def organcam(*arguments, **options):
    command = [sys.executable, "-m", "organcam", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", check=False, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_output_that_cannot_be_printed_is_told():
    with open("/dev/full", "w") as full:
        done = organcam("describe", "stages", stdout=full)
    assert done.returncode == 1
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = organcam("describe", "stages", stdout=writing)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in {0, 1}  # 1 by rich, where it meets the closed pipe first


@pytest.mark.skipif(os.name != "posix", reason="closes a standard stream the POSIX way")
def test_a_closed_standard_output_is_no_traceback():
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m organcam describe stages >&-'],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["phantom", "--out", "{file}/data", "--quiet"],
        ["run", "phantom", "--out", "{file}/run", "--quiet"],
        ["check", "{folder}"],
        ["compare", "{file}"],
        ["parse", "--text", "Nodule.", "--html", "{folder}"],
        ["train", "--out", "{file}"],
    ],
)
def test_files_and_folders_in_each_others_place_are_told(tmp_path, arguments):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_text("")
    given = [word.format(file=tmp_path / "file", folder=tmp_path / "folder") for word in arguments]
    done = organcam(*given, stdout=subprocess.DEVNULL)
    assert done.returncode in {1, 2}
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
