"""Folders as groups have them: every scan at any depth is found, and what is passed over is counted and named."""

from __future__ import annotations

from pathlib import Path, PurePath

import nibabel as nib
import numpy as np
import pytest

from organcam.data.discover import look_for_scans, paired_id
from organcam.data.found import id_of_path, passed_in_words
from organcam.data.readers import read_geometry, read_volume, source_files
from organcam.errors import ConfigError, DataError

LOCALIZER = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
CORONAL = [1, 0, 0, 0, 0, -1]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), path)
    return path


def found(folder: Path, **options):
    return look_for_scans(folder, **options)


def ids(folder: Path, **options) -> list[str]:
    return [scan.scan_id for scan in found(folder, **options).scans]


def kinds(passed) -> dict[str, int]:
    return {kind: sum(one.kind == kind for one in passed) for kind in {one.kind for one in passed}}


def test_volumes_in_folders_by_patient_are_found_with_ids_and_patients_of_their_path(tmp_path):
    for name in ("anna/ct.nii.gz", "bert/ct.nii.gz", "bert/later/ct.nrrd", "single.mha"):
        touch(tmp_path / name) if name.endswith(".gz") else (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scans = found(tmp_path).scans
    assert [scan.scan_id for scan in scans] == ["anna_ct", "bert_ct", "bert_later_ct", "single"]
    assert [scan.patient_id for scan in scans] == ["anna", "bert", "bert", "single"]


def test_folders_that_all_scans_share_tell_no_patients_apart(tmp_path):
    for name in ("export/2020/p1/a.nii.gz", "export/2020/p1/b.nii.gz", "export/2020/p2/a.nii.gz"):
        touch(tmp_path / name)
    assert [scan.patient_id for scan in found(tmp_path).scans] == ["p1", "p1", "p2"]
    assert ids(tmp_path) == ["export_2020_p1_a", "export_2020_p1_b", "export_2020_p2_a"]


def test_a_dicom_folder_beside_nifti_files_is_a_scan_too(tmp_path, series):
    touch(tmp_path / "a.nii.gz")
    series(tmp_path / "b")
    assert ids(tmp_path) == ["a", "b"]


def test_two_patients_whose_series_folders_have_one_name_are_two_scans(tmp_path, series):
    series(tmp_path / "p1" / "series 2", uid="1.2.1", study="1.1")
    series(tmp_path / "p2" / "series 2", uid="1.2.2", study="1.2", PatientID="other")
    scans = found(tmp_path).scans
    assert [scan.scan_id for scan in scans] == ["p1_series_2", "p2_series_2"]
    assert len({scan.patient_id for scan in scans}) == 2


def test_patients_are_those_of_the_header_whatever_the_folders_say(tmp_path, series):
    for number, patient in enumerate(("A", "B", "A")):
        series(tmp_path / f"exam{number}", uid=f"1.{number}", study=f"2.{number}", PatientID=patient)
    first, second, third = (scan.patient_id for scan in found(tmp_path).scans)
    assert first == third != second
    assert first.startswith("p")


def test_one_patient_for_all_headers_of_several_folders_is_no_patient(tmp_path, series):
    for number in range(3):
        series(tmp_path / f"exam{number}", uid=f"1.{number}", study=f"2.{number}", PatientID="ANON")
    assert [scan.patient_id for scan in found(tmp_path).scans] == ["exam0", "exam1", "exam2"]


def test_a_volume_in_the_folder_of_a_series_is_of_its_patient(tmp_path, series):
    series(tmp_path / "x" / "dicom", uid="1.1", study="2.1", PatientID="A")
    series(tmp_path / "y" / "dicom", uid="1.2", study="2.2", PatientID="B")
    touch(tmp_path / "x" / "later.nii.gz")
    scans = {scan.scan_id: scan.patient_id for scan in found(tmp_path).scans}
    assert scans["x_later"] == scans["x_dicom"] != scans["y_dicom"]


def test_of_a_study_the_axial_original_series_with_most_slices_is_taken_and_the_others_named(tmp_path, series):
    series(tmp_path / "1", 2, uid="9.1", ImageType=LOCALIZER)
    series(tmp_path / "2", 6, uid="9.2")
    series(tmp_path / "3", 4, uid="9.3")
    series(tmp_path / "4", 9, uid="9.4", ImageType=["DERIVED", "SECONDARY", "REFORMATTED"])
    series(tmp_path / "5", 9, uid="9.5", ImageOrientationPatient=CORONAL)
    series(tmp_path / "6", 9, uid="9.6", Modality="PT")
    series(tmp_path / "7", 1, uid="9.7")
    (tmp_path / "8").mkdir()
    (tmp_path / "8" / "dose.pdf").touch()
    finds = found(tmp_path)
    assert [scan.image for scan in finds.scans] == [tmp_path / "2"]
    assert kinds(finds.ignored) == {
        "localizer series": 1,
        "series of a study whose other series has as many slices or more": 1,
        "derived series": 1,
        "series reformatted to another plane": 1,
        "series of modality PT": 1,
        "series of a single picture": 1,
        "files that are no scans (.pdf)": 1,
    }
    assert "1 localizer series: 1" in passed_in_words(finds.ignored, tmp_path)
    assert ids(tmp_path, series="all") == ["2", "3"]


def test_series_mixed_in_one_folder_are_told_apart_and_read_alone(tmp_path, series):
    series(tmp_path / "all", 4, uid="9.1", study="1", prefix="a")
    series(tmp_path / "all", 6, uid="9.2", study="2", prefix="b", PatientID="other")
    series(tmp_path / "all", 2, uid="9.3", study="1", prefix="c", ImageType=LOCALIZER)
    scans = found(tmp_path).scans
    assert [scan.scan_id for scan in scans] == ["all_a001", "all_b001"]
    assert [read_volume(scan.image).array.shape[2] for scan in scans] == [4, 6]
    assert [read_geometry(scan.image)[0][2] for scan in scans] == [4, 6]
    assert [len(source_files(scan.image)) for scan in scans] == [4, 6]
    with pytest.raises(DataError, match="more than one patient"):
        read_volume(tmp_path / "all")


def test_a_cut_slice_among_several_series_costs_its_own_series(tmp_path, series):
    whole = series(tmp_path, 4, uid="9.1", study="1", prefix="a")
    hurt = series(tmp_path, 6, uid="9.2", study="2", prefix="b")
    hurt[-1].write_bytes(hurt[-1].read_bytes()[:-50])
    with pytest.raises(DataError, match="1 of its files cannot be read or are cut short, the first is b006"):
        read_volume(hurt[0])
    assert read_volume(whole[0]).array.shape[2] == 4
    hurt[-1].write_bytes(hurt[-1].read_bytes()[:200])  # it no longer tells its series: its neighbour's, by name
    with pytest.raises(DataError, match="b006"):
        read_volume(hurt[0])
    assert read_volume(whole[0]).array.shape[2] == 4


def test_a_copy_is_taken_once_and_a_series_over_two_folders_refused(tmp_path, series):
    series(tmp_path / "a", uid="1.1", study="1")
    series(tmp_path / "b", uid="1.1", study="1")
    series(tmp_path / "c", 3, uid="1.2", study="2")
    files = series(tmp_path / "d", 6, uid="1.2", study="2")
    for file in files[:3]:
        file.unlink()
    finds = found(tmp_path)
    assert [scan.scan_id for scan in finds.scans] == ["a"]
    assert kinds(finds.ignored) == {"copy of a series in another folder": 1}
    assert [one.reason for one in finds.refused] == ["slices of one series lie in 2 folders (c, d); put them into one"]


def test_a_study_without_an_axial_original_series_is_refused_by_name(tmp_path, series):
    series(tmp_path / "a", uid="1.1", ImageOrientationPatient=CORONAL)
    (refused,) = found(tmp_path).refused
    assert refused.path == tmp_path / "a"
    assert refused.reason == ("the study holds no axial original CT series, only a series reformatted to another plane")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"Modality": "MR"}, "its modality is MR, not CT"),
        ({"ImageOrientationPatient": CORONAL}, "its slices are coronal"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "its slices are sagittal"),
    ],
)
def test_series_of_another_kind_are_refused_where_they_are_named_themselves(tmp_path, series, header, words):
    series(tmp_path / "a", **header)
    with pytest.raises(DataError, match=words):
        read_volume(tmp_path / "a")


def test_rescale_and_padding_of_a_series_reach_the_voxels_once(tmp_path, series):
    series(tmp_path / "a", RescaleSlope=2, RescaleIntercept=-1000)
    assert read_volume(tmp_path / "a").array[0, 0].tolist() == [-1000, -800, -600, -400]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"], ids=["run length", "deflated"])
def test_compressed_series_are_found_and_read(tmp_path, series, syntax):
    pydicom = pytest.importorskip("pydicom")
    files = series(tmp_path / "a")
    plain = read_volume(tmp_path / "a")
    for file in files:
        one = pydicom.dcmread(file)
        if syntax == "1.2.840.10008.1.2.5":
            one.compress(syntax, generate_instance_uid=False)
        else:
            one.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(file, one, enforce_file_format=True)
    (scan,) = found(tmp_path).scans
    np.testing.assert_array_equal(read_volume(scan.image).array, plain.array)


def test_series_whose_headers_are_all_cut_are_refused_by_name(tmp_path, series):
    for file in series(tmp_path / "a"):
        file.write_bytes(file.read_bytes()[:300])
    (refused,) = found(tmp_path).refused
    assert refused.reason == "the study holds no axial original CT series, only a series of cut headers"


def test_reports_stand_under_the_accession_number_or_any_name_of_one_scan_alone(tmp_path, series):
    series(tmp_path / "p1" / "ct", uid="1.1", study="1", AccessionNumber="A1")
    touch(tmp_path / "p2" / "ct" / "scan.nii.gz")
    touch(tmp_path / "p3" / "ct" / "scan.nii.gz")
    dicom, second, third = found(tmp_path).scans
    assert paired_id(dicom, {"A1", "p1"}) == "A1"
    assert paired_id(second, {"p2", "scan", "ct"}) == "p2"
    assert paired_id(second, {"scan", "ct"}) == "p2_ct_scan"  # names that two scans have belong to none
    assert paired_id(third, {"p3/ct/scan.nii.gz"}) == "p3/ct/scan.nii.gz"


def test_ids_can_be_hashes_or_accession_numbers(tmp_path, series):
    series(tmp_path / "DOE_JANE" / "ct", uid="1.1", study="1", AccessionNumber="A1")
    touch(tmp_path / "DOE_JIM" / "ct.nii.gz")
    hidden = found(tmp_path, ids="hash").scans
    assert not any("DOE" in scan.scan_id + scan.patient_id for scan in hidden)
    assert len({scan.scan_id for scan in hidden}) == 2
    assert ids(tmp_path, ids="accession") == ["A1", "DOE_JIM_ct"]


def test_hidden_files_run_directories_and_voxels_of_a_header_are_no_scans(tmp_path):
    touch(tmp_path / "a.nii.gz")
    touch(tmp_path / ".trash" / "b.nii.gz")
    touch(tmp_path / "._a.nii.gz")
    touch(tmp_path / "runs" / "mine" / "organs" / "a_organs.nii.gz")
    for name in ("workflow.yaml", "run.json"):
        (tmp_path / "runs" / "mine" / name).touch()
    (tmp_path / "c.mhd").touch()
    (tmp_path / "c.raw").touch()
    finds = found(tmp_path)
    assert [scan.scan_id for scan in finds.scans] == ["a", "c"]
    assert kinds(finds.ignored) == {"run directories": 1}


def test_links_are_followed_and_circles_end(tmp_path):
    touch(tmp_path / "disk" / "p1" / "a.nii.gz")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "p1").symlink_to(tmp_path / "disk" / "p1")
    (tmp_path / "disk" / "p1" / "loop").symlink_to(tmp_path / "data")
    assert ids(tmp_path / "data") == ["p1_a"]


def test_a_folder_without_any_scan_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="no DICOM series; it holds 1 other files and series"):
        found(tmp_path)


def test_repaired_volumes_of_ct_rate_come_before_blank_ones_and_other_reconstructions_are_counted(tmp_path):
    for place in ("train", "train_fixed"):
        for name in ("train_3_a_1", "train_3_a_2"):
            touch(tmp_path / "dataset" / place / "train_3" / "train_3_a" / f"{name}.nii.gz")
    finds = found(tmp_path)
    (scan,) = finds.scans
    assert (scan.scan_id, scan.patient_id, scan.split) == ("train_3_a_1", "train_3", "train")
    assert "train_fixed" in scan.image.parts
    assert kinds(finds.ignored) == {"further reconstructions of a study of CT-RATE": 3}


@pytest.mark.parametrize("name", ["a" * 300, "Müller, Hans/CT Thorax 1.25mm (A).nii.gz", "..", "con/x.nii"])
def test_any_path_makes_an_id_that_can_be_a_file_name(name):
    from organcam.runner import safe_id

    assert safe_id(id_of_path(PurePath(name)))
