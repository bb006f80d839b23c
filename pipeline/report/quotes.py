"""Findings beside the words they were read from: the report's own sentence, with the mentions marked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

__all__ = ["Piece", "quote", "quoted_findings"]

LONGEST = 400
"""Characters shown before the first and after the last mention of a sentence without an end."""

_BEGIN = re.compile(r"[.!?][\"')\]]*\s+|\n\s*\n|\n\s*[-*]\s+")
_END = re.compile(r"[.!?](?=[\"')\]]*(?:\s|$))|\n\s*\n|\n\s*[-*]\s")


class Piece(NamedTuple):
    """Words of a quotation; marked ones are a finding."""

    text: str
    marked: bool


def quote(text: str, spans: Iterable[tuple[int, int]]) -> list[Piece]:
    """The sentence that holds some mentions, in pieces, with white space made single.

    Args:
        text: the whole report.
        spans: first character and one past the last of each mention, all in one sentence.

    Example:
        >>> quote("Clear. No nodule is seen. End.", [(10, 16)])
        [Piece(text='No ', marked=False), Piece(text='nodule', marked=True), Piece(text=' is seen.', marked=False)]
    """
    known = sorted((start, end) for start, end in spans if 0 <= start < end <= len(text))
    if not known:
        return []
    first, last = known[0][0], max(end for _, end in known)
    begins = [match.end() for match in _BEGIN.finditer(text, max(0, first - LONGEST), first)]
    begin = begins[-1] if begins else max(0, first - LONGEST)
    stop = _END.search(text, last, min(len(text), last + LONGEST))
    end = stop.start() + (text[stop.start()] in ".!?") if stop else min(len(text), last + LONGEST)
    pieces, place = [], begin
    for start, over in known:
        if start < place:
            continue  # inside a mention that is marked already
        pieces += [Piece(_single(text[place:start]), False), Piece(_single(text[start:over]), True)]
        place = over
    pieces.append(Piece(_single(text[place:end]), False))
    return [piece for piece in pieces if piece.text]


def quoted_findings(table: pd.DataFrame | None, text: str | None) -> list[dict[str, Any]]:
    """One entry a sentence, in the order of the report, with everything that was read from it.

    Args:
        table: rows of ``findings.csv`` of one report; None without a report.
        text: the report that the rows' offsets refer to; None if it is not at hand.

    Returns:
        Dictionaries ``section, pieces, read``; ``read`` holds ``abnormality, status, locations``.
    """
    if table is None or table.empty:
        return []
    table = table[table["abnormality"] != ""]  # a mention that is no label, such as a lymph node that is not enlarged
    rows = table.assign(start=pd.to_numeric(table["start"]), end=pd.to_numeric(table["end"]))
    rows = rows.sort_values("start", kind="stable")
    entries = []
    for (_, section), said in rows.groupby(["sentence", "section"], sort=False):
        spans = set(zip(said["start"].astype(int), said["end"].astype(int), strict=True))
        read: dict[tuple[str, str], list[str]] = {}
        for row in said.to_dict("records"):
            places = read.setdefault((str(row["abnormality"]), str(row["status"])), [])
            if row["location"] not in places:
                places.append(str(row["location"]))
        entries.append(
            {
                "section": str(section),
                "pieces": quote(text, spans) if text is not None else [],
                "read": [
                    {"abnormality": name, "status": status, "locations": ", ".join(places)}
                    for (name, status), places in read.items()
                ],
            }
        )
    return entries


def _single(text: str) -> str:
    return re.sub(r"\s+", " ", text)
