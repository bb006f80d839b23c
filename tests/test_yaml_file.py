"""What a YAML file may hold, and that nothing it holds costs more than reading it."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from organcam.catalogue.label_table import read_label_table
from organcam.errors import ConfigError
from organcam.nlp import load_vocabulary
from organcam.segmentation.external import read_value_table
from organcam.workflow_file import load_workflow
from organcam.yaml_file import DEEPEST, MOST_NODES, parse_yaml, read_yaml


def error_of(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml")
    assert "\n" not in message
    assert len(message) < 400
    return message


def laughs(levels: int, width: int) -> str:
    """The billion laughs: each list holds the one before many times."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = {
    "bomb": (laughs(12, 10), "aliases"),
    "bomb of merges": ("a: &a {x: 1}\n" + "b: &b {<<: [" + "*a, " * 1_100_000 + "*a]}", "aliases|nodes|bytes"),
    "holds itself": ("a: &a [*a]", "line 1, column 8"),
    "unknown alias": ("a: *b", "alias"),
    "deep lists": ("[" * 100_000, "nested"),
    "deep mappings": ("{a: " * 5_000, "nested"),
    "deep compact lists": ("- " * 5_000, "nested"),
    "too many": ("[" + "0," * (MOST_NODES + 1) + "]", "nodes"),
    "long whole number": ("a: " + "9" * 5_000, "whole number"),
    "long hexadecimal": ("a: 0x" + "f" * 5_000, "whole number"),
    "not a whole number": ("a: !!int abc", "line 1, column 4"),
    "not a number": ("a: !!float abc", "line 1, column 4"),
    "not a truth value": ("a: !!bool abc", "line 1, column 4"),
    "a date by force": ("a: !!timestamp 2001-99-99", "timestamp"),
    "bytes": ("a: !!binary =", "binary"),
    "a set": ("a: !!set {b}", "set"),
    "python": ("a: !!python/object/apply:os.getcwd []", "python"),
    "same key twice": ("a: 1\nb: 2\na: 3", "line 3, column 1: not valid YAML: the key 'a' appears twice"),
    "a list as key": ("? [a]\n: 1", "key"),
    "merging a word": ("a: {<<: word}", "mapping"),
    "control character": ("a: \0", "not valid YAML"),
    "lone surrogate": ("a: \ud800", "not valid YAML"),
    "open bracket": ("a: [1", "line 1"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_text_is_refused_in_one_sentence(case):
    text, words = HOSTILE[case]
    message = error_of(text)
    assert any(word in message for word in words.split("|")), message


def test_nothing_but_plain_data_comes_out_and_a_date_is_its_words():
    text = "{n: null, b: true, i: 0x10, f: 1.5e+3, s: word, l: [1], m: {k: v}, d: 2001-99-99, e: 2001-01-01}"
    expected = {"n": None, "b": True, "i": 16, "f": 1500.0, "s": "word", "l": [1], "m": {"k": "v"}}
    assert parse_yaml(text, "x") == {**expected, "d": "2001-99-99", "e": "2001-01-01"}


def test_aliases_and_merges_within_reason_stay():
    text = "base: &base {epochs: 3}\nmine: {<<: *base, batch: 2}\nyours: *base"
    assert parse_yaml(text, "x") == {
        "base": {"epochs": 3},
        "mine": {"epochs": 3, "batch": 2},
        "yours": {"epochs": 3},
    }
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST, "x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=12,
    )
)
def test_what_is_written_as_plain_yaml_reads_back(value):
    """Against PyYAML's own writer; a date is quoted by it, so it stays text on both sides."""
    assert parse_yaml(yaml.safe_dump(value), "x") == value


@given(st.text(alphabet="ab01:-[]{}&*!?,<>|'\"%#@ \n\t.~", max_size=60))
def test_any_text_is_plain_data_or_a_config_error(text):
    try:
        parse_yaml(text, "x")
    except ConfigError as error:
        assert str(error).startswith("x")


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff\xfe\x00", "not a text file"), (b"a" * (9 << 20), "bytes"), (None, "cannot be read")]
)
def test_a_file_that_is_no_text_too_large_or_missing_is_refused(tmp_path, content, words):
    if content is not None:
        (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_yaml(tmp_path / "x.yaml", "x.yaml")


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfseed: 1")
    assert read_yaml(tmp_path / "x.yaml", "x.yaml") == {"seed": 1}


@pytest.mark.parametrize("reader", [load_workflow, load_vocabulary, read_label_table, read_value_table])
@pytest.mark.parametrize("case", ["bomb", "deep lists", "long whole number", "same key twice", "python"])
def test_every_reader_of_the_project_refuses_them_alike(tmp_path, reader, case):
    text, words = HOSTILE[case]
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        reader(str(tmp_path / "x.yaml"))
    assert "x.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_of_the_command_line_are_read_by_the_same_rules():
    for value in (laughs(9, 10).replace("\n", " "), "[" * 9_999, "9" * 5_000, "!!int abc"):
        with pytest.raises(ConfigError, match="--set"):
            load_workflow("phantom", [f"train.epochs={value}"])
    with pytest.raises(ConfigError, match="--set"):
        load_workflow("phantom", ["network." + "a." * 5_000 + "b=1"])
