"""Models whose reasons are known, because they are written here: what the audit says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from organcam.audit import KINDS, parse_wish
from organcam.audit.model import Answer, Model
from organcam.audit.parts import BODY, OUTSIDE, medians_of, paint_over, parts_of
from organcam.audit.scan import allowed_parts, ask_scan
from organcam.audit.tables import audit_tables
from organcam.audit.traits import traits_of
from organcam.audit.verdict import judge, separation_of
from organcam.data.phantom import PhantomSettings, plan_dataset
from organcam.data.phantom.render import render_scan
from organcam.data.volume import Volume
from organcam.geometry import FeatureGrid

LABELS = ("lung_mass", "lung_consolidation", "heart_pacemaker_or_defib")
GRID = (8, 8, 8)
NONE = (np.nan, np.nan, np.nan)


@pytest.fixture(scope="module")
def people():
    """Ten small scans, every other one with a mass."""
    settings = PhantomSettings(
        shape=(40, 128, 128),
        scans={"train": 10, "valid": 0, "test": 0, "shifted": 0},
        prevalence={**dict.fromkeys(PhantomSettings().prevalence, 0.0), "mass": 0.5},
        confounders=({"finding": "mass", "kind": "metal_token", "correlation": 1.0},),
        interventions=0,
        arms_down=0.0,
    )
    plan = plan_dataset(settings)
    scans = [render_scan(settings, spec) for spec in plan]
    present = np.array([["mass" in spec.findings, np.nan, np.nan] for spec in plan], dtype=float)
    return [(Volume(s.hu, s.affine), Volume(s.organs, s.affine)) for s in scans], present


def model_of(score):
    """A model of one number a scan, whose map is where that number comes from: ``score(hu) -> (logit, mask)``."""

    def answer(volume):
        straight = volume.reoriented()
        logit, where = score(straight.array.astype(float))
        size = [n // g for n, g in zip(where.shape, GRID, strict=True)]
        cells = where.reshape(*(part for pair in zip(GRID, size, strict=True) for part in pair)).sum((1, 3, 5))
        stride = tuple(float(s) for s in size)
        grid = FeatureGrid(GRID, stride, tuple((s - 1) / 2 for s in stride), tuple(size), where.shape)
        maps = np.stack([cells, np.zeros(GRID), np.zeros(GRID)]).astype(np.float32)
        return Answer(np.array([logit, 0.0, 0.0]), maps, grid, straight.affine)

    return Model("known", LABELS, answer)


def by_dense_lung(organs_of):
    """The lung's dense tissue: in air-filled surroundings the count of voxels above -300 HU within 20 mm of air."""

    def score(hu):
        dense = (hu > -200) & (hu < 300) & organs_of()
        return dense.sum() / 500.0, dense.astype(float)

    return score


def by_metal(hu):
    metal = hu > 2000
    return min(metal.sum(), 40) / 10.0, metal.astype(float)


def by_noise(hu):
    rough = np.abs(np.diff(hu, axis=2, prepend=hu[:, :, :1]))
    calm = (hu > -1100) & (hu < -950)
    return float(rough[calm].mean()) / 3, np.where(calm, rough, 0.0)


def asked(people, score, wishes):
    scans, _ = people
    current = {}
    chosen = by_dense_lung(lambda: current["organs"]) if score == "lung" else score
    model = model_of(chosen)
    fills = {0: -1000.0, 1: -820.0, 2: -820.0, 3: 40.0, BODY: 20.0}
    facts = []
    for number, (scan, organs) in enumerate(scans):
        straight = organs.reoriented().array
        current["organs"] = (straight == 1) | (straight == 2)
        facts.append(ask_scan(f"s{number}", scan, organs, model, fills, [parse_wish(w) for w in wishes], number)[0])
    return facts


WISHES = ("mass:60mm", "token", "marker", "noise", "blur")


@pytest.fixture(scope="module")
def lung_user(people):
    return asked(people, "lung", WISHES)


@pytest.fixture(scope="module")
def metal_user(people):
    return asked(people, by_metal, WISHES)


def of_mass(facts, present):
    return audit_tables(facts, LABELS, present).labels.set_index("label").loc["lung_mass"]


def test_a_model_that_looks_into_the_lung_uses_the_organ(people, lung_user):
    row = of_mass(lung_user, people[1])
    assert row["verdict"] == "uses the organ", row["words"]
    assert row["auroc_full"] == row["auroc_only"] > 0.9
    assert row["auroc_without"] == 0.5
    shares = row[["evidence_in_organs", "evidence_elsewhere_in_body", "evidence_outside"]]
    assert shares.sum() == pytest.approx(1)
    assert shares.iloc[0] > 0.6  # cells are five centimetres wide, and hold chest wall beside the lung
    assert abs(row["moved_by_token"]) < 0.05
    assert row["moved_by_mass"] > 0.3
    assert "AUROC" in row["words"]
    assert "A lesion put in moves the score by +" in row["words"]


def test_a_model_that_looks_at_the_token_is_accused_of_it(people, metal_user):
    row = of_mass(metal_user, people[1])
    assert row["verdict"].startswith("shortcut: ")
    assert set(row["verdict"].removeprefix("shortcut: ").split(", ")) == {"token"}
    assert (row["auroc_full"], row["auroc_without"], row["auroc_only"]) == (1.0, 1.0, 0.5)
    assert row["evidence_outside"] > 0.5
    assert row["moved_by_token"] > 0.7
    assert f"token {row['moved_by_token']:+.0%}" in row["words"]


def test_without_labels_the_lesion_is_the_measure(metal_user):
    row = of_mass(metal_user, None)
    assert row["verdict"] == "shortcut: token"
    assert "AUROC is not known" in row["words"]
    assert row["separation_from"] == "twice the spread of the scores"


def test_what_a_model_cannot_tell_is_not_judged(people):
    tables = audit_tables(asked((people[0][:10], None), by_noise, ("token",)), LABELS, people[1])
    row = tables.labels.set_index("label").loc["lung_mass"]
    assert row["verdict"] == "not learned"
    other = tables.labels.set_index("label").loc["lung_consolidation"]
    assert other["verdict"] == "cannot be told"
    assert "do not differ from scan to scan" in other["words"]


def test_the_map_lights_up_where_the_lesion_was_put(lung_user):
    tables = audit_tables(lung_user, LABELS)
    rows = tables.sensitivity.query("label == 'lung_mass' and inserted == 'mass'")
    assert rows["scans"].sum() == 10
    weighted = rows.assign(n=rows["scans"])
    assert np.average(weighted["peak_hits"], weights=weighted["n"]) > 0.9
    assert np.average(weighted["lit_there"], weights=weighted["n"]) > 0.7
    assert np.average(weighted["rises"], weights=weighted["n"]) == 1.0
    assert set(rows["place"]) <= {f"{s}_{t}" for s in ("right", "left") for t in ("upper", "middle", "lower")}
    assert rows["wanted"].all()


def test_correlations_find_the_metal(people, metal_user):
    tables = audit_tables(metal_user, LABELS, people[1])
    own = tables.correlations.query("label == 'lung_mass'").set_index("trait")
    assert own.loc["metal_ml", "correlation"] > 0.8
    assert own.loc["metal_ml", "among"] == "all scans"  # five scans without a mass are too few
    assert own["correlation"].abs().idxmax() == "metal_ml"
    assert "metal, in or on the body" in tables.labels.iloc[0]["correlates_with"]
    assert "slice_mm" not in own.index  # the same in all scans


def test_parts_are_the_whole_scan_and_painting_over_leaves_the_rest(people):
    scan, organs = people[0][0]
    parts = parts_of(scan, organs)
    assert set(np.unique(parts.array)) == {0, 1, 2, 3, 4}
    assert np.array_equal(np.where(parts.array < BODY, parts.array, 0), organs.array)
    assert parts.array[0, 0, 0] == OUTSIDE
    fills = medians_of(scan, parts)
    assert fills[OUTSIDE] < -950
    assert -950 < fills[1] < -600
    assert -100 < fills[3] < 80  # fat and blood
    painted = paint_over(scan, parts, (1, 2), fills)
    lungs = (parts.array == 1) | (parts.array == 2)
    assert np.array_equal(painted.array[~lungs], scan.array[~lungs])
    assert len(np.unique(painted.array[lungs])) <= 2


def test_traits_are_those_of_the_phantom(people):
    scan, organs = people[0][0]
    found = traits_of(scan, parts_of(scan, organs))
    voxel = np.prod(scan.spacing) / 1000
    assert found["right_lung_ml"] == pytest.approx((organs.array == 1).sum() * voxel)
    assert found["slice_mm"] == pytest.approx(8.0)
    assert found["field_of_view_mm"] == pytest.approx(390.0)
    assert 250 < found["body_width_mm"] < 390
    assert 5 < found["wall_mm"] < 60
    tokens = [traits_of(s, parts_of(s, o))["metal_ml"] > 0 for s, o in people[0]]
    assert tokens == [bool(row[0]) for row in people[1]]


def rows(label, **changes):
    """Changes of one label by what was put in, in four scans without it."""
    found = []
    for name, values in changes.items():
        for value in values:
            kind = KINDS[name]
            found.append((label, name, kind.group, label in kind.labels, False, value))
    return pd.DataFrame(found, columns=["label", "inserted", "group", "wanted", "present", "change"])


LEAKS = {"full": (0.9, 0.8, 1.0), "only": (0.7, 0.6, 0.8), "without": (0.75, 0.6, 0.85)}
AREAS = {"full": (0.9, 0.8, 1.0), "only": (0.88, 0.8, 0.95), "without": (0.52, 0.4, 0.65)}


@pytest.mark.parametrize(
    ("changes", "areas", "verdict"),
    [
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.01, -0.01, 0.0]}, AREAS, "uses the organ"),
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.2, 0.21, 0.19]}, LEAKS, "mixed"),
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.2, 0.21, 0.19]}, AREAS, "uses the organ"),  # not at work here
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.5, 0.51, 0.49]}, LEAKS, "shortcut: token"),
        ({"nodule": [1.0, 1.1, 0.9], "token": [-0.5, -0.51, -0.49]}, LEAKS, "shortcut: token"),
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.5, 0.51, 0.49]}, AREAS, "mixed"),  # not at work in these scans
        ({"nodule": [1.0, 1.1, 0.9], "token": [2.0, -1.0, 0.5]}, AREAS, "uses the organ"),  # no certain change
        ({"nodule": [1.0, 1.1, 0.9], "token": [0.9]}, AREAS, "uses the organ"),  # one scan is no proof
        ({"nodule": [-0.1, -0.2, -0.1], "token": [0.0, 0.0, 0.01]}, AREAS, "mixed"),
        ({"token": [0.0] * 3}, {**AREAS, "without": (0.95, 0.9, 1.0)}, "shortcut: what lies outside its organs"),
        ({"token": [0.0] * 3}, {**AREAS, "without": (0.8, 0.75, 0.9)}, "mixed"),
        ({"token": [0.5, 0.51, 0.49]}, {**AREAS, "full": (0.6, 0.4, 0.7)}, "not learned"),
        ({}, dict.fromkeys(AREAS, NONE), "cannot be told"),
        ({"token": [0.0, 0.01, 0.0]}, dict.fromkeys(AREAS, NONE), "no shortcut found"),
        ({"nodule": [0.9, 1.0], "token": [0.0, 0.01, 0.0]}, dict.fromkeys(AREAS, NONE), "uses the organ"),
        ({"token": [0.0] * 3, "noise": [0.6, 0.61, 0.62]}, dict.fromkeys(AREAS, NONE), "shortcut: noise"),
    ],
)
def test_verdicts_by_hand(changes, areas, verdict):
    found = judge("lung_nodule", 1.0, rows("lung_nodule", **changes), areas)
    assert found.verdict == verdict, found.words
    assert found.words.startswith("lung_nodule: ")


def test_the_outline_that_stays_is_no_proof_against_a_model():
    """An enlarged heart is told from its outline when the heart is painted over; metal on the skin is not."""
    areas = {**AREAS, "without": (0.95, 0.9, 1.0)}
    changes = rows("lung_nodule", token=[0.0] * 3)
    found = judge("lung_nodule", 1.0, changes, areas, outline=0.9)
    assert found.verdict == "uses the organ"
    assert "volume of its organs alone tells it too (0.90)" in found.words
    assert judge("lung_nodule", 1.0, changes, areas, outline=0.6).verdict.startswith("shortcut")
    moved = rows("lung_nodule", token=[0.5, 0.51, 0.5])
    assert judge("lung_nodule", 1.0, moved, areas, outline=0.9).verdict == "mixed"
    assert judge("lung_nodule", 1.0, moved, {**areas, "only": (0.7, 0.6, 0.8)}, 0.9).verdict == "shortcut: token"


def test_too_few_scans_of_a_class_are_said():
    found = judge("lung_nodule", 1.0, rows("lung_nodule", token=[0.9] * 3), dict.fromkeys(AREAS, NONE), few=True)
    assert (found.verdict, found.words) == ("cannot be told", "lung_nodule: too few scans with it, or without it.")


def test_what_is_there_already_is_no_measure_of_a_confounder():
    """Blur changes the nodules that are there; scans without one do not change."""
    table = rows("lung_nodule", blur=[-0.8, -0.9, -0.8, 0.0, 0.01, -0.01])
    table["change"] *= -1  # or makes them appear
    table["present"] = [True] * 3 + [False] * 3
    assert judge("lung_nodule", 1.0, table, LEAKS).verdict == "uses the organ"
    table["present"] = False
    assert judge("lung_nodule", 1.0, table[:3], LEAKS).verdict == "shortcut: blur"
    table["change"] *= -1
    assert judge("lung_nodule", 1.0, table[:3], LEAKS).verdict == "uses the organ"


def test_separation_by_labels_by_lesions_or_by_spread():
    full, present = np.array([2.0, 3.0, 0.0, 1.0]), np.array([True, True, False, False])
    assert separation_of(full, present, np.array([9.0])) == (2.0, "scans with and without it")
    assert separation_of(full, None, np.array([3.0, 5.0])) == (4.0, "what a lesion put in does")
    # a lesion that does less than scans differ by anyway is no measure: shares of it would be huge
    assert separation_of(full, None, np.array([0.1])) == (
        pytest.approx(2 * full.std()),
        "twice the spread of the scores",
    )
    assert separation_of(full, None, np.array([-1.0]))[0] == pytest.approx(2 * full.std())
    assert np.isnan(separation_of(np.zeros(3), None, np.empty(0))[0])


def test_labels_know_their_organs():
    assert allowed_parts("lung_mass") == (1, 2)
    assert allowed_parts("own label") == (1, 2, 3)
