"""Label tables of users: what is read from them, and how mistakes are told."""

from __future__ import annotations

import pandas as pd
import pytest

from organcam.catalogue.label_table import check_label_table, read_label_table
from organcam.catalogue.targets import THIRDS, custom_targets, region_targets
from organcam.errors import ConfigError


def cells(**columns):
    table = pd.DataFrame({name.replace("__", "*"): values for name, values in columns.items()})
    table.index = [f"scan{row}" for row in range(len(table))]
    return table


def test_short_and_long_form_are_read(tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text(
        "pneumonia: [right_lung, left_lung]\n"
        "lung_tumour:\n  organs: [left_lung]\n  cells: [cancer, mass*left_upper]\n  sides: ignore\n"
    )
    table = read_label_table(file)
    assert list(table) == ["pneumonia", "lung_tumour"]
    assert table["pneumonia"].cells == ("pneumonia",)
    assert table["pneumonia"].bits == (1, 1, 0)
    assert table["lung_tumour"].bits == (0, 1, 0)
    assert not table["lung_tumour"].keep_side


def test_all_mistakes_are_told_at_once_with_the_nearest_word():
    document = {
        "pneumonia": ["rigth_lung"],
        "mine": {"organs": ["left_lung"], "cels": ["nodule"]},
        "third": {"organs": "left_lung", "cells": ["noduel*left_uper"], "sides": "keeps"},
        "a/b": ["left_lung"],
        "lung_nodule": {"organs": ["left_lung"], "cells": ["nodule"]},
    }
    with pytest.raises(ConfigError) as caught:
        check_label_table(document, "labels.yaml")
    text = str(caught.value)
    assert text.startswith("labels.yaml: 9 problems")
    for words in (
        "did you mean 'right_lung'",
        "did you mean 'cells'",
        "label 'mine' needs 'cells'",
        "'organs' must be a list",
        "did you mean 'nodule'",
        "did you mean 'left_upper'",
        "did you mean 'keep'",
        "label 'a/b'",
        "catalogue's own",
    ):
        assert words in text


@pytest.mark.parametrize(("text", "words"), [("[", "line 1"), ("", "expected labels"), ("- a", "expected labels")])
def test_a_file_that_is_no_table_is_refused(tmp_path, text, words):
    file = tmp_path / "labels.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_label_table(file)


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_label_table(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a text file"):
        read_label_table(tmp_path / "binary.yaml")


def test_stated_side_narrows_two_lungs_unless_ignored():
    table = cells(mass__left_lower=[1, 0, 1, 0], mass__right=[0, 0, 1, 0], mass__lung=[1, 1, 1, 0])
    own = {
        "kept": {"organs": ["right_lung", "left_lung", "heart_mediastinum"], "cells": ["mass"]},
        "ignored": {"organs": ["right_lung", "left_lung"], "cells": ["mass"], "sides": "ignore"},
    }
    found = custom_targets(table, own)
    assert found.organs[:, 0].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert found.organs[:, 1].tolist() == [[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.thirds[0, 0].tolist() == [int(name == "left_lower") for name in THIRDS]
    assert not found.thirds[:, 1].any()


def test_only_the_cells_of_a_label_count_for_its_side():
    table = cells(mass__left_lower=[1], nodule__right_lung=[1])
    own = {"tumour": {"organs": ["right_lung", "left_lung"], "cells": ["mass", "nodule*left_upper"]}}
    assert custom_targets(table, own).organs[0, 0].tolist() == [0, 1, 0]


def test_lobes_of_a_catalogue_label_become_its_thirds():
    table = cells(nodule__right_upper=[1, 0], nodule__right_lung=[1, 1], nodule__left_mid=[1, 0])
    found = region_targets(table).columns(["lung_nodule", "lung_mass"])
    assert found.thirds[0, 0].tolist() == [1, 0, 0, 0, 1, 0]
    assert found.organs[:, 0].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert not found.thirds[1].any()
    assert not found.thirds[:, 1].any()
    assert not region_targets(table, fidelity="reference").thirds.any()
    assert found.places.shape == (2, 2, 10)


@pytest.mark.parametrize("name", ["all", "predicted", "Present"])
def test_words_that_stand_for_labels_are_no_names(name):
    with pytest.raises(ConfigError, match=f"label '{name}': stands for labels"):
        check_label_table({name: {"organs": ["left_lung"], "cells": ["mass"]}})
