"""The parser as spaCy components, for pipelines that spaCy and medspaCy users already have.

``nlp.add_pipe("organcam_sections")`` marks sentences and sections, ``nlp.add_pipe("organcam_findings")`` puts typed
findings on ``doc._.findings``, and everything else that it read on ``doc._.organcam``. They work on
``spacy.blank("en")`` and on any pipeline, need no model, and give exactly the findings of
:class:`organcam.nlp.ReportParser`, which they call. The parser itself works on its own tokens: they split
"ground-glass" and "12x8", and a ``Doc`` would add a fifth to the time of a report (``docs/parser.md``).

What a component found lies in ``doc.user_data`` as plain data, so that a ``Doc`` can be pickled, sent between processes
and kept in a ``DocBin(store_user_data=True)``; the spans are made anew from it whenever they are asked for.
"""

# Annotations are objects here and no strings: spaCy 3.7 checks a factory's arguments by them, with no names to look up.
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span

from .language.folders import language_folder
from .language.text import same_length_lower
from .reports.findings import Conflict, Finding, ParsedReport
from .reports.parser import ReportParser
from .reports.policy import cells, positive_statuses
from .reports.sections import load_sections, split_sentences

__all__ = ["SECTION_SPANS", "DocReading", "SpanFinding", "create_findings", "create_sections"]

SECTION_SPANS = "organcam_sections"
"""Key of ``doc.spans`` under which the sections lie, each span labelled with its section."""

_USER_DATA = "organcam.nlp"


@dataclass(frozen=True)
class SpanFinding:
    """A finding over the tokens of a ``Doc``.

    Attributes:
        finding: status, location, size, rule and characters.
        span: tokens of the finding, labelled with the abnormality.
        location_span: tokens that gave the location, or None.
        cue_span: tokens that decided the status, or None.
    """

    finding: Finding
    span: Span
    location_span: Span | None
    cue_span: Span | None


@dataclass(frozen=True)
class DocReading:
    """What one component read in a ``Doc``.

    Attributes:
        vocabulary: name of the vocabulary.
        findings: every mention over its tokens.
        conflicts: where findings and impression disagree.
        reason: why nothing could be read, or empty.
        uncertain: whether uncertain mentions count as positive.
        historical: whether mentions of the past do.
        cells: (abnormality, location) pairs that count as positive under that policy.
    """

    vocabulary: str
    findings: tuple[SpanFinding, ...]
    conflicts: tuple[Conflict, ...]
    reason: str
    uncertain: str
    historical: str
    cells: frozenset[tuple[str, str]]


class SectionMarker:
    """Component ``organcam_sections``: ``doc.spans["organcam_sections"]`` and sentence starts where none are set."""

    def __init__(self, language: str) -> None:
        self._sections = load_sections(language_folder(language))

    def __call__(self, doc: Doc) -> Doc:
        """Mark the sections of a report."""
        sentences = list(split_sentences(doc.text, same_length_lower(doc.text), self._sections))
        if not doc.has_annotation("SENT_START"):
            starts = {span.start for s in sentences if (span := _span(doc, s.start, s.end, "")) is not None}
            for token in doc:
                token.is_sent_start = token.i in starts or token.i == 0
        spans, begin = [], 0
        for number, sentence in enumerate(sentences):
            following = sentences[number + 1] if number + 1 < len(sentences) else None
            if following is None or following.section != sentence.section:
                span = _span(doc, sentences[begin].start, sentence.end, sentence.section)
                spans += [span] if span is not None else []
                begin = number + 1
        doc.spans[SECTION_SPANS] = spans
        return doc


class FindingMarker:
    """Component ``organcam_findings``: ``doc._.findings``, ``doc._.organcam``, and ``doc.spans`` under its own name."""

    def __init__(self, name: str, vocabulary: str, uncertain: str | None, historical: str) -> None:
        self.name = name
        self._parser = ReportParser(vocabulary)
        self._policy = (uncertain or self._parser.vocabulary.uncertain, historical)
        positive_statuses(*self._policy)

    def __call__(self, doc: Doc) -> Doc:
        """Put the findings on the document."""
        report = self._parser.parse(doc.text)
        uncertain, historical = self._policy
        read = {
            "vocabulary": self._parser.vocabulary.name,
            "findings": [list(finding) for finding in report.findings],
            "conflicts": [list(conflict) for conflict in report.conflicts],
            "reason": report.reason,
            "uncertain": uncertain,
            "historical": historical,
        }
        doc.user_data[_USER_DATA] = {**doc.user_data.get(_USER_DATA, {}), self.name: read}
        doc.spans[self.name] = [item.span for item in _span_findings(doc, read)]
        return doc


@Language.factory("organcam_sections", default_config={"language": "en"})
def create_sections(nlp: Language, name: str, language: str) -> SectionMarker:  # noqa: ARG001 (spaCy's signature)
    """Make the section component; ``language`` names the headings to use."""
    return SectionMarker(language)


@Language.factory(
    "organcam_findings",
    default_config={"vocabulary": "chest_ct", "uncertain": None, "historical": "negative"},
    assigns=["doc._.findings", "doc._.organcam"],
)
def create_findings(
    nlp: Language,  # noqa: ARG001 (spaCy's signature)
    name: str,
    vocabulary: str,
    uncertain: str | None,
    historical: str,
) -> FindingMarker:
    """Make the finding component.

    Args:
        nlp: the pipeline.
        name: of the component; several with different vocabularies stand side by side under their names.
        vocabulary: a name or the path of a YAML file.
        uncertain: ``positive`` or ``negative``; None for the vocabulary's habit.
        historical: the same for mentions of the past.

    Raises:
        ValueError: if another package has taken ``doc._.findings``.
    """
    _register()
    return FindingMarker(name, vocabulary, uncertain, historical)


def _findings_of(doc: Doc) -> tuple[SpanFinding, ...]:
    """The findings of all components, in the order in which they ran."""
    return tuple(item for read in doc.user_data.get(_USER_DATA, {}).values() for item in _span_findings(doc, read))


def _readings_of(doc: Doc) -> dict[str, DocReading]:
    """What each component read, by its name."""
    return {name: _reading(doc, read) for name, read in doc.user_data.get(_USER_DATA, {}).items()}


_EXTENSIONS = {"findings": _findings_of, "organcam": _readings_of}


def _register() -> None:
    """Make the attributes of ``doc._``; one that another package has made is not taken from it."""
    for name, getter in _EXTENSIONS.items():
        if not Doc.has_extension(name):
            Doc.set_extension(name, getter=getter)
        elif Doc.get_extension(name)[2] is not getter:
            msg = (
                f"doc._.{name} belongs to another package, so organcam's findings would be mistaken for its own: "
                f"load that package in another pipeline, or remove its attribute with Doc.remove_extension({name!r})"
            )
            raise ValueError(msg)


def _reading(doc: Doc, read: Mapping[str, Any]) -> DocReading:
    found = tuple(Finding(*values) for values in read["findings"])
    positive = cells(ParsedReport(doc.text, found), read["uncertain"], read["historical"])
    return DocReading(
        vocabulary=read["vocabulary"],
        findings=_span_findings(doc, read),
        conflicts=tuple(Conflict(*values) for values in read["conflicts"]),
        reason=read["reason"],
        uncertain=read["uncertain"],
        historical=read["historical"],
        cells=positive,
    )


def _span_findings(doc: Doc, read: Mapping[str, Any]) -> tuple[SpanFinding, ...]:
    found = []
    for values in read["findings"]:
        finding = Finding(*values)
        span = _span(doc, finding.start, finding.end, finding.abnormality)
        if span is not None:
            place = _span(doc, finding.location_start, finding.location_end, finding.location)
            found.append(SpanFinding(finding, span, place, _span(doc, finding.cue_start, finding.cue_end, "cue")))
    return tuple(found)


def _span(doc: Doc, start: int, end: int, label: str) -> Span | None:
    if start < 0 or end <= start:
        return None
    return doc.char_span(start, end, label=label, alignment_mode="expand")


if not any(
    Doc.has_extension(name) for name in _EXTENSIONS
):  # a process that is sent a Doc, or a pipeline, makes no component of its own
    _register()
