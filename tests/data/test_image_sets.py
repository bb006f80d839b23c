"""Labels, lists and boxes of ChestX-ray14, VinDr-CXR and PASCAL VOC as they lie on disk, and what may be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from organcam.data.boxes import read_known_places
from organcam.data.discover import look_for_scans
from organcam.data.image_labels import NIH_LABELS, image_label_ids, image_label_names, label_name
from organcam.data.label_files import read_label_files
from organcam.data.split_tables import read_split_tables
from organcam.data.voc import read_mask, read_objects
from organcam.errors import ConfigError, DataError
from organcam.inventory import describe_data


@pytest.fixture(scope="module")
def nih(tmp_path_factory, image_sets) -> Path:
    folder = tmp_path_factory.mktemp("nih")
    image_sets.write_nih(folder)
    return folder


@pytest.fixture(scope="module")
def vindr(tmp_path_factory, image_sets) -> Path:
    folder = tmp_path_factory.mktemp("vindr")
    image_sets.write_vindr(folder)
    return folder


@pytest.fixture(scope="module")
def voc(tmp_path_factory, image_sets) -> Path:
    folder = tmp_path_factory.mktemp("voc") / "VOC2012"
    image_sets.write_voc(folder)
    return folder


def test_images_are_found_in_all_folders_with_their_patients(nih: Path, vindr: Path):
    found = look_for_scans(nih, kind="images").scans
    assert len(found) == 32
    assert {scan.image.parent.parent.name for scan in found} == {"images_001", "images_002"}
    by_id = {scan.scan_id: scan for scan in found}
    assert by_id["00000007_001"].patient_id == "00000007"
    assert [scan.scan_id for scan in look_for_scans(vindr / "train", kind="images").scans][1] == f"{1:032x}"
    passed = {one.path.name for one in look_for_scans(nih, kind="images").ignored}
    assert passed == {"Data_Entry_2017.csv", "BBox_List_2017.csv", "train_val_list.txt", "test_list.txt"}


def test_a_folder_of_images_for_volumes_and_the_other_way_round_say_what_to_set(nih: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="set data.kind: images"):
        look_for_scans(nih)
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds no 2D image"):
        look_for_scans(tmp_path, kind="images")


def test_lists_tell_splits_by_their_names(nih: Path, voc: Path, tmp_path: Path):
    splits = read_split_tables([nih / "train_val_list.txt", nih / "test_list.txt"])
    assert {name for name, split in splits.items() if split == "valid"} == {"00000011_000", "00000011_001"}
    assert splits["00000013_000"] == "test"
    of_voc = read_split_tables([voc / "ImageSets" / "Main" / name for name in ("train.txt", "val.txt")])
    assert (of_voc["2008_000000"], of_voc["2008_000007"]) == ("train", "valid")
    (tmp_path / "trian.txt").write_text("a\n")
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        read_split_tables([tmp_path / "trian.txt"])
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(ConfigError, match="names no image"):
        read_split_tables([tmp_path / "train.txt"])


def test_findings_of_chestxray14(nih: Path):
    path = nih / "Data_Entry_2017.csv"
    matrix = read_label_files([path], "images")
    assert list(matrix.columns) == list(NIH_LABELS) == image_label_names(path)
    assert matrix.loc["00000001_000"][matrix.loc["00000001_000"] > 0].index.tolist() == ["mass", "pleural_thickening"]
    assert not matrix.loc["00000001_001"].any()  # "No Finding"
    assert image_label_ids(path)[:2] == ["00000001_000", "00000001_001"]


def test_an_unknown_finding_is_told_with_its_image_and_the_nearest(nih: Path, tmp_path: Path):
    text = (nih / "Data_Entry_2017.csv").read_text().replace("Mass|Pleural_Thickening", "Mas", 1)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match="image '00000001_000.png' has the unknown finding 'Mas'; did you mean 'mass'"):
        read_label_files([tmp_path / "a.csv"], "images")


def test_a_finding_is_present_where_any_reader_of_vindr_saw_it(vindr: Path):
    matrix = read_label_files([vindr / "image_labels_train.csv"], "images")
    assert matrix.columns.tolist() == ["nodule_mass", "other_diseases", "no_finding"]
    assert matrix.loc[f"{1:032x}"].tolist() == [1, 0, 1]
    assert matrix.loc[f"{2:032x}"].tolist() == [0, 0, 1]
    of_boxes = read_label_files([vindr / "annotations_train.csv"], "images")
    assert (of_boxes["nodule_mass"].sort_index() == matrix["nodule_mass"].sort_index()).all()


def test_classes_of_voc_by_objects_and_by_masks(voc: Path):
    by_object, by_mask = (read_label_files([voc / name], "images") for name in ("Annotations", "SegmentationClass"))
    assert by_object.shape == (8, 20)
    assert by_object.equals(by_mask)
    assert by_object.loc["2008_000002", "boat"] == 1
    assert by_object.sum().sum() == 8


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("id,mass\na,2\n", "found '2' for id 'a' in column 'mass'"),
        ("id,mass\na,1\na,0\n", "id 'a' occurs more than once"),
        ("id\na\n", "no column beside its ids"),
        ("id,Mass,mass\na,1,1\n", "gives no label of its own"),
        ("id,mass\na,1,1\n", "not a readable CSV"),
        ("", "not a readable CSV"),
    ],
)
def test_tables_of_ones_own_are_checked(tmp_path: Path, table: str, said: str):
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises((ConfigError, DataError), match=said):
        read_label_files([tmp_path / "a.csv"], "images")


def test_a_table_of_ones_own(tmp_path: Path):
    (tmp_path / "a.csv").write_text("\ufeffname;Lung Opacity;Hernia\na.png;1;0\nb.jpg;0;1\n", encoding="utf-8")
    matrix = read_label_files([tmp_path / "a.csv"], "images")
    assert matrix.index.tolist() == ["a", "b"]
    assert matrix.columns.tolist() == ["lung_opacity", "hernia"]
    assert label_name(" Other  disease(s) ") == "other_diseases"


def test_boxes_of_chestxray14_hold_both_their_edges(nih: Path):
    places = read_known_places(nih / "BBox_List_2017.csv")
    assert set(places.labels) == {"mass", "infiltration"}
    name = next(name for name in ("00000016_000", "00000016_001") if name in places)
    masks = places.masks(name, (64, 64))
    rows, columns = np.nonzero(masks["infiltration"])  # x from 1.5 to 11.75, y from 2.5 to 14.5
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (2, 11, 3, 14)
    assert masks["mass"].sum() == 17 * 17


def test_boxes_of_all_readers_of_vindr_are_taken_together(vindr: Path):
    places = read_known_places(vindr / "annotations_train.csv")
    assert places.labels == ("nodule_mass",)
    assert f"{2:032x}" not in places  # "No finding" has no box
    rows, columns = np.nonzero(places.masks(f"{1:032x}", (64, 64))["nodule_mass"])
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 36, 11, 26)


def test_boxes_and_masks_of_voc(voc: Path):
    box = read_known_places(voc / "Annotations").masks("2008_000000", (64, 48))["dog"]
    mask = read_known_places(voc / "SegmentationClass").masks("2008_000000", (64, 48))["dog"]
    assert np.argwhere(box).min(0).tolist() == [11, 21]
    assert mask.sum() == 16 * 16
    with pytest.raises(DataError, match="has 64 x 48 pixels, its image 50 x 48"):
        read_known_places(voc / "SegmentationClass").masks("2008_000000", (50, 48))


OWN = "scan_id,label,x_min,y_min,x_max,y_max\n"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,mass,1,2,nan,4", "line 2: the box of 'mass' holds NaN"),
        ("a,mass,1,2,,4", "line 2: the box of 'mass' is no four numbers"),
        ("a,mass,1,2,inf,4", "holds NaN or infinity"),
        ("a,mass,5,2,4,4", "has no area"),
        ("a,,1,2,3,4", "a box has no label"),
    ],
)
def test_boxes_that_are_none_are_told_with_their_line(tmp_path: Path, row: str, said: str):
    (tmp_path / "a.csv").write_text(OWN + row + "\n")
    with pytest.raises(ConfigError, match=said):
        read_known_places(tmp_path / "a.csv")


def test_boxes_at_the_border_are_cut_and_those_beyond_it_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_text(OWN + "a,mass,-5,-5,3,2\nb,mass,70,1,80,5\nc,mass,4.2,4.2,4.4,4.4\n")
    places = read_known_places(tmp_path / "a.csv")
    assert places.masks("a", (64, 64))["mass"].sum() == 4 * 3
    assert np.argwhere(places.masks("c", (64, 64))["mass"]).tolist() == [[4, 4]]
    with pytest.raises(DataError, match="a box of mass lies outside of the image b, which has 64 x 64 pixels"):
        places.masks("b", (64, 64))


def test_a_table_of_no_known_form_names_the_legal_columns(tmp_path: Path):
    (tmp_path / "a.csv").write_text("image,xmin\na,1\n")
    with pytest.raises(ConfigError, match="legal are scan_id, label, x_min"):
        read_known_places(tmp_path / "a.csv")


BOMB = '<!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;">]><annotation><object><name>&d;</name></object></annotation>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "with a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "with a document type"),
        ("<annotation><object>", "no readable XML"),
        ("<annotation><object><name>dgo</name></object></annotation>", "unknown class 'dgo'; did you mean 'dog'"),
        ("<annotation><object><name>dog</name></object></annotation>", "a dog has no box"),
        ("<annotation>" + " " * 2**20 + "</annotation>", "larger than"),
    ],
)
def test_annotations_that_are_none_or_an_attack(tmp_path: Path, text: str, said: str):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=said):
        read_objects(tmp_path / "a.xml")


def test_annotations_in_another_encoding_cannot_hide_a_document_type(tmp_path: Path):
    (tmp_path / "a.xml").write_bytes(('<?xml version="1.0" encoding="utf-16"?>' + BOMB).encode("utf-16"))
    with pytest.raises(DataError, match="cannot be read as text"):
        read_objects(tmp_path / "a.xml")


def test_masks_that_are_none(tmp_path: Path):
    Image.fromarray(np.full((20, 20), 33, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "b.png")
    for name, said in (("a", "holds the value 33"), ("b", "no mask of classes")):
        with pytest.raises(DataError, match=said):
            read_mask(tmp_path / f"{name}.png")


def test_matlab_files_of_sbd_are_refused_with_the_remedy(tmp_path: Path):
    (tmp_path / "2008_000002.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ConfigError, match="MATLAB files of SBD.*as PNG"):
        read_known_places(tmp_path)


def test_a_folder_of_images_is_described(nih: Path, vindr: Path, tmp_path: Path):
    rows = {row["what"]: row["detail"] for row in describe_data(nih)}
    assert rows["2D images (data.kind: images)"].startswith("32: 00000002_000")
    assert rows["formats"] == ".png 32"
    assert rows["patients"] == "16, 16 of them with several scans"
    assert rows["rows, columns"] == "64 x 64 (of 32 headers read)"
    assert rows["2 files that are no images (.csv)"].startswith("BBox_List_2017.csv")
    radiographs = {row["what"]: row["detail"] for row in describe_data(vindr / "train")}
    assert radiographs["formats"] == ".dicom 12"
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ConfigError, match="holds no volume"):
        describe_data(tmp_path)
