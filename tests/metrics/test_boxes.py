"""Point localisation against boxes: by hand, in volumes, and the numbers of the published evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from organcam.metrics import (
    box_mask,
    boxes_of_xywh,
    localization_hits,
    mask_overlap,
    point_localization,
    pointing_accuracy,
)


def peak_at(place, shape):
    attention = torch.zeros(1, 1, *shape)
    attention[(0, 0, *place)] = 1
    return attention


NONE = torch.zeros(0, 2, 2)


def test_both_edges_of_a_box_count_as_inside():
    """Rows 3 to 8, columns 2 to 6, by the published rule; the cells next to these are outside."""
    box = [[torch.tensor([[[2.5, 6.0], [1.5, 5.0]]])]]
    inside = [place for place in np.ndindex(12, 12) if point_localization(peak_at(place, (12, 12)), box).item()]
    assert {place[0] for place in inside} == set(range(3, 9))
    assert {place[1] for place in inside} == set(range(2, 7))
    assert len(inside) == 6 * 5


def test_any_of_several_boxes_is_a_hit_and_labels_without_one_have_no_score():
    attention = torch.cat([peak_at((0, 3), (4, 4))] * 3, dim=1)
    far, near = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    found = point_localization(attention, [[torch.stack([far, near]), far[None], NONE]])
    assert found[0, :2].tolist() == [1.0, 0.0]
    assert found[0, 2].isnan()


def test_volumes_have_boxes_with_three_axes():
    box = torch.tensor([[[1.0, 1.0], [0.0, 4.0], [2.0, 0.0]]])
    assert point_localization(peak_at((2, 3, 2), (4, 5, 6)), [[box]]).item() == 1.0
    assert point_localization(peak_at((3, 3, 2), (4, 5, 6)), [[box]]).item() == 0.0


def test_boxes_and_masks_agree_on_whole_cells():
    torch.manual_seed(0)
    attention = torch.rand(5, 2, 6, 7, 8)
    box = torch.tensor([[[1.0, 2.0], [2.0, 3.0], [0.0, 5.0]]])
    mask = box_mask(torch.tensor([[[1.0, 3.0], [2.0, 4.0], [0.0, 6.0]]]), (6, 7, 8)).expand(5, 2, 6, 7, 8)
    assert torch.equal(point_localization(attention, [[box] * 2] * 5), pointing_accuracy(attention, mask))


def test_scale_does_not_matter_and_logits_below_zero_still_have_a_peak():
    attention = -peak_at((1, 1), (3, 3)) - 1
    boxes = [[torch.tensor([[[0.0, 0.0], [0.0, 0.0]]])]]
    assert point_localization(attention, boxes).item() == 1.0  # the first of the equal ones
    assert point_localization(7 * attention, boxes).item() == 1.0


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[NONE]], "for every item and label, 1 x 2, got"),
        ([[NONE, torch.zeros(1, 3, 2)]], r"boxes must be \[K, 2, 2\] \(start and size"),
        ([[NONE, torch.tensor([[[0.0, -1.0], [0.0, 1.0]]])]], "sizes of 0 or more"),
        ([[NONE, torch.tensor([[[0.0, float("nan")], [0.0, 1.0]]])]], "finite starts"),
    ],
)
def test_bad_boxes_say_what_is_wrong(boxes, words):
    with pytest.raises(ValueError, match=words):
        point_localization(torch.ones(1, 2, 3, 3), boxes)


@pytest.fixture(scope="module")
def oracle(shared_spec):
    return json.loads((shared_spec / "pylon_oracle.json").read_text(encoding="utf-8"))["metrics_numeric"]


def filled(shape, tag, amplitude):
    flat = np.arange(np.prod(shape), dtype=np.float64)
    return torch.tensor((amplitude * np.sin(0.7 * flat + 1.3 * tag)).reshape(shape).astype(np.float32))


def published_case(oracle):
    case = oracle["case_A"]
    maps = interpolate(filled((4, 2, 8, 8), 400, 3).sigmoid(), size=(32, 32), mode="bilinear", align_corners=False)
    boxes = [
        [boxes_of_xywh([box[:4] for box in row if box[4] == label] or torch.zeros(0, 4)) for label in (0, 1)]
        for row in case["boxes_xywhc"]
    ]
    return case, maps, boxes


def test_published_point_accuracy(oracle):
    case, maps, boxes = published_case(oracle)
    peaks = torch.stack(torch.unravel_index(maps.flatten(2).argmax(-1), (32, 32)), -1)
    assert peaks.tolist() == case["argmax_rowcol[img][cls]"]
    found = point_localization(maps, boxes)
    by_class = [found[:, label][~found[:, label].isnan()].tolist() for label in (0, 1)]
    assert by_class == case["point_acc_by_class"]


def test_published_overlaps_and_hits(oracle):
    case, maps, boxes = published_case(oracle)
    masks = torch.stack([torch.stack([box_mask(own, (32, 32)) for own in row]) for row in boxes])
    found = mask_overlap(maps, masks)
    for row in case["raw"]:
        place = row["img"], row["cls"]
        assert found.ior[place].item() == pytest.approx(row["iobb"], rel=1e-6)
        assert found.iou[place].item() == pytest.approx(row["iou"], rel=1e-6)
        assert masks[place].sum().item() == row["gt_area"]
    for key, by in (("iobb_or_iou", "ior or iou"), ("iobb_only", "ior")):
        for least, expected in case[key].items():
            hits = localization_hits(found, float(least), by)
            by_class = [hits[:, label][~hits[:, label].isnan()].tolist() for label in (0, 1)]
            assert by_class == expected, (key, least)


def test_published_ties_and_saturation(oracle):
    constant = torch.ones(1, 1, 4, 4)
    assert point_localization(constant, [[boxes_of_xywh([[0, 0, 1, 1]])]]).item() == 1.0
    assert point_localization(constant, [[boxes_of_xywh([[2, 2, 1, 1]])]]).item() == 0.0
    logits = torch.full((1, 1, 4, 4), -5.0)
    logits[0, 0, 3, 3], logits[0, 0, 0, 1] = 40.0, 30.0
    maps = interpolate(logits.sigmoid(), size=(16, 16), mode="bilinear", align_corners=False)
    row, column = oracle["sigmoid_saturation_tie"]["argmax_rowcol"]
    assert point_localization(maps, [[boxes_of_xywh([[column, row, 0, 0]])]]).item() == 1.0
