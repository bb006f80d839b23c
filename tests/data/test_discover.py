import nibabel as nib
import numpy as np
import pytest

from organcam.data.discover import find_scans, read_reports, unique_report
from organcam.errors import ConfigError, DataError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), path)
    return path


def test_folder_gives_its_volumes_by_name(tmp_path):
    for name in ("b.nii.gz", "a.nii"):
        touch(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert [scan.scan_id for scan in find_scans(tmp_path)] == ["a", "b"]


def test_csv_paths_are_relative_to_the_csv_and_carry_split_and_patient(tmp_path):
    (tmp_path / "scans.csv").write_text("id,file,patient_id,split\n007,in/a.nii.gz,p,test\n")
    (scan,) = find_scans(tmp_path / "scans.csv", "id", "file")
    assert (scan.scan_id, scan.image, scan.patient_id, scan.split) == ("007", tmp_path / "in/a.nii.gz", "p", "test")


def test_missing_column_names_the_nearest_one(tmp_path):
    (tmp_path / "scans.csv").write_text("scan_ids,image\na,b\n")
    with pytest.raises(ConfigError, match="did you mean 'scan_ids'"):
        find_scans(tmp_path / "scans.csv")


@pytest.mark.parametrize("content", ["", "scan_id,image\n"])
def test_empty_csv_is_told(tmp_path, content):
    (tmp_path / "scans.csv").write_text(content)
    with pytest.raises(ConfigError, match=r"scans\.csv"):
        find_scans(tmp_path / "scans.csv")


def test_empty_folder_and_absent_path_are_told(tmp_path):
    with pytest.raises(ConfigError, match="no volume"):
        find_scans(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        find_scans(tmp_path / "absent")


def test_dicom_folders_are_found_below_a_folder_without_volumes(shared_data, tmp_path):
    target = tmp_path / "study" / "series"
    target.mkdir(parents=True)
    for file in sorted((shared_data / "lung_pet_ct_dx" / "A0002_dicom").iterdir())[:3]:
        (target / file.name).write_bytes(file.read_bytes())
    assert [(scan.scan_id, scan.image) for scan in find_scans(tmp_path)] == [("study_series", target)]


def test_report_columns_are_joined_and_conflicting_duplicates_refused(tmp_path):
    (tmp_path / "r.csv").write_text('id,a,b\n1,"x, y",z\n2,,only\n2,,other\n3,same,\n3,same,\n')
    reports = read_reports(tmp_path / "r.csv", "id", ["a", "b"])
    assert unique_report(reports, "1") == "x, y\nz"
    assert unique_report(reports, "3") == "same"
    with pytest.raises(DataError, match="2 times with different texts"):
        unique_report(reports, "2")
