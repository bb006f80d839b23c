"""Where findings and impression of a report contradict each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .findings import Conflict, Finding

__all__ = ["find_conflicts"]

_THERE = frozenset(("present", "uncertain"))


def find_conflicts(findings: Sequence[Finding]) -> tuple[Conflict, ...]:
    """Abnormalities whose status or side differs between the two sections.

    A side conflict needs findings on one side only in each section; a status conflict needs one section that has the
    abnormality only as present and another that has it only as absent, at a common location.
    """
    sections = {finding.section for finding in findings}
    if not {"findings", "impression"} <= sections:
        return ()
    mentions: dict[str, dict[str, list[Finding]]] = defaultdict(lambda: {"findings": [], "impression": []})
    for finding in findings:
        if finding.abnormality and finding.section in ("findings", "impression"):
            mentions[finding.abnormality][finding.section].append(finding)
    conflicts = []
    for abnormality, by_section in mentions.items():
        first, second = by_section["findings"], by_section["impression"]
        if not first or not second:
            continue
        sides = [_sides(group) for group in (first, second)]
        if len(sides[0]) == len(sides[1]) == 1 and sides[0] != sides[1]:
            conflicts.append(Conflict(abnormality, "side", *(next(iter(s)) for s in sides)))
        states = [{f.status in _THERE for f in group if f.status in (*_THERE, "absent")} for group in (first, second)]
        shared = {f.location for f in first} & {f.location for f in second}
        if shared and len(states[0]) == len(states[1]) == 1 and states[0] != states[1]:
            conflicts.append(Conflict(abnormality, "status", *("present" if True in s else "absent" for s in states)))
    return tuple(conflicts)


def _sides(findings: Sequence[Finding]) -> frozenset[str]:
    there = [f.location for f in findings if f.status in _THERE]
    return frozenset(side for location in there for side in ("right", "left") if location.startswith(side))
