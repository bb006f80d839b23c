from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.errors import DataError
from organcam.runner import FingerprintCache, fingerprint_file, fingerprint_files, fingerprint_value, unit_key

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.text(), PLAIN, max_size=4)
YEAR_2020 = 1_577_836_800


@pytest.fixture
def scan(tmp_path):
    """A file that was left alone for years."""
    return write(tmp_path / "scan.nii.gz", b"content")


def write(path, content, seconds=YEAR_2020):
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))
    return path


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_hash_is_the_content_s_sha256(tmp_path, size):
    content = os.urandom(size)
    assert fingerprint_file(write(tmp_path / "a", content)) == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_file_is_read_once_while_size_and_time_stay(tmp_path, scan):
    with FingerprintCache(tmp_path / "cache.json") as cache:
        first = fingerprint_file(scan, cache)
    write(scan, b"CONTENT")  # same size, same time: only a second reading could tell
    with FingerprintCache(tmp_path / "cache.json") as cache:
        assert fingerprint_file(scan, cache) == first
    write(scan, b"CONTENT", YEAR_2020 + 1)
    with FingerprintCache(tmp_path / "cache.json") as cache:
        assert fingerprint_file(scan, cache) == fingerprint_file(scan) != first


def test_file_changed_a_moment_ago_is_not_remembered(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"one")
    state = path.stat()
    cache = FingerprintCache(tmp_path / "cache.json")
    first = fingerprint_file(path, cache)
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # within the time stamp's granularity
    assert fingerprint_file(path, cache) != first


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"x": 3}'])
def test_damaged_cache_counts_as_empty(tmp_path, scan, damage):
    path = tmp_path / "cache.json"
    path.write_text(damage)
    with FingerprintCache(path) as cache:
        assert fingerprint_file(scan, cache) == fingerprint_file(scan)
    assert str(scan) in path.read_text()


def test_missing_file_and_folder_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.nii"):
        fingerprint_file(tmp_path / "gone.nii")
    with pytest.raises(DataError, match="is a folder"):
        fingerprint_file(tmp_path)


def test_series_counts_names_and_contents_but_not_order_or_place(tmp_path):
    (tmp_path / "moved").mkdir()
    a, b = write(tmp_path / "1.dcm", b"a"), write(tmp_path / "2.dcm", b"b")
    moved = [write(tmp_path / "moved" / path.name, path.read_bytes()) for path in (a, b)]
    assert fingerprint_files([a, b]) == fingerprint_files([b, a]) == fingerprint_files(moved)
    assert fingerprint_files([a, b]) != fingerprint_files([a])
    write(b, b"B")
    assert fingerprint_files([a, b]) != fingerprint_files(moved)


@given(MAPPINGS)
def test_order_of_parameters_does_not_matter(parameters):
    backwards = dict(reversed(parameters.items()))
    assert unit_key("s", 1, parameters, {}) == unit_key("s", 1, backwards, {})
    assert len(unit_key("s", 1, parameters, {})) == 64


@given(MAPPINGS, MAPPINGS)
def test_different_parameters_have_different_keys(one, other):
    same = fingerprint_value(one) == fingerprint_value(other)
    assert (unit_key("s", 1, one, {}) == unit_key("s", 1, other, {})) == same
    assert same or repr(one) != repr(other)


def test_everything_counts():
    base = unit_key("segment", 1, {"spacing": 0.8}, {"image": "sha256:00"})
    others = [
        unit_key("store", 1, {"spacing": 0.8}, {"image": "sha256:00"}),
        unit_key("segment", 2, {"spacing": 0.8}, {"image": "sha256:00"}),
        unit_key("segment", 1, {"spacing": 0.9}, {"image": "sha256:00"}),
        unit_key("segment", 1, {"spacing": 0.8}, {"image": "sha256:01"}),
        unit_key("segment", 1, {"spacing": 0.8}, {"report": "sha256:00"}),
        unit_key("segment", 1, {}, {"spacing": "0.8", "image": "sha256:00"}),
    ]
    assert len({base, *others}) == 7


def test_key_is_the_same_on_every_machine():
    """Written down once, so that an upgrade that would redo everything is noticed."""
    assert unit_key("segment", 1, {"spacing": [0.8, 0.8], "method": "é"}, {"image": "sha256:00"}) == KEY


KEY = "24ea79a5df09325a6312c357167aba260f5f0006fd60f1a1b2719aefa796c237"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_equal_nothing_are_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        unit_key("s", 1, {"x": value}, {})


def test_what_is_not_plain_data_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"plain data.*Path"):
        unit_key("s", 1, {"x": tmp_path}, {})
