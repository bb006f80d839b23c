"""Sentences that depend on figures say what the figures say, and no more."""

from __future__ import annotations

import pandas as pd
import pytest

from organcam.report.wording import confounder_sentences, describe_mask_loss, shift_sentences, training_caution


def changes(**values: tuple[float, ...]) -> pd.DataFrame:
    """Confounder changes of each model, one a label."""
    rows = [
        {"model": model, "label": f"label{i}", "inserted": "confounder", "mean_absolute_change": change}
        for model, found in values.items()
        for i, change in enumerate(found)
    ]
    return pd.DataFrame(rows)


def test_reduces_where_every_label_moves_less() -> None:
    (sentence,) = confounder_sentences(changes(plain=(10.0, 4.0), masked=(2.5, 2.0)), ["plain", "masked"])
    assert sentence.startswith("masked reduces the use of the confounder")
    assert "0.25 to 0.50 times as much as in plain (2 of 2 labels)" in sentence
    assert "still moves a logit by 2.5 on average" in sentence


def test_part_and_none_are_told_apart() -> None:
    table = changes(plain=(10.0, 4.0), some=(2.5, 6.0), worse=(20.0, 4.0))
    some, worse = confounder_sentences(table, ["plain", "some", "worse"])
    assert "for 1 of 2 labels (0.25 times the change in plain) and not for the others" in some
    assert "1.50 times as much" in some
    assert worse.startswith("worse does not reduce the use of the confounder")
    assert "1.00 to 2.00" in worse


def test_a_hair_less_is_not_reduced() -> None:
    (sentence,) = confounder_sentences(changes(plain=(10.0,), masked=(9.7,)), ["plain", "masked"])
    assert sentence.startswith("masked does not reduce the use of the confounder")


def test_the_lesion_is_told_beside_the_confounder() -> None:
    table = changes(plain=(10.0,), masked=(1.0,))
    lesion = changes(plain=(8.0,), masked=(6.0,)).assign(inserted="lesion")
    (sentence,) = confounder_sentences(pd.concat([table, lesion]), ["plain", "masked"])
    assert "0.10 times as much as in plain" in sentence
    assert sentence.endswith("The lesion itself moves it 0.75 times as much.")


@pytest.mark.parametrize("masked", [(0.0, 0.0), (2.5, 2.0), (2.5, 6.0), (20.0, 8.0)])
def test_nothing_is_ever_removed(masked: tuple[float, float]) -> None:
    text = " ".join(confounder_sentences(changes(plain=(10.0, 4.0), masked=masked), ["plain", "masked"]))
    assert "remove" not in text.lower()
    assert "reduce" in text


def test_no_sentence_without_something_to_compare() -> None:
    assert confounder_sentences(changes(plain=(1.0,)), ["plain"]) == []
    assert confounder_sentences(changes(plain=(0.0,), masked=(1.0,)), ["plain", "masked"]) == []


def test_shift_needs_both_splits() -> None:
    models = {"a": {"test": 0.99, "shifted": 0.884}, "b": {"test": 0.9, "shifted": None}}
    assert shift_sentences(models) == ["Median AUROC from the test split to the shifted split: a 0.990 to 0.884."]
    assert shift_sentences({"b": models["b"]}) == []


def test_small_training_is_called_a_smoke_test() -> None:
    assert training_caution(300, {"a": 16}) == ""
    assert "trained on 2 scans" in training_caution(2, {"a": 16})
    assert "fewer than 3 epochs (b)" in training_caution(300, {"a": 16, "b": 1})
    assert "mean nothing" in training_caution(1, {"a": 1})


def test_mask_loss_in_words() -> None:
    settings = {"form": "absolute", "reduction": "balanced", "weight": [5.0, 10.0]}
    assert describe_mask_loss(None, None) == "class loss only"
    assert describe_mask_loss(settings, 10.0) == "mask loss: absolute, balanced, weight 10 (chosen on validation)"
    controlled = describe_mask_loss({**settings, "weight": 1, "control": "shuffled"}, None)
    assert controlled == "mask loss: absolute, balanced, shuffled masks, weight 1"
    assert describe_mask_loss({**settings, "weight": 1 / 3}, None) == "mask loss: absolute, balanced, weight 0.333"
