from __future__ import annotations

import pickle

import pytest
import spacy
from spacy.tokens import Doc, DocBin

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


def readings(doc):
    return [(item.finding, item.span.text) for item in doc._.findings]


def test_a_document_keeps_its_findings_as_bytes_in_a_bin_and_pickled(nlp):
    doc = nlp(TEXT)
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    (binned,) = DocBin(store_user_data=True, docs=[doc]).get_docs(nlp.vocab)
    for copy in (again, binned, pickle.loads(pickle.dumps(doc))):
        assert readings(copy) == readings(doc)


def test_several_processes_give_the_same(nlp):
    texts = [TEXT, "No effusion.", ""]
    alone = [readings(doc) for doc in nlp.pipe(texts)]
    assert [readings(doc) for doc in nlp.pipe(texts, n_process=2)] == alone


def test_two_vocabularies_stand_side_by_side(nlp):
    pipeline = spacy.blank("en")
    pipeline.add_pipe("organcam_findings", name="ct", config={"vocabulary": "chest_ct"})
    pipeline.add_pipe("organcam_findings", name="xray", config={"vocabulary": "chest_xray"})
    doc = pipeline("Possible pneumonia in the left lung.")
    assert {name: read.vocabulary for name, read in doc._.organcam.items()} == {"ct": "chest_ct", "xray": "chest_xray"}
    assert len(doc._.findings) == 2
    assert set(doc.spans) == {"ct", "xray"}
    assert doc._.organcam["ct"].cells == {("pneumonia", "left_lung")}
    assert doc._.organcam["xray"].cells == frozenset()
    assert doc._.organcam["xray"].uncertain == "negative"


def test_conflicts_and_reason_are_on_the_document(nlp):
    doc = nlp("FINDINGS: Nodule in the right lung.\nIMPRESSION: Nodule in the left lung.")
    (conflict,) = doc._.organcam["organcam_findings"].conflicts
    assert (conflict.abnormality, conflict.kind) == ("nodule", "side")
    assert nlp("")._.organcam["organcam_findings"].reason == "empty text"


def test_an_attribute_of_another_package_is_not_taken():
    ours = Doc.remove_extension("findings")
    Doc.set_extension("findings", default=None)
    try:
        with pytest.raises(ValueError, match="belongs to another package"):
            spacy.blank("en").add_pipe("organcam_findings")
    finally:
        Doc.remove_extension("findings")
        Doc.set_extension("findings", getter=ours[2])
