"""A report with its findings marked, as a web page (spaCy's displaCy), so that a person can see why."""

from __future__ import annotations

from typing import Any

from .findings import Finding, ParsedReport

__all__ = ["render_html"]

_COLOURS = {
    "present": "#f4a582",
    "uncertain": "#fddbc7",
    "absent": "#c7e9c0",
    "historical": "#d9d9d9",
    "resolved": "#d0d1e6",
    "cue": "#ffffcc",
    "place": "#deebf7",
}


def render_html(report: ParsedReport, *, page: bool = True, title: str = "") -> str:
    """The report's text with findings, the cues that decided their status, and the words that gave their location.

    Args:
        report: a parsed report.
        page: a whole page; else only the marked text.
        title: heading of the page.

    Returns:
        HTML without scripts or links; the report's text is escaped.
    """
    from spacy import displacy  # noqa: PLC0415 (only this function needs it, and it is slow to import)

    marks = _marks(report)
    text = report.text if report.text else " "
    entry: dict[str, Any] = {"text": text, "ents": marks, "title": title or None}
    colours = {mark["label"]: _COLOURS[mark.pop("kind")] for mark in marks}
    html: str = displacy.render(entry, style="ent", manual=True, page=page, options={"colors": colours}, jupyter=False)
    return html


def _marks(report: ParsedReport) -> list[dict[str, Any]]:
    """Findings first, then cues and places where they do not overlap anything marked before."""
    by_span: dict[tuple[int, int], list[Finding]] = {}
    for finding in report.findings:
        by_span.setdefault((finding.start, finding.end), []).append(finding)
    marks = [_mark(start, end, _caption(group), group[0].status) for (start, end), group in by_span.items()]
    extra = {(f.cue_start, f.cue_end, "cue") for f in report.findings if f.cue_start >= 0}
    extra |= {(f.location_start, f.location_end, "place") for f in report.findings if f.location_start >= 0}
    for start, end, kind in sorted(extra):
        if all(end <= mark["start"] or start >= mark["end"] for mark in marks):
            marks.append(_mark(start, end, kind, kind))
    kept: list[dict[str, Any]] = []
    for mark in sorted(marks, key=lambda m: (m["start"], -m["end"])):
        if not kept or mark["start"] >= kept[-1]["end"]:
            kept.append(mark)
    return kept


def _mark(start: int, end: int, label: str, kind: str) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "kind": kind}


def _caption(group: list[Finding]) -> str:
    labels = ", ".join(dict.fromkeys(finding.abnormality for finding in group))
    places = ", ".join(dict.fromkeys(finding.location for finding in group))
    change = f", {group[0].change}" if group[0].change else ""
    return f"{labels} | {places} | {group[0].status}{change}"
