"""The parser as spaCy components, for pipelines that spaCy and medspaCy users already have.

``nlp.add_pipe("organcam_sections")`` marks sentences and sections, ``nlp.add_pipe("organcam_findings")`` puts typed
findings on ``doc._.findings``. They work on ``spacy.blank("en")`` and on any pipeline, need no model, and give exactly
the findings of :class:`organcam.nlp.ReportParser`, which they call. The parser itself works on its own tokens: they
split "ground-glass" and "12x8", and a ``Doc`` would add a fifth to the time of a report (``docs/parser.md``).
"""

from __future__ import annotations

from dataclasses import dataclass

from spacy.language import Language
from spacy.tokens import Doc, Span

from .language.folders import language_folder
from .language.text import same_length_lower
from .reports.findings import Finding
from .reports.parser import ReportParser
from .reports.sections import load_sections, split_sentences

__all__ = ["SECTION_SPANS", "SpanFinding", "create_findings", "create_sections"]

SECTION_SPANS = "organcam_sections"
"""Key of ``doc.spans`` under which the sections lie, each span labelled with its section."""

FINDING_SPANS = "organcam_findings"
"""Key of ``doc.spans`` under which the findings lie, each span labelled with its abnormality."""


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
    """Component ``organcam_findings``: ``doc._.findings`` and ``doc.spans["organcam_findings"]``."""

    def __init__(self, vocabulary: str) -> None:
        self._parser = ReportParser(vocabulary)

    def __call__(self, doc: Doc) -> Doc:
        """Put the findings on the document."""
        found = []
        for finding in self._parser.parse(doc.text).findings:
            span = _span(doc, finding.start, finding.end, finding.abnormality)
            if span is not None:
                place = _span(doc, finding.location_start, finding.location_end, finding.location)
                found.append(SpanFinding(finding, span, place, _span(doc, finding.cue_start, finding.cue_end, "cue")))
        doc._.findings = found
        doc.spans[FINDING_SPANS] = [item.span for item in found]
        return doc


@Language.factory("organcam_sections", default_config={"language": "en"})
def create_sections(nlp: Language, name: str, language: str) -> SectionMarker:  # noqa: ARG001 (spaCy's signature)
    """Make the section component; ``language`` names the headings to use."""
    return SectionMarker(language)


@Language.factory("organcam_findings", default_config={"vocabulary": "chest_ct"}, assigns=["doc._.findings"])
def create_findings(nlp: Language, name: str, vocabulary: str) -> FindingMarker:  # noqa: ARG001 (spaCy's signature)
    """Make the finding component; ``vocabulary`` is a name or the path of a YAML file."""
    if not Doc.has_extension("findings"):
        Doc.set_extension("findings", default=())
    return FindingMarker(vocabulary)


def _span(doc: Doc, start: int, end: int, label: str) -> Span | None:
    if start < 0 or end <= start:
        return None
    return doc.char_span(start, end, label=label, alignment_mode="expand")
