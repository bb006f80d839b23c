from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.nlp import ReportParser
from organcam.nlp.language.text import Tokens, load_word_forms, same_length_lower
from organcam.nlp.language.trie import Hit, Trie

FORMS = load_word_forms()


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("nodules", "nodule"),
        ("masses", "mass"),
        ("opacities", "opacity"),
        ("bullae", "bulla"),
        ("apices", "apex"),
        ("oedema", "edema"),
        ("haemothorax", "hemothorax"),
        ("tumours", "tumor"),
        ("metastases", "metastasis"),
        ("dilatation", "dilation"),
        ("atelectasis", "atelectasis"),
        ("his", "his"),
        ("venous", "venous"),
    ],
)
def test_plurals_and_spellings_share_a_form(word, form):
    assert FORMS.normal(word)[0] == form


def test_hyphens_separate_words_but_vertebrae_stay_whole():
    assert Tokens("ground-glass opacity at t12, 12x8 mm", FORMS).words == [
        "ground", "glass", "opacity", "at", "t12", ",", "12", "x", "8", "mm",
    ]  # fmt: skip


def test_decimals_and_prices_of_language():
    assert Tokens("1.5 cm; peyer's patch", FORMS).words == ["1.5", "cm", ";", "peyer", "patch"]


@given(st.text(max_size=200))
def test_lower_case_keeps_every_offset(text):
    assert len(same_length_lower(text)) == len(text)


@given(st.text(max_size=200))
def test_token_spans_lie_in_the_text_in_order(text):
    tokens = Tokens(same_length_lower(text), FORMS)
    spans = [tokens.span(i, i + 1) for i in range(len(tokens.words))]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_the_longest_term_wins_and_words_are_whole():
    trie = Trie()
    trie.add(FORMS.term("effusion"), "finding", "effusion")
    trie.add(FORMS.term("pleural effusion"), "finding", "pleural")
    trie.add(FORMS.term("rib"), "place", "rib")
    assert trie.scan(Tokens("described pleural effusions", FORMS).words) == [Hit("finding", "pleural", 1, 3)]


def test_a_prefix_of_a_longer_term_does_not_swallow_the_next_term():
    trie = Trie()
    trie.add(("a", "b", "c"), "finding", "long")
    trie.add(("b",), "finding", "short")
    assert trie.scan(["a", "b", "d"]) == [Hit("finding", "short", 1, 2)]


def test_real_words_are_no_typing_errors():
    parser = ReportParser()
    text = "After the injection of contrast. No sign of rejection. The patient was confused, with confusion at night."
    assert not [f for f in parser.parse(text).findings if f.abnormality]
