from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.errors import ConfigError
from organcam.runner import Shard, parse_shard


@given(st.sets(st.text(min_size=1)), st.integers(1, 40))
def test_every_scan_is_in_exactly_one_part(ids, count):
    parts = [{scan for scan in ids if Shard(index, count).takes(scan)} for index in range(1, count + 1)]
    assert sum(map(len, parts)) == len(ids)
    assert set().union(*parts) == ids


def test_parts_are_about_equal():
    ids = [f"trn{number:05d}" for number in range(36_000)]
    sizes = [sum(Shard(index, 100).takes(scan) for scan in ids) for index in (1, 50, 100)]
    assert all(300 < size < 420 for size in sizes)


def test_part_of_a_scan_is_the_same_on_every_machine():
    assert [Shard(index, 4).takes("trn00001") for index in range(1, 5)].index(True) == PART


PART = 0


@given(st.integers(1, 999), st.integers(0, 999))
def test_text_and_back(index, more):
    shard = Shard(index, index + more)
    assert parse_shard(str(shard)) == shard
    assert parse_shard(f" {index} / {index + more} ") == shard


@pytest.mark.parametrize("text", ["", "2", "a/b", "1/0", "-1/3", "1/3/5", "1.0/2", "٣/٤"])
def test_other_text_is_refused(text):
    with pytest.raises(ConfigError, match=r"shard must be i/n with 1 <= i <= n, such as 2/8, got"):
        parse_shard(text)


@pytest.mark.parametrize("text", ["0/8", "9/8"])
def test_part_that_does_not_exist_is_refused(text):
    with pytest.raises(ConfigError, match=f"shard {text} does not exist; legal are 1/8 to 8/8"):
        parse_shard(text)


def test_suffix_for_file_names():
    assert parse_shard("2/8").suffix == "-2of8"
