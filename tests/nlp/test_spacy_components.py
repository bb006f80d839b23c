from __future__ import annotations

import pytest
import spacy

from organcam.nlp import ReportParser

TEXT = "FINDINGS: 5 mm nodule in the right upper lobe. No pleural effusion.\nIMPRESSION: Nodule, possibly a metastasis."


@pytest.fixture(scope="module")
def nlp():
    pipeline = spacy.blank("en")
    pipeline.add_pipe("organcam_sections")
    pipeline.add_pipe("organcam_findings", config={"vocabulary": "chest_ct"})
    return pipeline


def test_components_give_the_findings_of_the_parser(nlp):
    assert tuple(item.finding for item in nlp(TEXT)._.findings) == ReportParser().parse(TEXT).findings


def test_findings_are_typed_spans(nlp):
    doc = nlp(TEXT)
    first, second = doc._.findings[:2]
    assert (first.span.text, first.span.label_, first.location_span.text) == ("nodule", "nodule", "right upper lobe")
    assert (second.span.text, second.cue_span.text, second.location_span) == ("pleural effusion", "No", None)
    assert [span.text for span in doc.spans["organcam_findings"]] == [item.span.text for item in doc._.findings]


def test_sections_and_sentences_are_marked(nlp):
    doc = nlp(TEXT)
    assert [span.label_ for span in doc.spans["organcam_sections"]] == ["findings", "impression"]
    assert "No pleural effusion." in [sentence.text.split("\n")[0] for sentence in doc.sents]


def test_an_empty_document_has_no_findings(nlp):
    assert list(nlp("")._.findings) == []


def test_an_unknown_vocabulary_is_refused():
    with pytest.raises(Exception, match="unknown vocabulary 'chest_mr'"):
        spacy.blank("en").add_pipe("organcam_findings", config={"vocabulary": "chest_mr"})
