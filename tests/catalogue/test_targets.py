"""Region targets: the two rules by hand, the published code's numbers, and bad tables."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.catalogue import abnormalities, locations, region_labels
from organcam.catalogue.targets import ORGANS, custom_targets, region_targets, select_labels
from organcam.errors import ConfigError, DataError

EVERY_CELL = [
    f"{a}*{location}"
    for a in [*(x.name for x in abnormalities()), "other_disease"]
    for location in [*(x.name for x in locations()), "other_location"]
]


def table(*scans: list[str]) -> pd.DataFrame:
    """One row per list of positive cells."""
    columns = sorted({cell for scan in scans for cell in scan})
    rows = [[int(cell in scan) for cell in columns] for scan in scans]
    return pd.DataFrame(rows, columns=columns, index=[f"scan{i}" for i in range(len(scans))])


def organs_of(label: str, *cells: str, fidelity: str = "default") -> tuple[int, list[int]]:
    targets = region_targets(table(list(cells)), fidelity).columns([label])
    return int(targets.present[0, 0]), targets.organs[0, 0].tolist()


@pytest.mark.parametrize(
    ("label", "cells", "default", "reference"),
    [
        # generic lung finding with a side
        ("lung_nodule", ["nodule*right_upper", "nodule*lung"], [1, 0, 0], [1, 0, 0]),
        ("lung_nodule", ["nodule*right_upper", "nodule*left_lung"], [1, 1, 0], [1, 1, 0]),
        # without a side: positive in both lungs, a negative in the published code
        ("lung_nodule", ["nodule*lung"], [1, 1, 0], [0, 0, 0]),
        ("lung_opacity", ["opacity*airways"], [1, 1, 0], [0, 0, 0]),
        # a side outside the lung says nothing about a lung
        ("lung_nodule", ["nodule*liver", "nodule*right"], [0, 0, 0], [0, 0, 0]),
        # lung-specific: side kept, dropped in the published code
        ("lung_pneumonia", ["pneumonia*right_lower", "pneumonia*lung"], [1, 0, 0], [1, 1, 0]),
        ("lung_pleural_effusion", ["pleural_effusion*left"], [0, 1, 0], [1, 1, 0]),
        ("lung_pleural_effusion", ["pleural_effusion*other_location"], [1, 1, 0], [1, 1, 0]),
        ("lung_emphysema", ["emphysema*airways"], [1, 1, 0], [1, 1, 0]),
        ("lung_pneumonia", ["pneumonia*heart"], [0, 0, 0], [1, 1, 0]),
        # heart, vessels, mediastinum
        ("heart_calcification", ["calcification*mitral_valve"], [0, 0, 1], [0, 0, 1]),
        ("heart_calcification", ["calcification*aorta"], [0, 0, 0], [0, 0, 0]),
        ("h_great_vessel_calcification", ["calcification*aorta"], [0, 0, 1], [0, 0, 1]),
        # at the hilum: the stated lung and the mediastinum, as one label and as the other
        ("h_mediastinum_lymphadenopathy", ["lymphadenopathy*hilum"], [1, 1, 1], [0, 0, 1]),
        ("h_mediastinum_mass", ["mass*hilum", "mass*right"], [1, 0, 1], [0, 0, 1]),
        ("h_mediastinum_mass", ["mass*mediastinum"], [0, 0, 1], [0, 0, 1]),
        ("lung_mass", ["mass*hilum", "mass*right"], [1, 0, 1], [0, 0, 0]),
        ("lung_mass", ["mass*hilum", "mass*left_upper"], [0, 1, 1], [0, 1, 0]),
        ("lung_mass", ["mass*hilum"], [1, 1, 1], [0, 0, 0]),
        ("lung_mass", ["mass*mediastinum", "mass*right"], [0, 0, 0], [0, 0, 0]),
        ("lung_pneumonia", ["pneumonia*hilum", "pneumonia*left"], [0, 1, 1], [1, 1, 0]),
        # of hilar nodes the lung knows nothing
        ("lung_lymphadenopathy", ["lymphadenopathy*hilum", "lymphadenopathy*right"], [0, 0, 0], [0, 0, 0]),
        ("heart_cardiomegaly", ["cardiomegaly*heart"], [0, 0, 1], [0, 0, 1]),
        ("heart_pericardial_effusion", ["pericardial_effusion*other_location"], [0, 0, 1], [0, 0, 0]),
        ("heart_cardiomegaly", ["cardiomegaly*left_lung"], [0, 0, 0], [0, 0, 0]),
    ],
)
def test_where_a_label_may_lie(label, cells, default, reference):
    assert organs_of(label, *cells) == (int(any(default)), default)
    assert organs_of(label, *cells, fidelity="reference") == (int(any(reference)), reference)


def test_names_ids_and_types():
    targets = region_targets(table(["nodule*lung"], []))
    assert targets.ids == ("scan0", "scan1")
    assert targets.names == tuple(label.name for label in region_labels())
    assert targets.present.dtype == targets.organs.dtype == np.uint8
    assert targets.present.sum(axis=1).tolist() == [1, 0]
    assert targets.to_frame().loc["scan0", "lung_nodule"] == 1


def test_table_without_columns_has_no_positives():
    assert region_targets(pd.DataFrame(index=["a", "b"])).present.sum() == 0
    assert region_targets(pd.DataFrame()).present.shape == (0, 80)


def test_bool_and_text_numbers_are_read():
    cells = pd.DataFrame({"nodule*lung": [True, False], "mass*left_lung": ["0", "1"]}, index=["a", "b"])
    targets = region_targets(cells).columns(["lung_nodule", "lung_mass"])
    assert targets.present.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "column", ["other_path*lung", "other_disease*lung", "nodule*other_location", "other_path*other"]
)
def test_catch_alls_are_tolerated(column):
    assert region_targets(pd.DataFrame({column: [1]}, index=["a"])).present.sum() == 0


def test_one_place_under_two_spellings_counts_once():
    cells = pd.DataFrame({"pneumonia*other": [1], "pneumonia*other_location": [0]}, index=["a"])
    for order in (list(cells), list(cells)[::-1]):
        assert region_targets(cells[order]).columns(["lung_pneumonia"]).present.item() == 1


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("nodul*lung", "'nodul*lung'.*did you mean 'nodule'"),
        ("nodule*left_uper", "did you mean 'left_upper'"),
        ("lung_nodule", "no abnormality\\*location pair"),
    ],
)
def test_unknown_column_is_named_with_the_nearest(column, words):
    with pytest.raises(DataError, match=words.replace("nodul*", "nodul\\*")):
        region_targets(pd.DataFrame({column: [1]}))


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan, "yes"])
def test_other_values_are_named_with_their_place(value):
    cells = pd.DataFrame({"nodule*lung": [0, value]}, index=["scan7", "scan8"])
    with pytest.raises(DataError, match=r"id 'scan8' in column 'nodule\*lung'"):
        region_targets(cells)


def test_id_twice_and_unknown_fidelity_are_refused():
    with pytest.raises(DataError, match="'a' occurs more than once"):
        region_targets(pd.DataFrame({"nodule*lung": [0, 1]}, index=["a", "a"]))
    with pytest.raises(ConfigError, match="did you mean 'reference'"):
        region_targets(table([]), "refrence")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(EVERY_CELL), max_size=12), min_size=1, max_size=3))
def test_organs_say_where_a_present_label_lies(scans):
    for fidelity in ("default", "reference"):
        targets = region_targets(table(*scans), fidelity)
        np.testing.assert_array_equal(targets.organs.any(axis=2), targets.present)
        side = np.array([label.organs == "heart_mediastinum" for label in region_labels()])
        hilar = np.array([[any(cell.endswith("*hilum") for cell in scan)] for scan in scans]) & (fidelity == "default")
        assert not (targets.organs[:, side, :2].any(axis=2) & ~hilar).any()
        assert not (targets.organs[:, ~side, 2].astype(bool) & ~hilar).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EVERY_CELL), max_size=12))
def test_order_of_columns_and_empty_columns_do_not_matter(cells):
    small = table(cells)
    full = small.reindex(columns=EVERY_CELL[::-1], fill_value=0)
    for fidelity in ("default", "reference"):
        np.testing.assert_array_equal(region_targets(small, fidelity).organs, region_targets(full, fidelity).organs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(EVERY_CELL), max_size=12), st.sampled_from(EVERY_CELL))
def test_one_more_cell_never_makes_a_label_absent(cells, more):
    for fidelity in ("default", "reference"):
        before = region_targets(table(cells), fidelity).present
        after = region_targets(table([*cells, more]), fidelity).present
        assert (after >= before).all()


def test_rare_labels_are_left_out_by_their_training_count():
    targets = region_targets(table(["nodule*lung", "mass*lung"], ["nodule*lung"], ["mass*lung"]))
    assert select_labels(targets, 2) == ("lung_mass", "lung_nodule")
    assert select_labels(targets.of_scans(["scan1", "scan0"]), 2) == ("lung_nodule",)
    assert select_labels(targets, 5) == ()
    assert len(select_labels(targets, 0)) == 80


def test_scans_are_found_by_id():
    targets = region_targets(table(["nodule*lung"], [], ["mass*lung"]))
    assert targets.rows == {"scan0": 0, "scan1": 1, "scan2": 2}
    chosen = targets.of_scans(["scan2", "scan0"])
    assert chosen.ids == ("scan2", "scan0")
    assert chosen.columns(["lung_nodule"]).present.ravel().tolist() == [0, 1]
    with pytest.raises(DataError, match="'scan9' and 1 more"):
        targets.of_scans(["scan9", "scan0", "scan10"])


def test_own_labels_join_the_published_ones():
    cells = table(["tuberculosis*right_upper", "hernia*diaphragm"], ["hernia*abdomen"])
    own = {
        "tuberculosis": {"organs": ["right_lung", "left_lung"], "cells": ["tuberculosis"]},
        "hiatal_hernia": {"organs": ["heart_mediastinum"], "cells": ["hernia*diaphragm", "hernia*esophagus"]},
    }
    targets = region_targets(cells).join(custom_targets(cells, own))
    assert len(targets.names) == 82
    mine = targets.columns(list(own))
    assert mine.present.tolist() == [[1, 1], [0, 0]]
    assert mine.organs[0].tolist() == [[1, 0, 0], [0, 0, 1]]  # the stated side is kept
    assert mine.thirds[0].tolist() == [[1, 0, 0, 0, 0, 0], [0] * 6]
    with pytest.raises(ConfigError, match="already in use: tuberculosis"):
        targets.join(custom_targets(cells, {"tuberculosis": own["tuberculosis"]}))


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"organs": ["right_lung"]}, "needs 'cells'"),
        ({"organs": ["right_lungs"], "cells": ["nodule"]}, "did you mean 'right_lung'"),
        ({"organs": ["right_lung"], "cells": ["noduel"]}, "did you mean 'nodule'"),
        ({"organs": ["right_lung"], "cells": ["nodule*lungs"]}, "did you mean 'lung'"),
        ({"organs": ["right_lung"], "cells": []}, "at least one"),
        ({"organs": "right_lung", "cells": ["nodule"]}, "must be a list"),
    ],
)
def test_bad_own_label_says_what_is_wrong(definition, words):
    with pytest.raises(ConfigError, match=words):
        custom_targets(table([]), {"mine": definition})


def test_unknown_label_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'lung_nodule'"):
        region_targets(table([])).columns(["lung_nodul"])


def test_published_folding(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["10_labels"]
    cells = table(*entry["scans"].values())
    cells.index = list(entry["scans"])
    targets = region_targets(cells, fidelity="reference")
    ours = set(targets.names)
    everything = next(r for r in entry["runs"] if r["mincount_lung"] == 0)
    right, left, heart = (ORGANS.index(name) for name in ORGANS)
    for row, scan in enumerate(targets.ids):
        expected = everything["scans"][scan]
        present = {name for name, bit in zip(targets.names, targets.present[row], strict=True) if bit}
        assert present == set(expected["folded_positive"]) & ours, scan
        for organ, key, prefix in ((right, "right", "lung_"), (left, "left", "lung_"), (heart, "heart", "")):
            allowed = {name for name, bits in zip(targets.names, targets.organs[row], strict=True) if bits[organ]}
            assert allowed == {prefix + name for name in expected[key]} & ours, (scan, key)


def test_published_groups(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["10_labels"]
    labels = region_labels()
    counts = entry["published_80_counts"]
    assert {k: sum(x.extent == k for x in labels) for k in ("focal", "diffuse")} == counts["Focal_vs_Diffuse"]
    found = {k: sum(x.origin == k for x in labels) for k in ("biological", "intervention")}
    assert found == counts["Intervention_vs_Biological"]
    assert {k: sum(x.region.removeprefix("h_") == k for x in labels) for k in counts["Region"]} == counts["Region"]


def test_only_labels_of_airless_lung_and_fluid_may_hide_at_the_base_and_only_where_present():
    table = pd.DataFrame(
        {"atelectasis*right_lower": [1, 0], "nodule*right_lower": [1, 1], "pericardial_effusion*heart": [1, 1]},
        index=["a", "b"],
    )
    targets = region_targets(table)
    hiding = [name for name, at in zip(targets.names, targets.at_base[0], strict=True) if at]
    assert hiding == ["lung_atelectasis"]
    assert not targets.at_base[1].any()
    assert targets.columns(["lung_atelectasis"]).places[0].tolist() == [[1, 0, 0, 0, 0, 1, 0, 0, 0, 1]]
    assert not region_targets(table, fidelity="reference").at_base.any()
    own = custom_targets(table, {"collapse": {"organs": ["right_lung", "left_lung"], "cells": ["atelectasis"]}})
    assert own.at_base.ravel().tolist() == [1, 0]
    assert targets.join(own).of_scans(["a"]).columns(["collapse"]).at_base.tolist() == [[1]]
