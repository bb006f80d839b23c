"""OrganIoU over the labels that every model has learned, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.evaluation import ModelScores, ScanFigures, evaluate_models, learned_labels

LABELS = ("a", "b", "c")
THRESHOLDS = {"hirescam": np.full(3, 0.5), "gradcam": np.full(3, 0.5)}

# a is told by both, b by the second alone, c has one class
PRESENT = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)
LOGITS = {
    "first": [[2, 0, 1], [1, 1, 1], [0, 0, 1], [-1, 1, 1]],
    "second": [[2, 2, 1], [1, 0, 1], [0, 1, 1], [-1, -1, 1]],
}
OVERLAP = {
    ("first", "gradcam"): [[0.2, 0.9, 0.9], [0.4, 0, 0.9], [0, 0.9, 0.9], [0, 0, 0.9]],
    ("first", "hirescam"): [[0.5, 0.1, 0.1], [0.7, 0, 0.1], [0, 0.1, 0.1], [0, 0, 0.1]],
    ("second", "gradcam"): [[0.6, 0.3, 0.3], [0.6, 0, 0.3], [0, 0.3, 0.3], [0, 0, 0.3]],
    ("second", "hirescam"): [[0.9, 0.2, 0.2], [0.9, 0, 0.2], [0, 0.2, 0.2], [0, 0, 0.2]],
}


def scores(model, methods=("gradcam", "hirescam")):
    found = ModelScores(LABELS)
    for split in ("valid", "test"):
        for row, present in enumerate(PRESENT):
            # validation scans are all alike, so that nothing of them can count as learned
            logits = LOGITS[model][row] if split == "test" else [0, 0, 0]
            overlap = {how: np.where(present, OVERLAP[model, how][row], np.nan) for how in methods}
            found.scans.append(ScanFigures(f"{split}{row}", split, present, np.array(logits, np.float32), overlap))
    return found


def evaluated(methods=("gradcam", "hirescam")):
    both = {model: scores(model, methods) for model in ("first", "second")}
    return both, evaluate_models(both, dict.fromkeys(both, THRESHOLDS))


def test_a_label_counts_where_every_model_tells_it_in_the_headline_split():
    both, found = evaluated()
    assert [found.models[model]["auroc"]["b"] for model in both] == [0.0, 1.0]
    assert found.learned == learned_labels(both, found.models) == ("a",)


def test_means_and_ratios_are_over_the_learned_labels():
    _, found = evaluated()
    first, second = found.models["first"], found.models["second"]
    assert first["organ_iou_learned"] == pytest.approx({"gradcam": 0.3, "hirescam": 0.6})
    assert second["organ_iou_learned"] == pytest.approx({"gradcam": 0.6, "hirescam": 0.9})
    assert first["organ_iou_ratio"] == pytest.approx({"gradcam": 1.0, "hirescam": 2.0})
    assert second["organ_iou_ratio"] == pytest.approx({"gradcam": 2.0, "hirescam": 3.0})
    assert second["organ_iou"]["hirescam"] == pytest.approx((0.9 * 2 + 0.2 * 2 + 0.2 * 4) / 8)  # over all labels


def test_without_gradcam_a_method_is_compared_with_itself():
    _, found = evaluated(("hirescam",))
    assert found.models["second"]["organ_iou_ratio"] == pytest.approx({"hirescam": 1.5})


def test_where_nothing_is_learned_the_figures_are_not_defined():
    both = {"first": scores("first")}
    for scan in both["first"].scans:
        scan.logits[:] = 0
    found = evaluate_models(both, {"first": THRESHOLDS})
    assert found.learned == ()
    assert np.isnan(found.models["first"]["organ_iou_learned"]["hirescam"])
    assert np.isnan(found.models["first"]["organ_iou_ratio"]["hirescam"])
