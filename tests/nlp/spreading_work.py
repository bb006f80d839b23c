"""What worker processes of the tests do with a batch; they import this module."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from organcam.nlp.reports.spreading import parse_batch


def parse_or_die(batch):
    """Parses, unless a report of the batch says POISON (always dies) or ONCE and a path (dies the first time)."""
    for report in batch.reports:
        if report == "POISON":
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(report, str) and report.startswith("ONCE "):
            mark = Path(report.removeprefix("ONCE "))
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
    return parse_batch(batch)
