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


def extents(svg: bytes, colour: str) -> list[tuple[float, float, float, float]]:
    """Left, right, top and bottom of every path that is filled or drawn in a colour, in the order of drawing."""
    found = []
    for shape, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg.decode()):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", shape)]
        if colour in style:
            found.append((min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])))
    return found


def test_bars_are_as_long_as_their_values_from_top_to_bottom() -> None:
    svg = bar_chart([BarPanel("x", {"first": [0.8, 0.2], "second": [0.4, 0.1]})], ["a", "b"], "y", (0, 1))
    bars = [*extents(svg, "fill: #0072b2")[:2], *extents(svg, "fill: url(")[:2]]  # hatched; the legend comes after them
    assert len({round(left, 3) for left, *_ in bars}) == 1
    lengths = [right - left for left, right, *_ in bars]
    assert [length / lengths[0] for length in lengths] == pytest.approx([1, 1 / 4, 1 / 2, 1 / 8], rel=1e-3)
    tops = [top for *_, top, _ in bars]
    assert sorted(tops) == [tops[0], tops[2], tops[1], tops[3]]  # a first, b second; a, b


def test_curves_go_through_their_values() -> None:
    """1, 3, 5 at the epochs 1, 2, 4, and a second curve, half as high, in the same panel."""
    svg = line_chart([LinePanel("x", {"all": ([1, 2, 4], [1, 3, 5]), "low": ([1, 4], [3, 1])})], "epoch")
    curve = re.search(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: #0072b2', svg.decode())
    assert curve is not None
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", curve[1])]
    x, y = numbers[::2], numbers[1::2]
    assert (x[1] - x[0]) * 2 == pytest.approx(x[2] - x[1], rel=1e-3)
    assert y[0] > y[1] > y[2]  # upwards on the page
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], rel=1e-3)
    left, right, top, bottom = extents(svg, "stroke: #e69f00")[0]
    assert (left, right) == pytest.approx((x[0], x[2]), abs=0.01)
    assert (bottom, top) == pytest.approx((y[0], y[1]), abs=0.01)


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
