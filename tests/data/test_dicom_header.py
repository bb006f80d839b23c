"""The few header fields that decide what a DICOM file is, against pydicom."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.data.formats.dicom_header import DicomFacts, anonymous, read_facts

pydicom = pytest.importorskip("pydicom")

KEYWORDS = {
    "storage": "SOPClassUID",
    "instance": "SOPInstanceUID",
    "accession": "AccessionNumber",
    "modality": "Modality",
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
}


def dataset(syntax: str, junk: int = 0):
    """A header with sequences of defined and undefined length before the fields that are looked for."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    inner = Dataset()
    inner.SeriesInstanceUID = "9.9.9"
    inner.ReferencedSOPInstanceUID = "9.9.8"
    nested = Dataset()
    nested.ReferencedImageSequence = Sequence([inner])
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    found.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    found.SOPInstanceUID = "1.2.3.4"
    found.AccessionNumber = "A77"
    found.Modality = "CT"
    found.ReferencedStudySequence = Sequence([nested])
    found["ReferencedStudySequence"].is_undefined_length = True
    found.SourceImageSequence = Sequence([nested, inner])
    found.PatientID = "P 1"
    if junk:
        found.add_new(0x00190010, "LO", "TEST")
        found.add_new(0x00191001, "OB", bytes(junk))
    found.StudyInstanceUID = "1.2"
    found.SeriesInstanceUID = "1.2.3"
    found.ImageOrientationPatient = [1, 0, 0, 0, 0.9, 0.4]
    found.NumberOfFrames = 3
    found.Rows = found.Columns = 4
    return found


@pytest.mark.parametrize("junk", [0, 30_000])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_fields_are_those_that_pydicom_reads_in_every_encoding(tmp_path, syntax, junk):
    path = tmp_path / "slice"
    written = dataset(syntax, junk)
    pydicom.dcmwrite(
        path,
        written,
        enforce_file_format=True,
        implicit_vr=syntax == "1.2.840.10008.1.2",
        little_endian=syntax != "1.2.840.10008.1.2.2",
    )
    facts = read_facts(path)
    read = pydicom.dcmread(path)
    for name, keyword in KEYWORDS.items():
        assert getattr(facts, name) == str(read.get(keyword)), name
    assert facts.syntax == syntax
    assert facts.kinds == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert facts.is_multiframe
    assert facts.is_axial


def test_real_slices_agree_with_pydicom(shared_data):
    for path in sorted((shared_data / "lung_pet_ct_dx" / "A0002_dicom").iterdir())[:5]:
        facts, read = read_facts(path), pydicom.dcmread(path, stop_before_pixels=True)
        for name, keyword in KEYWORDS.items():
            assert getattr(facts, name) == str(read.get(keyword, "")), name
        assert facts.image_type == "\\".join(read.ImageType)
        assert facts.orientation == "\\".join(map(str, read.ImageOrientationPatient))


def test_a_cut_file_tells_what_is_left_of_it_and_another_file_nothing(tmp_path):
    path = tmp_path / "slice"
    pydicom.dcmwrite(path, dataset("1.2.840.10008.1.2.1"), enforce_file_format=True)
    content = path.read_bytes()
    whole = read_facts(path)
    for length in range(132, len(content), 7):
        path.write_bytes(content[:length])
        facts = read_facts(path)
        for name in DicomFacts.__dataclass_fields__:
            assert getattr(facts, name) in ("", getattr(whole, name))
    path.write_bytes(b"no DICOM at all")
    assert read_facts(path) is None


@pytest.mark.parametrize(
    ("orientation", "axial"),
    [
        ("1\\0\\0\\0\\1\\0", True),
        ("1\\0\\0\\0\\0.94\\0.34", True),  # a gantry tilted by 20 degrees
        ("1\\0\\0\\0\\0\\-1", False),  # coronal
        ("0\\1\\0\\0\\0\\-1", False),  # sagittal
        ("", True),
    ],
)
def test_orientation_tells_axial_series(orientation, axial):
    assert DicomFacts(orientation=orientation).is_axial is axial


def test_a_hidden_name_is_the_same_for_the_same_name_alone():
    assert anonymous("DOE^JOHN") == anonymous(" DOE^JOHN ") != anonymous("DOE^JANE")
    assert "DOE" not in anonymous("DOE^JOHN")


@given(st.lists(st.tuples(st.integers(132, 900), st.integers(0, 255)), max_size=12), st.integers(140, 900))
def test_a_damaged_header_tells_something_or_nothing_and_never_fails(changes, length):
    content = bytearray(WHOLE[:length])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    with TemporaryDirectory() as folder:
        path = Path(folder) / "slice"
        path.write_bytes(content)
        facts = read_facts(path)
    assert facts is None or isinstance(facts.is_axial and facts.is_multiframe, bool)


def _whole() -> bytes:
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset("1.2.840.10008.1.2.1", junk=40), enforce_file_format=True)
    return stream.getvalue()


WHOLE = _whole()
