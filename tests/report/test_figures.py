"""Charts: the same bytes again, honest about gaps, and no text that could be read as markup."""

from __future__ import annotations

import re

import pytest

from organcam.report.figures import BarPanel, LinePanel, bar_chart, line_chart


def test_same_numbers_same_bytes() -> None:
    panel = BarPanel("median", {"test": [0.9, 0.8], "shifted": [0.7, None]})
    assert bar_chart([panel], ["a", "b"], "AUROC", (0, 1)) == bar_chart([panel], ["a", "b"], "AUROC", (0, 1))
    curves = LinePanel("a", {"train": ([1, 2], [0.5, 0.4])}, "loss")
    assert line_chart([curves], "epoch") == line_chart([curves], "epoch")


def test_chart_says_nothing_of_time_and_loads_nothing() -> None:
    text = bar_chart([BarPanel("x", {"s": [1.0]})], ["a"], "y").decode()
    assert "<dc:date>" not in text
    assert "<script" not in text
    assert not re.search(r'(?:href|src)="(?!#)', text)


def test_missing_value_has_no_bar() -> None:
    both = bar_chart([BarPanel("x", {"s": [0.5, 0.5]})], ["a", "b"], "y", (0, 1)).decode()
    one = bar_chart([BarPanel("x", {"s": [0.5, float("nan")]})], ["a", "b"], "y", (0, 1)).decode()
    assert both != one
    assert "nan" not in one.lower().replace("nance", "")


def test_dollar_signs_are_text_and_not_mathematics() -> None:
    assert b"<svg" in bar_chart([BarPanel("a$_b$c$", {"s$": [0.5]})], ["$x"], "y")


def test_wrong_number_of_values_is_refused() -> None:
    with pytest.raises(ValueError, match="series s has 1 values for 2 groups"):
        bar_chart([BarPanel("x", {"s": [1.0]})], ["a", "b"], "y")


def test_no_panel_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        bar_chart([], ["a"], "y")
    with pytest.raises(ValueError, match="at least one panel"):
        line_chart([], "epoch")
