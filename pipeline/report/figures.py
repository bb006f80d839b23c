"""Charts: plain numbers to SVG, the same bytes for the same numbers.

Colours are Okabe and Ito's, which the colour-blind tell apart; bars differ in hatching too.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["BarPanel", "LinePanel", "bar_chart", "line_chart"]

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#555555")
HATCHES = ("", "//", "..", "xx", "\\\\", "++", "--")
STYLES = ("-", "--", ":", "-.")

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "organcam",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "hatch.linewidth": 0.5,
    "text.parse_math": False,
}


@dataclass(frozen=True)
class BarPanel:
    """Horizontal bars of several groups: series name -> one value a group, None where there is none."""

    title: str
    series: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class LinePanel:
    """Curves: name -> (x values, y values)."""

    title: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    y_label: str = ""


def bar_chart(
    panels: Sequence[BarPanel],
    groups: Sequence[str],
    label: str,
    limits: tuple[float, float] | None = None,
    form: str = ".3f",
) -> bytes:
    """Grouped horizontal bars, a panel beside the other, with the value at each bar.

    Args:
        panels: with the same groups and series.
        groups: names at the left, from top to bottom.
        label: of the value axis.
        limits: of the value axis; None to fit the values.
        form: how the values are written, a format specification.

    Returns:
        SVG file.

    Raises:
        ValueError: if there is no panel, or a series has another number of values than there are groups.
    """
    if not panels:
        msg = "a chart needs at least one panel"
        raise ValueError(msg)
    for panel in panels:
        for name, values in panel.series.items():
            if len(values) != len(groups):
                msg = f"{panel.title}: series {name} has {len(values)} values for {len(groups)} groups"
                raise ValueError(msg)
    names = list(panels[0].series)
    with mpl.rc_context(_STYLE):
        height = 0.9 + len(groups) * (0.24 * len(names) + 0.16)
        figure = Figure(figsize=(max(4.4, 2.4 + 2.3 * len(panels)), height), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _draw_bars(axis, panel, groups, limits, form)
            axis.set_xlabel(label)
        axes[0].set_yticks(range(len(groups)), groups)
        axes[0].invert_yaxis()
        if len(names) > 1:
            figure.legend(
                *axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=len(names), frameon=False
            )
        return _svg(figure)


def line_chart(panels: Sequence[LinePanel], x_label: str) -> bytes:
    """Curves over the same kind of x, a panel beside the other.

    Args:
        panels: each with its own curves and y axis.
        x_label: of every panel.

    Returns:
        SVG file.

    Raises:
        ValueError: if there is no panel.
    """
    if not panels:
        msg = "a chart needs at least one panel"
        raise ValueError(msg)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(4.4, 3.1 * len(panels)), 2.7), layout="constrained")
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for position, (name, (x, y)) in enumerate(panel.curves.items()):
                axis.plot(
                    x,
                    y,
                    STYLES[position % len(STYLES)],
                    color=PALETTE[position % len(PALETTE)],
                    marker="o" if len(x) < 3 else None,
                    label=name,
                )
            axis.set_title(panel.title, loc="left", fontsize=9)
            axis.set_xlabel(x_label)
            axis.set_ylabel(panel.y_label)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.legend(frameon=False, fontsize=8)
        return _svg(figure)


def _draw_bars(
    axis: Axes, panel: BarPanel, groups: Sequence[str], limits: tuple[float, float] | None, form: str
) -> None:
    thickness = 0.8 / len(panel.series)
    values = [value for series in panel.series.values() for value in _known(series) if value is not None]
    low, high = limits or (min([0.0, *values]), max([1e-9, *values]))
    for position, (name, series) in enumerate(panel.series.items()):
        places = [group - 0.4 + thickness * (position + 0.5) for group in range(len(groups))]
        axis.barh(
            places,
            [0.0 if value is None else value for value in _known(series)],
            height=thickness * 0.92,
            color=PALETTE[position % len(PALETTE)],
            hatch=HATCHES[position % len(HATCHES)],
            edgecolor="white",
            linewidth=0.3,
            label=name,
        )
        for place, value in zip(places, _known(series), strict=True):
            text = "not measured" if value is None else f"{value:{form}}"
            end = low if value is None else max(value, low)
            axis.text(end + 0.015 * (high - low), place, text, va="center", fontsize=8, color="#222222")
    axis.set_xlim(low, high + 0.22 * (high - low))  # room for the figures at the bars
    axis.set_xticks([tick for tick in axis.get_xticks() if low <= tick <= high + 1e-9])
    axis.spines["bottom"].set_bounds(low, high)
    axis.set_title(panel.title, loc="left", fontsize=9)
    axis.tick_params(axis="y", length=0)


def _known(series: Sequence[float | None]) -> list[float | None]:
    """NaN and infinities as None."""
    return [value if value is not None and math.isfinite(value) else None for value in series]


def _svg(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
