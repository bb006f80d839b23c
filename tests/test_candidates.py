"""Which trainings a workflow asks for, and who of them is chosen."""

from __future__ import annotations

import pytest

from organcam.candidates import Candidate, all_candidates, best_candidate
from organcam.errors import ConfigError
from organcam.workflow_file import load_workflow

NAN = float("nan")


def candidates(*overrides):
    return list(all_candidates(load_workflow("phantom", overrides)))


def test_every_model_is_tried_with_every_combination():
    found = candidates("search.weight_decay=[0.001, 0.03]", "search.augment=[false, true]")
    by_model = {}
    for candidate in found:
        by_model.setdefault((candidate.model, candidate.weight), []).append(candidate.tried)
    both = [(("weight_decay", decay), ("augment", augment)) for decay in (0.001, 0.03) for augment in (False, True)]
    assert len(by_model) >= 2
    assert all(tried == both for tried in by_model.values())
    assert len({candidate.id for candidate in found}) == len(found)


def test_what_is_tried_lies_over_the_models_own_settings():
    overrides = ["search.weight_decay=[0.03]", "train.weight_decay=0.5", "models.masked.train.epochs=3"]
    workflow = load_workflow("phantom", overrides)
    training = Candidate("masked", 1.0, (("weight_decay", 0.03),)).training(workflow)
    assert (training.weight_decay, training.epochs) == (0.03, 3)


def test_without_a_search_files_are_called_as_before():
    assert Candidate("baseline", None).id == "baseline"
    assert Candidate("masked", 30.0).id == "masked-weight-30"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("search.weight_decay=[]", "search: name at least one value of weight_decay"),
        ("search.weight_decai=[1]", "did you mean 'weight_decay'"),
        ("search.device=[cpu]", "'device' is no setting of train that decides what is learned"),
        ("search.weight_decay=[-1]", "search.weight_decay: .* greater than or equal to 0"),
        ("search.weight_decay=[0.1, 0.1]", "0.1 is listed twice"),
        ("search.weight_decay=[0.1]", "models.masked.train.weight_decay: search.weight_decay tries it"),
    ],
)
def test_a_search_that_cannot_be_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        load_workflow("phantom", [setting, "models.masked.train.weight_decay=0.2"])


@pytest.mark.parametrize(
    ("judged", "chosen"),
    [
        ([(0.90, 0.5), (0.89, 0.8), (0.87, 0.99)], 1),  # within .02 of the best the highest OrganIoU
        ([(0.90, 0.5), (0.90, 0.5)], 0),  # the first of equals
        ([(NAN, 0.9), (0.6, 0.1)], 1),  # an AUROC that is not defined is the worst
        ([(0.9, NAN), (0.9, 0.2)], 1),
        ([(NAN, NAN), (NAN, 0.3)], 1),
    ],
)
def test_choice_by_hand(judged, chosen):
    assert best_candidate([{"auroc_median": area, "organ_iou": overlap} for area, overlap in judged]) == chosen
