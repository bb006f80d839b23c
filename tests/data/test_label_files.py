"""Labels given as tables: RAD-ChestCT's form, and what people make of it."""

from pathlib import Path

import numpy as np
import pytest

from organcam.catalogue.targets import region_targets
from organcam.data.label_files import label_ids, read_label_files, read_label_matrix
from organcam.errors import ConfigError, DataError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_files_of_the_splits_become_one_matrix(tmp_path):
    header = "NoteAcc_DEID,nodule*left_upper,nodule*other_location,other_path*lung,emphysema*lung"
    train = write(tmp_path / "imgtrain.csv", header, "trn00001,1,0,0,1", "trn00002,0,0,1,0")
    valid = write(tmp_path / "imgvalid.csv", header, "val00001.npz,0,1,0,0")
    matrix = read_label_files([train, valid])
    assert list(matrix.index) == ["trn00001", "trn00002", "val00001"] == label_ids([train, valid])
    assert list(matrix.columns) == [
        *("nodule*left_upper", "nodule*other_location", "other_disease*lung", "emphysema*lung")
    ]
    assert matrix.to_numpy().tolist() == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert matrix.to_numpy().dtype == np.uint8
    targets = region_targets(matrix).columns(["lung_nodule", "lung_emphysema"])
    assert targets.organs.tolist() == [[[0, 1, 0], [1, 1, 0]], [[0, 0, 0]] * 2, [[0, 0, 0]] * 2]


def test_an_abnormality_alone_has_no_place(tmp_path):
    matrix = read_label_files([write(tmp_path / "flat.csv", "id,emphysema,cabg", "a,1,0", "NA,0,1")])
    assert list(matrix.index) == ["a", "NA"]
    assert list(matrix.columns) == ["emphysema*other_location", "cabg*other_location"]
    targets = region_targets(matrix)
    assert targets.columns(["lung_emphysema"]).organs[:, 0].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert targets.columns(["heart_cabg"]).organs[:, 0].tolist() == [[0, 0, 0], [0, 0, 1]]


def test_what_was_read_is_read_again_as_it_was(tmp_path):
    matrix = read_label_files([write(tmp_path / "given.csv", "id,mass*lung", "0012,1", "7,0")])
    matrix.to_csv(tmp_path / "labels_by_location.csv", index_label="report_id")
    again = read_label_matrix(tmp_path / "labels_by_location.csv")
    assert list(again.index) == ["0012", "7"]
    assert again.equals(matrix.rename_axis("report_id"))


@pytest.mark.parametrize(
    ("lines", "error", "says"),
    [
        (["id,nodul*lung", "a,1"], ConfigError, r"given.csv: column 'nodul\*lung': unknown 'nodul'.*nodule"),
        (["id,nodule*long", "a,1"], ConfigError, r"unknown 'long'.*lung"),
        (["id,age", "a,1"], ConfigError, r"unknown 'age'"),
        (["id,mass*lung", "a,2"], DataError, r"0 or 1, found '2' for id 'a' in column 'mass\*lung'"),
        (["id,mass*lung", "a,yes"], DataError, r"found 'yes' for id 'a'"),
        (["id,mass*lung", "a,"], DataError, r"found '' for id 'a'"),
        (["id,mass*lung", "a,300"], DataError, r"found '300' for id 'a'"),
        (["id,mass*lung", "b,0", "a,257"], DataError, r"found '257' for id 'a'"),  # 1, if a byte of it is taken
        (["id,mass*lung", "a,99999999999999999999"], DataError, r"found '9{20}' for id 'a'"),
        (["id,mass*lung", "a,-255"], DataError, r"found '-255' for id 'a'"),
        (["id,mass*lung", "a,0.5"], DataError, r"found '0.5' for id 'a'"),
        (["id,mass*lung", "a,1", "a,0"], DataError, r"id 'a' occurs more than once"),
        (["id", "a"], ConfigError, r"no column beside its ids, 'id'"),
        (["id,mass*lung", "a,1,1,1"], ConfigError, r"given.csv is not a readable CSV"),
        (
            ["id,mass*lung,cyst*lung", "a,1,0", "b,1"],
            DataError,
            r"0 or 1, found '.*' for id 'b' in column 'cyst\*lung'",
        ),
        (["id,mass*lung", "a,1", "b,1,1"], ConfigError, r"given.csv is not a readable CSV"),
        ([""], ConfigError, r"given.csv is not a readable CSV"),
    ],
)
def test_what_is_no_label_is_named(tmp_path, lines, error, says):
    with pytest.raises(error, match=says):
        read_label_files([write(tmp_path / "given.csv", *lines)])


def test_tables_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / "given.csv"
    path.write_bytes("\ufeffid;mass*lung;cyst*lung\r\na;1;0\r\n".encode())
    assert read_label_files([path]).loc["a"].tolist() == [1, 0]


def test_a_file_that_is_not_there_and_files_that_differ(tmp_path):
    with pytest.raises(ConfigError, match="data.labels: no such file"):
        label_ids([tmp_path / "none.csv"])
    one = write(tmp_path / "one.csv", "id,mass*lung", "a,1")
    two = write(tmp_path / "two.csv", "id,mass*lung,cyst*lung", "b,1,0")
    with pytest.raises(ConfigError, match=r"one.csv and .*two.csv have different columns, such as 'cyst\*lung'"):
        read_label_files([one, two])
