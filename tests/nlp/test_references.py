"""Image references in all their spellings: data of the finding, and no part of the sentence."""

from __future__ import annotations

import pytest

from organcam.nlp import ReportParser


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


@pytest.mark.parametrize(
    ("written", "series", "image"),
    [
        ("(Ser/Img: 2/22)", "2", "22"),
        ("(203:162)", "203", "162"),
        ("[se 4 im 31]", "4", "31"),
        ("series 3 image 40", "3", "40"),
        ("(image 40, series 3)", "3", "40"),
        ("(se3/im40)", "3", "40"),
        ("(im40)", "", "40"),
        ("(S3 I45)", "3", "45"),
        ("(s3:i45)", "3", "45"),
        ("(s3, i45)", "3", "45"),
        ("on slice number 22", "", "22"),
        ("(image no. 40)", "", "40"),
        ("(Series No 3, Image No 40)", "3", "40"),
        ("(image #45)", "", "45"),
        ("(3;45)", "3", "45"),
        ("[4/33; 4/35]", "4", "33"),
        ("(SE:4 IM:112)", "4", "112"),
        ("(axial image 45 of series 5)", "5", "45"),
        ("(images 45-50)", "", "45"),
        ("(sl 45)", "", "45"),
    ],
)
def test_a_reference_is_kept_and_the_finding_is_whole(parser, written, series, image):
    (finding,) = parser.parse(f"Nodule in the right upper lobe {written}, stable.").findings
    assert (finding.location, finding.change) == ("right_upper", "stable")
    assert (finding.series, finding.image) == (series, image)


@pytest.mark.parametrize(
    "written",
    [
        "(5/2020)",
        "in S3",
        "in segments s3 and s5",
        "(3/4 of the lobe)",
        "(2 nodules)",
        "at T3/4",
        "(stage 2)",
        "with a ratio of 3:1",
        "(24)",
        "(slices 5 mm)",
    ],
)
def test_what_is_no_reference_stays_text(parser, written):
    findings = parser.parse(f"Nodule in the right upper lobe {written}.").findings
    assert findings
    assert {(f.series, f.image) for f in findings} == {("", "")}
