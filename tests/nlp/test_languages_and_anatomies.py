"""German, and the abdomen: what a folder of YAML makes of the same code. Gold was written before the vocabularies."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from organcam.nlp import ReportParser, cells

HERE = Path(__file__).parent
SETS = {"chest_ct_de": "german_sentences.csv", "abdomen_ct": "abdomen_sentences.csv"}


def sentences(name):
    with (HERE / SETS[name]).open(encoding="utf-8", newline="") as table:
        return [(name, row["text"], row["present"]) for row in csv.DictReader(table)]


@pytest.fixture(scope="module")
def parsers():
    return {name: ReportParser(name) for name in SETS}


@pytest.mark.parametrize(("name", "text", "present"), [row for name in SETS for row in sentences(name)])
def test_cells_of_the_sentence(parsers, name, text, present):
    assert {"*".join(cell) for cell in cells(parsers[name].parse(text))} == set(present.split())


def test_the_sets_are_large_enough():
    assert all(len(sentences(name)) >= 60 for name in SETS)


def test_each_reader_says_which_language_it_reads(parsers):
    german = "Rundherd im rechten Oberlappen, kein Pleuraerguss, das Herz ist nicht vergrößert."
    english = "Patchy shadows are seen throughout, with several further abnormalities which look rather old."
    assert ReportParser().parse(german).reason == "hardly a word is known; only English is read"
    assert parsers["chest_ct_de"].parse(english).reason == "hardly a word is known; only German is read"
    assert parsers["chest_ct_de"].parse(german).reason == ""


def test_changes_and_sizes_in_german(parsers):
    def only(text):
        (finding,) = parsers["chest_ct_de"].parse(text).findings
        return finding

    assert only("Unveränderter Rundherd im linken Oberlappen.").change == "stable"
    assert only("Neu aufgetretener Pleuraerguss links.").change == "new"
    assert only("Der Rundherd im rechten Unterlappen ist größenprogredient.").change == "larger"
    assert only("Rundherd im linken Oberlappen, 7 mm, zuvor 5 mm.").change == "larger"
    assert only("Rundherd im linken Oberlappen, 7 mm (Serie 3, Bild 44).")[-4:-2] == ("3", "44")


def test_headings_are_read_in_the_letters_of_any_language(parsers):
    found = parsers["chest_ct_de"].parse("Schilddrüse: Regelrecht gelegen. Kleine Zyste.").findings
    assert [(f.abnormality, f.location, f.rule) for f in found] == [("cyst", "thyroid", "asserted/heading")]
