"""OrganIoU: hand-computed maps, an independent numpy implementation, properties, and the published code's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor

from organcam.metrics import (
    THRESHOLDS,
    OrganIoU,
    fill_thresholds,
    find_thresholds,
    normalise_map,
    organ_counts,
    organ_iou,
    organ_iou_curve,
    summarise_scores,
)

# ---------------------------------------------------------------- by hand


def test_map_is_clipped_shifted_and_scaled_per_label():
    maps = torch.tensor([[[-3.0, 0.0, 1.0, 4.0], [2.0, 3.0, 4.0, 6.0]]])
    assert normalise_map(maps).tolist() == [[[0.0, 0.0, 0.25, 1.0], [0.0, 0.25, 0.5, 1.0]]]


@pytest.mark.parametrize("value", [0.0, -2.0, 2.0])
def test_map_without_contrast_becomes_zero(value):
    assert normalise_map(torch.full((1, 1, 2, 3), value)).count_nonzero() == 0


def test_half_of_the_lit_cells_allowed_scores_a_half():
    attention = torch.tensor([[[[9.0, 8.0], [0.0, -4.0]]]])
    allowed = torch.tensor([[[[1, 0], [1, 1]]]])
    assert organ_iou(attention, allowed, 0.5).item() == 0.5


def test_perfectly_confined_map_scores_one_and_zero_in_the_published_rule():
    attention, allowed = torch.tensor([[[4.0, 3.0, 0.0]]]), torch.tensor([[[1, 1, 0]]])
    assert organ_iou(attention, allowed, 0.5).item() == 1.0
    assert organ_iou(attention, allowed, 0.5, fidelity="reference").item() == 0.0


def test_everything_allowed_scores_one():
    assert organ_iou(torch.rand(1, 1, 5), torch.ones(1, 1, 5), 0.2).item() == 1.0


@pytest.mark.parametrize("fidelity", ["default", "reference"])
def test_empty_map_and_forbidden_map_score_zero(fidelity):
    attention = torch.stack([-torch.ones(4), torch.arange(4.0)])[None]
    assert organ_iou(attention, torch.zeros(1, 2, 4), 0.5, fidelity).tolist() == [[0.0, 0.0]]
    assert organ_iou(-torch.ones(1, 1, 4), torch.ones(1, 1, 4), 0.5, fidelity).item() == 0.0


def test_cell_at_the_threshold_is_not_lit():
    attention, allowed = torch.tensor([[[0.0, 1.0, 2.0, 4.0]]]), torch.tensor([[[1, 0, 1, 1]]])
    assert organ_iou(attention, allowed, 0.25).item() == 1.0  # 1/4 is not strictly greater
    assert organ_iou(attention, allowed, 0.24).item() == pytest.approx(2 / 3)


def test_each_label_has_its_own_threshold():
    attention = torch.tensor([[[0.0, 2.0, 4.0], [0.0, 2.0, 4.0]]])
    allowed = torch.tensor([[[1, 0, 1], [1, 0, 1]]])
    assert organ_iou(attention, allowed, [0.1, 0.9]).tolist() == [[0.5, 1.0]]


def test_published_thresholds():
    assert len(THRESHOLDS) == 53
    assert THRESHOLDS[:6] == (0.004, 0.008, 0.012, 0.016, 0.02, 0.04)
    assert THRESHOLDS[-1] == 0.98
    assert list(THRESHOLDS) == sorted(THRESHOLDS)


def test_best_threshold_ties_keep_the_smallest_and_absent_labels_have_none():
    curves = torch.tensor([[[0.2, 0.8, 0.8], [0.9, 0.1, 0.1], [0.5, 0.5, 0.5]]])
    found = find_thresholds(curves, torch.tensor([[1, 1, 0]]), thresholds=(0.1, 0.2, 0.3))
    np.testing.assert_array_equal(found, [0.2, 0.1, np.nan])


def test_absent_scans_do_not_move_the_threshold():
    curves = np.array([[[0.1, 0.2]], [[1.0, 0.0]]])
    assert find_thresholds(curves, np.array([[1], [0]]), thresholds=(0.3, 0.6)).tolist() == [0.6]


def test_missing_threshold_gets_the_median_of_the_others():
    assert fill_thresholds([0.1, np.nan, 0.3, 0.8]).tolist() == [0.1, 0.3, 0.3, 0.8]
    assert fill_thresholds([np.nan, np.nan], default=0.4).tolist() == [0.4, 0.4]


def test_summary_pools_pairs_and_divides_by_n():
    scores = np.array([[1.0, np.nan, 0.5], [0.0, 0.25, np.nan], [np.nan, np.nan, np.nan]])
    names = ["heart_cardiomegaly", "lung_nodule", "own_label"]
    table = summarise_scores(scores, names).set_index(["by", "name"])
    assert table.loc[("overall", "overall"), ["mean", "count"]].tolist() == [0.4375, 4]
    assert table.loc[("group", "heart"), ["mean", "std", "count"]].tolist() == [0.5, 0.5, 2]
    assert table.loc[("group", "lung"), ["mean", "std", "count"]].tolist() == [0.25, 0.0, 1]
    assert table.loc[("group", "great_vessel"), "count"] == 0
    assert np.isnan(table.loc[("group", "great_vessel"), "mean"])
    assert table.loc[("label", "own_label"), "mean"] == 0.5
    assert table.loc[("labels_per_scan", "2"), ["mean", "count"]].tolist() == [0.4375, 4]


# ---------------------------------------------------------------- the MONAI class


def test_metric_pools_present_pairs_over_batches():
    metric = OrganIoU(threshold=0.5)
    attention = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.9, 0.0]]])
    metric(attention, torch.tensor([[[1, 0, 0], [1, 0, 0]]]), labels=torch.tensor([[1, 0]]))
    scores = metric(attention, torch.tensor([[[0, 1, 0], [1, 0, 0]]]), labels=torch.tensor([[1, 1]]))
    assert scores.tolist() == [[0.0, 0.5]]
    assert metric.aggregate().item() == pytest.approx((1 + 0 + 0.5) / 3)
    per_label = metric.aggregate("mean_batch")
    assert per_label.tolist() == [0.5, 0.5]
    metric.reset()
    with pytest.raises(ValueError, match="nothing to aggregate"):
        metric.aggregate()


def test_metric_takes_lists_of_scans_with_different_grids():
    metric = OrganIoU(threshold=0.5, get_not_nans=True)
    maps = [torch.tensor([[1.0, 0.9, 0.0]]), torch.tensor([[1.0, 0.0]])]
    metric(maps, [torch.tensor([[1, 0, 0]]), torch.tensor([[1, 0]])], labels=[torch.tensor([1]), torch.tensor([1])])
    value, pairs = metric.aggregate()
    assert (value.item(), pairs.item()) == (0.75, 2)


def test_without_labels_a_label_with_an_allowed_cell_is_present():
    metric = OrganIoU(threshold=0.5)
    scores = metric(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), torch.tensor([[[1, 0], [0, 0]]]))
    assert scores[0, 0] == 1.0
    assert scores[0, 1].isnan()


def test_metric_leaves_undefined_labels_undefined():
    metric = OrganIoU(threshold=0.5)
    metric(torch.rand(2, 2, 4), torch.ones(2, 2, 4), labels=torch.tensor([[1, 0], [1, 0]]))
    assert metric.aggregate("mean_batch").isnan().tolist() == [False, True]
    metric.reset()
    metric(torch.rand(1, 2, 4), torch.ones(1, 2, 4), labels=torch.zeros(1, 2))
    assert metric.aggregate().isnan()


def test_metadata_does_not_travel_into_the_scores():
    scores = OrganIoU()(MetaTensor(torch.rand(1, 2, 3)), MetaTensor(torch.ones(1, 2, 3)), labels=torch.ones(1, 2))
    assert type(scores) is torch.Tensor


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"allowed": torch.ones(1, 2, 3)}, "same shape"),
        ({"allowed": torch.full((1, 2, 4), 0.5)}, "0 and 1 only"),
        ({"threshold": 1.0}, r"\[0, 1\)"),
        ({"threshold": [0.1, 0.2, 0.3]}, r"one per label \(2\)"),
        ({"threshold": [0.1, float("nan")]}, r"labels \[1\].*fill_thresholds"),
        ({"fidelity": "referenc"}, "did you mean 'reference'"),
        ({"attention": torch.tensor([[[0.0, 1, 2, 3], [0, 1, 2, torch.nan]]])}, "scan 0 of the batch, label 1"),
    ],
)
def test_bad_argument_says_what_is_wrong(arguments, words):
    good = {"attention": torch.rand(1, 2, 4), "allowed": torch.ones(1, 2, 4), "threshold": 0.5}
    with pytest.raises(ValueError, match=words):
        organ_iou(**{**good, **arguments})


def test_unsorted_thresholds_and_foreign_curves_are_refused():
    with pytest.raises(ValueError, match="ascending"):
        organ_iou_curve(torch.rand(1, 1, 4), torch.ones(1, 1, 4), thresholds=(0.5, 0.2))
    with pytest.raises(ValueError, match="belong together"):
        find_thresholds(np.zeros((2, 3, 53)), np.zeros((2, 4)))


def test_metric_without_regions_or_with_wrong_labels_is_refused():
    with pytest.raises(ValueError, match="allowed regions"):
        OrganIoU()(torch.rand(1, 1, 4))
    with pytest.raises(ValueError, match=r"labels must be \[B, M\]"):
        OrganIoU()(torch.rand(1, 2, 4), torch.ones(1, 2, 4), labels=torch.ones(1, 3))


# ---------------------------------------------------------------- independent implementation and properties


def slow_organ_iou(attention: np.ndarray, allowed: np.ndarray, threshold: float, fidelity: str) -> float:
    """One map, cell by cell."""
    clipped = np.maximum(attention, 0).astype(np.float32)
    clipped = clipped - clipped.min()
    if clipped.max() > 0:
        clipped = clipped / clipped.max()
    inside = outside = 0
    for value, permitted in zip(clipped.ravel(), allowed.ravel(), strict=True):
        if value > np.float32(threshold):
            inside, outside = inside + int(permitted), outside + 1 - int(permitted)
    if inside + outside == 0 or (fidelity == "reference" and outside == 0):
        return 0.0
    return inside / (inside + outside)


maps_and_regions = st.tuples(
    hnp.arrays(np.float32, (2, 3, 2, 2, 3), elements=st.floats(-4, 4, width=16)),
    hnp.arrays(np.bool_, (2, 3, 2, 2, 3)),
)


@settings(max_examples=40, deadline=None)
@given(maps_and_regions, st.sampled_from(["default", "reference"]))
def test_curve_and_single_threshold_equal_the_cell_by_cell_count(case, fidelity):
    attention, allowed = case
    thresholds = (0.0, 0.25, 0.5, 0.75)
    curve = organ_iou_curve(torch.tensor(attention), torch.tensor(allowed), thresholds, fidelity)
    for index, threshold in enumerate(thresholds):
        single = organ_iou(torch.tensor(attention), torch.tensor(allowed), threshold, fidelity)
        torch.testing.assert_close(curve[..., index], single)
        for scan, label in np.ndindex(2, 3):
            expected = slow_organ_iou(attention[scan, label], allowed[scan, label], threshold, fidelity)
            assert single[scan, label].item() == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(maps_and_regions)
def test_normalising_lies_in_the_unit_interval_and_is_idempotent(case):
    once = normalise_map(torch.tensor(case[0]))
    assert ((once >= 0) & (once <= 1)).all()
    torch.testing.assert_close(normalise_map(once), once, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(maps_and_regions, st.sampled_from([0.25, 2.0, 1024.0]))
def test_scale_of_the_map_does_not_matter(case, factor):
    attention, allowed = torch.tensor(case[0]), torch.tensor(case[1])
    torch.testing.assert_close(organ_iou_curve(attention * factor, allowed), organ_iou_curve(attention, allowed))


@settings(max_examples=40, deadline=None)
@given(maps_and_regions)
def test_allowing_more_never_lowers_the_score(case):
    attention, allowed = torch.tensor(case[0]), torch.tensor(case[1])
    wider = allowed | (torch.arange(allowed.numel()).view(allowed.shape) % 3 == 0)
    assert (organ_iou_curve(attention, wider) >= organ_iou_curve(attention, allowed)).all()


@settings(max_examples=40, deadline=None)
@given(maps_and_regions)
def test_region_and_its_complement_share_the_lit_cells(case):
    attention, allowed = torch.tensor(case[0]), torch.tensor(case[1])
    inside, outside = organ_counts(attention, allowed)
    swapped = organ_counts(attention, ~allowed)
    assert torch.equal(inside, swapped[1])
    assert torch.equal(outside, swapped[0])
    assert ((inside + outside).diff(dim=-1) <= 0).all()


# ---------------------------------------------------------------- the published code's own numbers


@pytest.fixture(scope="module")
def oracle(shared_spec: Path) -> dict:
    return json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))


def sine(tag: int, shape: tuple[int, ...], amp: float = 1.0, off: float = 0.0) -> np.ndarray:
    flat = np.arange(np.prod(shape), dtype=np.float64)
    return (off + amp * np.sin(0.7 * flat + 1.3 * tag)).astype(np.float32).reshape(shape)


def oracle_pair(pair: dict, tag: int, off: float, *, validation: bool) -> tuple[np.ndarray, np.ndarray]:
    scan, label, kind = pair["scan"], pair["label"], pair["kind"]
    z, y, x = np.meshgrid(np.arange(135), np.arange(6), np.arange(6), indexing="ij")
    allowed = (z // (7 + scan) + 2 * y + (3 + label) * x + label) % 5 < 2
    if kind.endswith("G empty"):
        allowed = np.zeros_like(allowed)
    elif kind.endswith("G all ones"):
        allowed = np.ones_like(allowed)
    attention = sine(tag + 10 * scan + label, (135, 6, 6), off=off)
    if validation:
        if kind.startswith("perfect"):
            attention = attention * allowed.astype(np.float32)
        elif kind.startswith("empty"):
            attention = np.full_like(attention, -1)
        elif kind.startswith("steps"):
            attention = (((5 * z + 3 * y + 2 * x) % 51) / 50).astype(np.float32)
        elif "0.25+0.75" in kind:
            attention = attention * (0.25 + 0.75 * allowed).astype(np.float32)
    return attention, allowed


def oracle_batch(
    entry: dict, tag: int, off: float, *, validation: bool
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    attention = np.zeros((6, 4, 135, 6, 6), np.float32)
    allowed = np.zeros((6, 4, 135, 6, 6), bool)
    labels = np.zeros((6, 4), int)
    for pair in entry["pairs"]:
        place = pair["scan"], pair["label"]
        attention[place], allowed[place] = oracle_pair(pair, tag, off, validation=validation)
        labels[place] = 1
    return torch.tensor(attention), torch.tensor(allowed), labels


def assert_same_summary(table, expected: dict) -> None:
    kinds = {"ConceptGroups": "group", "LabelsPerImage": "labels_per_scan", "DiseaseLabel": "label"}
    rows = table.set_index(["by", "name"])
    for kind, groups in expected.items():
        for name, values in groups.items():
            key = ("overall", name) if name == "overall" else (kinds[kind], name.removeprefix("LabelsPerImage"))
            found = rows.loc[key, ["mean", "std", "count"]].astype(float).to_numpy()
            np.testing.assert_allclose(found, [float(v) for v in values], atol=1e-8, err_msg=str(key))


def test_published_normalisation(oracle):
    entry = oracle["5_attention"]["clip_and_norm"]
    for name, off in (("mixed", 0.2), ("all_negative", -2.0), ("all_positive", 3.0)):
        mine = normalise_map(torch.tensor(sine(5001, (1, 1, 3, 6, 6), off=off))).numpy().ravel()
        expected = entry[name].get("values", np.zeros(108))
        np.testing.assert_allclose(mine, expected, atol=1e-7, err_msg=name)


def test_published_counts_and_scores(oracle):
    entry = oracle["6_organ_iou"]
    np.testing.assert_allclose(entry["thresholds"], THRESHOLDS)
    attention, allowed, labels = oracle_batch(entry, 6000, 0.3, validation=True)
    inside, outside = organ_counts(attention, allowed)
    curves = organ_iou_curve(attention, allowed, fidelity="reference")
    for pair in entry["pairs"]:
        place = pair["scan"], pair["label"]
        assert int(allowed[place].sum()) == pair["G_ones"]
        assert inside[place].tolist() == pair["allowed"]
        assert outside[place].tolist() == pair["forbidden"]
        np.testing.assert_allclose(curves[place], pair["iou"], atol=1e-8)
    for position, name in enumerate(entry["labels"]):
        scores = curves[labels[:, position] == 1, position].numpy()
        np.testing.assert_allclose(scores.mean(0), entry["mean_iou_by_threshold"][name], atol=1e-8)
        np.testing.assert_allclose(scores.std(0), entry["std_iou_by_threshold"][name], atol=1e-8)


def test_published_best_thresholds_and_summaries(oracle):
    entry = oracle["6_organ_iou"]
    names = entry["labels"]
    attention, allowed, labels = oracle_batch(entry, 6000, 0.3, validation=True)
    best = find_thresholds(organ_iou_curve(attention, allowed, fidelity="reference"), labels)
    assert dict(zip(names, best.tolist(), strict=True)) == entry["best_threshold"]
    scores = organ_iou(attention, allowed, torch.tensor(best), fidelity="reference").numpy()
    assert_same_summary(
        summarise_scores(np.where(labels == 1, scores, np.nan), names), entry["summary_valid_mean_std_count"]
    )

    attention, allowed, labels = oracle_batch(entry, 7000, 0.1, validation=False)
    metric = OrganIoU(threshold=torch.tensor(best), fidelity="reference")
    scores = metric(attention, allowed, labels=torch.tensor(labels)).numpy()
    in_order = [scores[pair["scan"], pair["label"]] for pair in entry["pairs"]]
    np.testing.assert_allclose(in_order, entry["test_stage"]["iou"], atol=1e-8)
    assert_same_summary(summarise_scores(scores, names), entry["test_stage"]["summary_mean_std_count"])
    overall = entry["test_stage"]["summary_mean_std_count"]["ConceptGroups"]["overall"][0]
    assert metric.aggregate().item() == pytest.approx(overall, abs=1e-8)
