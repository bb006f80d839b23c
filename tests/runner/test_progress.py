from __future__ import annotations

import io

import pytest
from rich.console import Console

from organcam.runner import SilentProgress, make_progress
from organcam.runner.progress import BarProgress, LineProgress


def test_lines_come_every_few_seconds_and_at_the_end():
    lines, times = [], iter([0, 1, 9, 10, 11, 30, 31])
    progress = LineProgress(lines.append, clock=lambda: next(times), every=10)
    for done in (0, 1, 2, 3, 4):
        progress.advance("segment", done, 5, int(done > 2))
    progress.advance("segment", 5, 5, 1)
    progress.advance("store", 0, 5, 0)
    assert lines == ["segment: 3 of 5, 1 failed", "segment: 5 of 5, 1 failed"]


def test_bar_leaves_one_line_a_stage():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80, color_system=None)
    with make_progress(console) as progress:
        assert isinstance(progress, BarProgress)
        for stage, failed in (("segment", 1), ("store", 0)):
            for done in range(3):
                progress.advance(stage, done, 2, failed)
    assert text.getvalue().count("segment: 2 of 2, 1 failed\n") == 1
    assert text.getvalue().count("store: 2 of 2\n") == 1


@pytest.mark.parametrize(("quiet", "kind"), [(True, SilentProgress), (False, LineProgress)])
def test_no_bar_in_a_file(quiet, kind):
    text = io.StringIO()
    with make_progress(Console(file=text), quiet=quiet) as progress:
        progress.advance("parse [1]", 2, 2, 0)
    assert isinstance(progress, kind)
    assert text.getvalue() == ("" if quiet else "parse [1]: 2 of 2\n")
