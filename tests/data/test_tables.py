"""Tables that people hand in: damaged, of other programs, or with a column twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.data.discover import read_table
from organcam.errors import ConfigError


def read(tmp_path, content: bytes, columns=("scan_id", "split")):
    (tmp_path / "t.csv").write_bytes(content)
    return read_table(tmp_path / "t.csv", columns, "data.splits")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"scan_id\na\n", "column 'split' is missing"),
        (b"scan_id,split,split\na,train,test\n", "the column 'split' appears twice"),
        (b"scan_id,split\na,train,more\n", "line 2 has 3 values, the header names 2 columns"),
        (b'scan_id,split\na,"train\nb,test\n', "a quotation mark is never closed"),
        ("scan_id,split\na,train\n".encode("utf-16"), "not a text table"),
        (b"\x00\x01\x02" * 1000, "not a text table"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "not a text table"),
        (b"PK\x03\x04" + bytes(200), "not a text table"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_in_one_sentence(tmp_path, content, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith("data.splits: ")
    assert "t.csv" in message
    assert "\n" not in message
    assert len(message) < 500


def test_folders_and_missing_files_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="data.splits"):
            read_table(path, [], "data.splits")


@pytest.mark.parametrize(
    "content",
    [
        b"scan_id,split\na,train\n",
        b"\xef\xbb\xbfscan_id,split\r\na,train\r\n",
        b"scan_id;split\na;train\n",
        b"scan_id\tsplit\na\ttrain\n",
        b'"scan_id","split"\n\n"a","train"\n',
        b"scan_id,split,note\na,train\n",  # a short row is filled up
        b"scan_id,split,\na,train,\n",  # a column without a name is no column
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content):
    table = read(tmp_path, content)
    assert table[["scan_id", "split"]].to_dict("records") == [{"scan_id": "a", "split": "train"}]


def test_values_stay_the_words_they_are_and_large_ones_fit(tmp_path):
    long = "x" * 300_000
    table = read(tmp_path, f"scan_id,split\n007,NA\n1e5,{long}\nnan,\xe9\n".encode())
    assert table["scan_id"].tolist() == ["007", "1e5", "nan"]
    assert table["split"].tolist() == ["NA", long, "\xe9"]
    latin = read(tmp_path, "scan_id,split\n\xe9,train\n".encode("latin-1"))
    assert latin["split"].tolist() == ["train"]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_config_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("t")
    try:
        table = read(folder, content, [])
    except ConfigError as error:
        assert "t.csv" in str(error)
    else:
        assert table.map(lambda value: isinstance(value, str)).all(axis=None)
