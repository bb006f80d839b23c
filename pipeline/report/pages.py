"""Filling the templates. Everything that is put into a page is escaped; a page needs no network and no script."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["SCAN_PAGE_MARK", "index_page", "scan_page"]

SCAN_PAGE_MARK = '<meta name="generator" content="organcam scan page">'
"""Tells a page of ours from other files in the report folder."""


def index_page(context: Mapping[str, Any]) -> str:
    """The page of a run, from `index_context`."""
    return _environment().get_template("index.html").render(context)


def scan_page(context: Mapping[str, Any]) -> str:
    """The page of a scan, from `scan_context` and its place in the run (``name, split``)."""
    return _environment().get_template("scan.html").render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("organcam.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fixed"] = fixed
    environment.filters["significant"] = significant
    environment.filters["signed"] = signed
    environment.filters["words"] = lambda text: str(text).replace("_", " ")
    return environment


def significant(value: float | None) -> str:
    """A number with three significant digits, for what may be of any size; a dash for what was not measured."""
    return "\u2013" if value is None or not math.isfinite(value) else f"{value:.3g}"


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, a true minus for one below 0."""
    return f"{value:+.{digits}f}".replace("-", "\u2212")


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return "\u2013"
    return f"{value:.{digits}f}"
