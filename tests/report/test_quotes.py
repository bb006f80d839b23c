"""Sentences quoted from reports: the right words, marked at the right place."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from organcam.report.quotes import LONGEST, Piece, quote, quoted_findings

TEXT = "FINDINGS: Heart is large. There is a 1.5 cm\nnodule and a mass, see above. No effusion!\n\nIMPRESSION"


def at(word: str) -> tuple[int, int]:
    return TEXT.index(word), TEXT.index(word) + len(word)


def test_sentence_around_two_mentions() -> None:
    assert quote(TEXT, [at("mass"), at("nodule")]) == [
        Piece("There is a 1.5 cm ", False),
        Piece("nodule", True),
        Piece(" and a ", False),
        Piece("mass", True),
        Piece(", see above.", False),
    ]


def test_sentence_at_either_end_of_the_text() -> None:
    assert "".join(piece.text for piece in quote(TEXT, [at("Heart")])) == "FINDINGS: Heart is large."
    assert "".join(piece.text for piece in quote(TEXT, [at("effusion")])) == "No effusion!"
    assert "".join(piece.text for piece in quote(TEXT, [at("IMPRESSION")])) == "IMPRESSION"


def test_items_of_a_list_are_apart() -> None:
    text = "- nodule in the lung\n- mass in the liver\n- no effusion"
    assert "".join(p.text for p in quote(text, [(text.index("mass"), text.index("mass") + 4)])) == "mass in the liver"


def test_text_without_an_end_is_cut() -> None:
    text = "word " * 1000
    shown = "".join(piece.text for piece in quote(text, [(2500, 2504)]))
    assert len(shown) <= 2 * LONGEST + 4


def test_offsets_outside_the_text_quote_nothing() -> None:
    assert quote("short", [(3, 99), (-1, 2), (2, 2)]) == []


@given(st.text(max_size=60), st.integers(0, 60), st.integers(1, 20))
def test_the_mention_is_always_marked_once(text: str, start: int, length: int) -> None:
    pieces = quote(text, [(start, start + length)])
    if start + length <= len(text):
        (marked,) = [piece.text for piece in pieces if piece.marked]
        assert marked.split() == text[start : start + length].split()
    else:
        assert pieces == []


def test_findings_of_a_sentence_stand_together() -> None:
    rows = [("mass", "lung", "present"), ("nodule", "right_lung", "present"), ("nodule", "left_lung", "present")]
    table = pd.DataFrame(
        [
            {"abnormality": a, "location": p, "status": s, "section": "findings", "sentence": "1"}
            | dict(zip(("start", "end"), map(str, at(a)), strict=True))
            for a, p, s in rows
        ]
    )
    (entry,) = quoted_findings(table, TEXT)
    assert entry["section"] == "findings"
    assert entry["read"] == [
        {"abnormality": "nodule", "status": "present", "locations": "right_lung, left_lung"},
        {"abnormality": "mass", "status": "present", "locations": "lung"},
    ]
    assert [piece.text for piece in entry["pieces"] if piece.marked] == ["nodule", "mass"]
    assert quoted_findings(table, None)[0]["pieces"] == []
    assert quoted_findings(None, TEXT) == []
