"""Free-text reports of phantom scans with their gold cells, from the sentences in ``templates.yaml``.

Every rendered finding is mentioned, most as present, some as uncertain or unchanged; findings that are not rendered may
be negated, resolved or historical. What confounds is never mentioned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from .cells import Cell, lesion_cells
from .lesions import LOBES, Lesion

__all__ = ["Report", "templates", "write_report"]

Rng = np.random.Generator
DEVICES = ("pacemaker", "catheter")
PROSE, SUBHEADED = 0.25, 0.65
"""Reports drawn up to the first share are plain prose, up to the second have organ sub-headings, the rest headings."""
SIZED = ("pleural_effusion", "pericardial_effusion")


@dataclass(frozen=True)
class Report:
    """Text and gold cells, at most one for each abnormality and location."""

    text: str
    cells: tuple[Cell, ...]


@dataclass
class _Draft:
    """Sentences by section as the report grows, with the cells that they make."""

    rng: Rng
    sentences: dict[str, list[str]]
    style: float
    impression: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], str] = field(default_factory=dict)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def add_cell(self, abnormality: str, location: str, status: str) -> None:
        self.cells.setdefault((abnormality, location), status)


@cache
def templates() -> dict[str, Any]:
    """The sentences and words of ``templates.yaml``."""
    return yaml.safe_load((files(__package__) / "templates.yaml").read_text(encoding="utf-8"))


def write_report(lesions: Sequence[Lesion], rng: Rng) -> Report:
    """A report of what was rendered.

    Args:
        lesions: all visible lesions of the scan.
        rng: random numbers of this report.
    """
    words = templates()
    draft = _Draft(rng, {section: [] for section in words["sections"]}, float(rng.random()))
    groups: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        groups.setdefault(lesion.finding, []).append(lesion)
    for finding, group in groups.items():
        _report_finding(draft, finding, group)
    _negate(draft, groups)
    _look_back(draft, groups)
    _add_normal(draft, groups)
    cells = tuple(Cell(a, place, status) for (a, place), status in draft.cells.items())
    return Report(_lay_out(draft, bool(groups)), cells)


# Rendered findings


def _report_finding(draft: _Draft, finding: str, group: list[Lesion]) -> None:
    """Sentences for the lesions of one finding: one for both sides where they are alike, else one each."""
    entry = templates()["findings"][finding]
    # Emphysema is told of both sides only, also where a grid of few voxels shows it on one.
    together = "present" not in entry or (len(group) == 2 and "bilateral" in entry and draft.rng.random() < 0.7)
    for lesion in group[:1] if together else group:
        ending = "_bilateral" if together else ""
        status, kind = _status(draft, entry, ending)
        key = kind + ending if kind + ending in entry else "bilateral" if together else "present"
        fields = _fields(draft, lesion)
        text, also = _sentence(draft.pick(entry[key]), fields)
        draft.sentences[entry["section"]].append(text)
        for member in group if together else [lesion]:
            for offset, abnormality, location in lesion_cells(member):
                if offset == 0:
                    draft.add_cell(abnormality, location, status)
            for abnormality in also:
                draft.add_cell(abnormality, member.location, status)
        if status == "present" and draft.style > PROSE and draft.rng.random() < 0.6:
            text, also = _sentence(draft.pick(entry["impression" + ending]), fields)
            draft.impression.append(text)
            for member in group if together else [lesion]:
                for abnormality in also:
                    draft.add_cell(abnormality, member.location, status)


def _status(draft: _Draft, entry: dict[str, Any], ending: str) -> tuple[str, str]:
    draw = draft.rng.random()
    if draw < 0.10 and "uncertain" + ending in entry:
        return "uncertain", "uncertain"
    if draw < 0.25 and "unchanged" + ending in entry:
        return "present", "unchanged"
    return "present", "present"


def _fields(draft: _Draft, lesion: Lesion) -> dict[str, str]:
    """Words for the fields of a sentence, the same in findings and impression."""
    words = templates()
    scale = words["grade_words"]["size" if lesion.finding in SIZED else "degree"]
    grade = draft.pick(scale[lesion.grade])
    size = _size(draft, lesion.size_mm)
    whole = f"{lesion.side} lung"
    lobe, place = (draft.pick(words[k].get(lesion.location, [whole])) for k in ("lobe_words", "place_words"))
    both = draft.pick(words["both_words"][lesion.lobe])
    fields = {"grade": grade, "gradely": f"{grade}ly", "size": size, "lobe": lobe, "place": place, "lobes": both}
    fields["side"] = lesion.side
    fields["gradely"] = {"marked": "markedly", "minimal": "minimally"}.get(grade, fields["gradely"])
    return {**fields, **{k.capitalize(): v[:1].upper() + v[1:] for k, v in fields.items()}}


def _size(draft: _Draft, size: float) -> str:
    """A size in mm or cm; never in a way that changes which side of 1 cm it is on."""
    style = draft.rng.random()
    if style < 0.5:
        return f"{size:.0f} mm"
    if style < 0.85:
        return f"{size / 10:.1f} cm"
    return f"{size:.0f} x {max(size - 2, 1):.0f} mm"


def _sentence(template: str | dict[str, Any], fields: dict[str, str]) -> tuple[str, list[str]]:
    if isinstance(template, str):
        return template.format(**fields), []
    return template["text"].format(**fields), template["also"]


# What is not there


def _negate(draft: _Draft, groups: dict[str, list[Lesion]]) -> None:
    """Negate some of the findings that are not rendered, alone, in lists, or on the other side."""
    words = templates()
    if "pleural_effusion" in groups and len(groups["pleural_effusion"]) == 1 and draft.rng.random() < 0.3:
        side = {"right": "left", "left": "right"}[groups["pleural_effusion"][0].side]
        text = draft.pick(words["findings"]["pleural_effusion"]["absent_side"]).format(side=side)
        draft.sentences["pleura"].append(text)
        draft.add_cell("pleural_effusion", f"{side}_lung", "absent")
    absent = [f for f in words["findings"] if f not in groups and f not in DEVICES] + list(words["others"])
    pending: list[tuple[str, dict[str, Any]]] = []
    for name in draft.rng.permutation(absent):
        entry = words["findings"].get(name) or words["others"][name]
        draw = draft.rng.random()
        if draw < 0.25 and entry.get("absent"):
            text, also = _sentence(draft.pick(entry["absent"]), {})
            draft.sentences[entry["section"]].append(text)
            _absent_cells(draft, str(name), entry, also)
        elif draw < 0.6:
            pending.append((str(name), entry))
    while pending:
        taken, pending = pending[: int(draft.rng.integers(1, 4))], pending[3:]
        items = [draft.pick(entry["names"]) for _, entry in taken]
        text = draft.pick(words["list_negations"]).format(items=_join(draft, items))
        draft.sentences[taken[0][1]["section"]].append(text)
        for name, entry in taken:
            _absent_cells(draft, name, entry, entry.get("names_also", []))


def _absent_cells(draft: _Draft, name: str, entry: dict[str, Any], also: Sequence[str]) -> None:
    named = {"coronary_calcification": ["calcification"], "aortic_calcification": ["atherosclerosis"]}
    for abnormality in [*named.get(name, [name]), *also]:
        draft.add_cell(abnormality, entry["absent_location"], "absent")


def _join(draft: _Draft, items: list[str]) -> str:
    if len(items) < 2:
        return items[0]
    comma = "," if len(items) > 2 and draft.rng.random() < 0.5 else ""
    return f"{', '.join(items[:-1])}{comma} or {items[-1]}"


def _look_back(draft: _Draft, groups: dict[str, list[Lesion]]) -> None:
    """Now and then a history, or a finding that has resolved."""
    words = templates()
    if draft.rng.random() < 0.15:
        entry = draft.pick(words["histories"])
        draft.sentences["lungs"].insert(0, entry["text"])
        for abnormality, location in entry["cells"]:
            draft.cells[abnormality, location] = "historical"
    gone = [f for f, e in words["findings"].items() if "resolved" in e and f not in groups]
    mentioned = {abnormality for abnormality, _ in draft.cells}
    gone = [f for f in gone if f not in mentioned]
    if gone and draft.rng.random() < 0.15:
        finding = draft.pick(gone)
        entry = words["findings"][finding]
        lesion = Lesion(
            finding, draft.pick(("right", "left")), draft.pick(LOBES) if finding != "pleural_effusion" else ""
        )
        text, also = _sentence(draft.pick(entry["resolved"]), _fields(draft, lesion))
        draft.sentences[entry["section"]].append(text)
        location = "heart" if finding == "pericardial_effusion" else lesion.location
        for abnormality in [finding, *also]:
            draft.add_cell(abnormality, location, "resolved")


def _add_normal(draft: _Draft, groups: dict[str, list[Lesion]]) -> None:
    normal = templates()["normal"]
    lungs = {"nodule", "mass", "consolidation", "groundglass", "emphysema", "atelectasis", "cyst"}
    for section in ("lungs", "pleura", "heart", "vessels", "mediastinum", "bones", "abdomen"):
        clear = section + "_clear"
        allowed = not (lungs & set(groups) if section == "lungs" else "cardiomegaly" in groups)
        if clear in normal and allowed and draft.rng.random() < 0.7:
            draft.sentences[section].append(draft.pick(normal[clear]))
        elif draft.rng.random() < 0.4 and (section != "pleura" or "pleural_effusion" not in groups):
            draft.sentences[section].append(draft.pick(normal[section]))


# Layout


def _lay_out(draft: _Draft, any_finding: bool) -> str:
    """With headings and organ sub-headings, with headings alone, or plain prose."""
    words = templates()
    sections = [(name, texts) for name, texts in draft.sentences.items() if texts]
    if draft.style <= PROSE:
        return " ".join(text for _, texts in sections for text in texts)
    blocks = []
    for title, share in (("indication", 0.4), ("technique", 0.7), ("comparison", 0.6)):
        if draft.rng.random() < share:
            blocks.append(f"{title.upper()}: {draft.pick(words[title])}")
    if draft.style < SUBHEADED:
        lines = [f"{draft.pick(words['section_titles'][name])}: {' '.join(texts)}" for name, texts in sections]
        blocks.append("FINDINGS:\n" + "\n".join(lines))
    else:
        blocks.append("FINDINGS: " + " ".join(text for _, texts in sections for text in texts))
    impression = draft.impression or ([] if any_finding else [draft.pick(words["impression_clear"])])
    if len(impression) > 1 and draft.rng.random() < 0.6:
        impression = [f"{number}. {text}" for number, text in enumerate(impression, 1)]
    if impression:
        blocks.append("IMPRESSION: " + " ".join(impression))
    return ("\n" if draft.rng.random() < 0.5 else "\n\n").join(blocks)
