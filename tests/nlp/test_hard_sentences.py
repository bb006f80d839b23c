"""Sentences of chest-CT reports with the cells they state, one phenomenon each."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from organcam.nlp import ReportParser, cells

with (Path(__file__).parent / "hard_sentences.csv").open(encoding="utf-8", newline="") as table:
    SENTENCES = list(csv.DictReader(table))


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


def test_the_set_is_large_and_varied():
    assert len(SENTENCES) >= 150
    assert len({row["kind"] for row in SENTENCES}) >= 7
    assert len({row["text"] for row in SENTENCES}) == len(SENTENCES)


@pytest.mark.parametrize("row", SENTENCES, ids=[f"{row['kind']}-{i}" for i, row in enumerate(SENTENCES)])
def test_cells_of_the_sentence(parser, row):
    found = cells(parser.parse(row["text"]))
    assert found == {tuple(cell.split("*")) for cell in row["present"].split()}
    assert not {abnormality for abnormality, _ in found} & set(row["absent"].split())
