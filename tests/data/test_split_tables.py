"""Tables of splits in our own form and in RAD-ChestCT's."""

import pytest

from organcam.data.split_tables import read_split_tables
from organcam.errors import ConfigError


def table(path, text):
    path.write_text(text)
    return path


def test_both_forms_and_several_files(tmp_path):
    own = table(tmp_path / "own.csv", "scan_id,split\na,train\nb,shifted\n")
    notes = table(
        tmp_path / "n.csv", "MRN,NoteAcc_DEID,Subset_Assigned\n1,trn1,imgtrain\n2,val1,imgvalid_a\n3,tst1,imgtest_d\n"
    )
    volumes = table(tmp_path / "v.csv", "VolumeAcc_DEID,Subset_Assigned\ntrn1.npz,imgtrain\n")
    assert read_split_tables([own, notes, volumes]) == {
        "a": "train",
        "b": "shifted",
        "trn1": "train",
        "val1": "valid",
        "tst1": "test",
    }
    assert read_split_tables([]) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan_id,part\na,train\n", r"column 'split' is missing, found scan_id, part; legal are scan_id and split, or"),
        ("scan_id,split\na,tran\n", "unknown split 'tran': did you mean 'train'"),
        ("NoteAcc_DEID,Subset_Assigned\na,notetrain\n", "unknown Subset_Assigned 'notetrain'. Legal: imgtrain"),
        ("scan_id,split\na,train\na,valid\n", "scan 'a' is in 'valid' here and in 'train' before"),
    ],
)
def test_what_does_not_fit_names_the_file(tmp_path, text, words):
    path = table(tmp_path / "splits.csv", text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_split_tables([path])
    assert str(path) in str(caught.value)
