from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.errors import DataError
from organcam.runner import Unit, check_unique, safe_id

LETTERS = string.ascii_letters + string.digits + "_-"


@given(st.from_regex(r"[A-Za-z0-9_-]([A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?", fullmatch=True))
def test_legal_ids_pass_unchanged_unless_windows_reserves_them(text):
    stem = text.split(".")[0].lower()
    reserved = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
    if stem in reserved:
        with pytest.raises(DataError):
            safe_id(text)
    else:
        assert safe_id(text) == text


@given(st.text(alphabet=LETTERS, max_size=20), st.characters(exclude_characters=LETTERS + "."), st.text(max_size=20))
def test_one_illegal_character_is_enough(before, illegal, after):
    with pytest.raises(DataError, match="cannot be a file name; legal are letters"):
        safe_id(before + illegal + after)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        ".hidden",
        "end.",
        "a/b",
        "a\\b",
        "../up",
        "a b",
        "a\n",
        "é",
        "a" * 129,
        "con",
        "NUL.txt",
        "Com1",
        "a:b",
    ],
)
def test_unsafe_ids_are_refused_by_name(text):
    with pytest.raises(DataError) as caught:
        safe_id(text)
    assert repr(text)[:60] in str(caught.value)


@pytest.mark.parametrize("value", [None, 7, float("nan"), b"a"])
def test_what_is_not_text_is_refused(value):
    with pytest.raises(DataError, match="cannot be a file name"):
        safe_id(value)


def test_message_stays_readable_for_endless_ids():
    with pytest.raises(DataError) as caught:
        safe_id("x" * 100_000)
    assert len(str(caught.value)) < 400


def test_unit_checks_its_id():
    with pytest.raises(DataError, match=r"scan id 'a/b' cannot be a file name"):
        Unit("a/b", {}, {})


def test_capitals_do_not_tell_ids_apart():
    check_unique(["a", "b", "ab"])
    with pytest.raises(DataError, match=r"scan id 'SCAN1' occurs beside 'scan1'"):
        check_unique(["scan1", "scan2", "SCAN1"])
    with pytest.raises(DataError, match=r"scan id 'a' occurs twice"):
        check_unique(["a", "a"])
