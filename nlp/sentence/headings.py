"""Headings made of findings: "Pleural effusion: None.", "Nodules: 6 mm in the right upper lobe."

Such a heading is a finding as long as nothing after the colon says otherwise; what follows has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..language.cues import CueTable
from ..language.trie import Hit

if TYPE_CHECKING:
    from .mention import Mention

__all__ = ["heading_end", "under_heading"]

_LONGEST = 8


def heading_end(words: Sequence[str], first_finding: int, finite: frozenset[str]) -> int:
    """The position of the colon that ends a heading of findings, or -1.

    Args:
        words: the sentence.
        first_finding: where its first finding begins.
        finite: verbs, of which a heading has none.
    """
    if ":" not in words:
        return -1
    colon = words.index(":")
    if not first_finding < colon <= _LONGEST or words[colon - 1][0].isdigit():
        return -1
    return colon if finite.isdisjoint(words[:colon]) else -1


def under_heading(
    mentions: Sequence[tuple[Hit, Mention]],
    colon: int,
    words: Sequence[str],
    cue_hits: Sequence[Hit],
    table: CueTable,
) -> list[Mention]:
    """The mentions of a sentence that begins with a heading of findings.

    A heading is left out where nothing follows it or where what follows names the finding itself; it is absent where
    what follows begins with a denial ("No.", "Normal.").
    """
    named = [mention for hit, mention in mentions if hit.first > colon and hit.kind == "finding"]
    body = {label for mention in named for label, _ in mention.labels}
    if colon + 1 == len(words):
        return []
    cue = next((c for hit in cue_hits if hit.first == colon + 1 for c in table.of(hit.name)), None)
    denied = words[colon + 1] in table.words["denials"] if cue is None else cue.status == "absent"
    result = []
    for hit, mention in mentions:
        if hit.first > colon:
            result.append(mention)
        elif not body.intersection(label for label, _ in mention.labels):
            verdict = mention.verdict
            if denied and verdict.status != "absent":
                verdict = verdict._replace(status="absent", rule="heading_denied")
            result.append(mention._replace(verdict=verdict))
    return result
