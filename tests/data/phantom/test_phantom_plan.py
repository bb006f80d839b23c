"""Who gets what: prevalences, correlations by split, interventions, settings that are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.data.phantom import Confounder, PhantomSettings, plan_dataset
from organcam.errors import ConfigError

SMALL = {"train": 100, "valid": 40, "test": 60, "shifted": 100}


def agreement(specs, finding, kind):
    return sum((finding in s.findings) == (kind in s.confounders) for s in specs) / len(specs)


def split_of(specs, split):
    return [s for s in specs if s.split == split]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_confounder_goes_with_its_finding(split):
    specs = split_of(plan_dataset(PhantomSettings(scans=SMALL)), split)
    assert agreement(specs, "aortic_calcification", "body_wall_fat") == pytest.approx(0.95, abs=0.03)
    assert agreement(specs, "pleural_effusion", "metal_token") == pytest.approx(0.95, abs=0.03)


def test_shifted_split_has_no_relation_but_the_same_share():
    specs = plan_dataset(PhantomSettings(scans=SMALL))
    shifted = split_of(specs, "shifted")
    share = [
        sum("metal_token" in s.confounders for s in group) / len(group)
        for group in (
            [s for s in shifted if "pleural_effusion" in s.findings],
            [s for s in shifted if "pleural_effusion" not in s.findings],
            split_of(specs, "train"),
        )
    ]
    assert share[0] == pytest.approx(share[1], abs=0.03)
    assert share[0] == pytest.approx(share[2], abs=0.03)


def test_reversed_shift_turns_the_relation_round():
    chosen = PhantomSettings(scans=SMALL, confounders=[{"finding": "mass", "kind": "tube", "shifted": "reversed"}])
    specs = plan_dataset(chosen)
    assert agreement(split_of(specs, "test"), "mass", "tube") > 0.9
    assert agreement(split_of(specs, "shifted"), "mass", "tube") < 0.1


def test_prevalence_is_met_in_every_split():
    chosen = PhantomSettings(scans=SMALL, prevalence={"mass": 0.5, "cyst": 0.0})
    specs = plan_dataset(chosen)
    for split, count in SMALL.items():
        group = split_of(specs, split)
        assert len(group) == count
        assert sum("mass" in s.findings for s in group) == count / 2
        assert not any("cyst" in s.findings for s in group)


def test_tiny_splits_keep_both_classes():
    specs = plan_dataset(PhantomSettings(scans={"train": 3}, interventions=0))
    for finding in ("nodule", "pacemaker"):
        assert 0 < sum(finding in s.findings for s in specs) < 3


def test_base_scans_of_interventions_have_neither_finding_nor_confounder():
    specs = plan_dataset(PhantomSettings(scans={}, interventions=5))
    by_id = {s.scan_id: s for s in specs}
    assert len(specs) == 2 * 5 * 3
    for spec in specs:
        if not spec.inserted:
            assert spec.target not in spec.findings
            assert not spec.confounders
            continue
        base = by_id[spec.counterpart]
        gained = (set(spec.findings) | set(spec.confounders)) - set(base.findings)
        assert gained == ({spec.target} if spec.inserted == "lesion" else {"metal_token"} & gained or {"body_wall_fat"})
        assert set(base.findings) <= set(spec.findings)


@given(seed=st.integers(0, 10**9), counts=st.tuples(*[st.integers(0, 12)] * 4), interventions=st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_ids_are_unique_safe_and_repeatable(seed, counts, interventions):
    chosen = PhantomSettings(
        seed=seed,
        scans=dict(zip(("train", "valid", "test", "shifted"), counts, strict=True)),
        interventions=interventions,
    )
    specs = plan_dataset(chosen)
    assert specs == plan_dataset(chosen)
    ids = [s.scan_id for s in specs]
    assert len(set(ids)) == len(ids) == sum(counts) + 6 * interventions
    assert all(i.replace("-", "").isalnum() for i in ids)


def test_first_scans_do_not_depend_on_later_splits():
    few = plan_dataset(PhantomSettings(scans={"train": 10}))
    more = plan_dataset(PhantomSettings(scans={"train": 10, "test": 5}))
    assert few[:10] == more[:10]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sed": 1}, "did you mean 'seed'"),
        ({"prevalence": {"nodul": 0.1}}, "did you mean 'nodule'"),
        ({"prevalence": {"nodule": 1.5}}, "prevalence of nodule must lie in"),
        ({"scans": {"training": 4}}, "did you mean 'train'"),
        ({"shape": (24, 96)}, "three numbers"),
        ({"shape": (2, 96, 96)}, "at least 8 voxels"),
        ({"spacing_mm": (0, 1, 1)}, "spacing_mm must lie in"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"nodule_mm": (9, 3)}, "smallest first"),
        ({"arms_down": 2}, "arms_down must lie"),
        ({"confounders": [{"finding": "mass", "kind": "metal_tokn"}]}, "did you mean 'metal_token'"),
        ({"confounders": [{"finding": "mass", "kid": "tube"}]}, "did you mean 'kind'"),
        ({"confounders": [{"finding": "mass", "kind": "tube", "correlation": 0.2}]}, "correlation must lie"),
        ({"confounders": [{"finding": "mass", "kind": "tube"}, {"finding": "cyst", "kind": "tube"}]}, "used once"),
    ],
)
def test_wrong_settings_say_what_is_wrong(values, words):
    with pytest.raises(ConfigError, match=words):
        PhantomSettings.from_mapping(values)


def test_settings_from_plain_data():
    chosen = PhantomSettings.from_mapping({"shape": [24, 96, 96], "confounders": [{"finding": "mass", "kind": "tube"}]})
    assert chosen.shape == (24, 96, 96)
    assert chosen.confounders == (Confounder("mass", "tube"),)
    assert chosen.voxel_mm == pytest.approx((13.33, 4.06, 4.06), abs=0.01)
