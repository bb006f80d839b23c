"""Who a patient is stands in DICOM headers, and must stand nowhere in what a run writes or says."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

PLANTED = ("DOEPLANTED", "MRN4711X", "ACC0815X", "19330307", "20190228", "DRPLANTED", "PLANTEDHOSPITAL")


def study(folder: Path, number: int, slices: int = 4) -> list[Path]:
    """A series whose every field of a person is planted."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    folder.mkdir(parents=True)
    files = []
    for index in range(slices):
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}.{index + 1}"
        one.ImageType, one.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
        one.PatientName, one.PatientID = f"DOEPLANTED^{number}", f"MRN4711X{number}"
        one.AccessionNumber, one.PatientBirthDate = f"ACC0815X{number}", "19330307"
        one.StudyDate = one.SeriesDate = one.ContentDate = "20190228"
        one.ReferringPhysicianName, one.InstitutionName = "DRPLANTED", "PLANTEDHOSPITAL"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = f"1.1.{number}", f"1.2.{number}", index + 1
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, 5.0 * index], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [5.0, 5.0], 5.0
        one.Rows = one.Columns = 24
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, -1024
        pixels = np.zeros((24, 24), np.int16)
        pixels[4:20, 4:20] = 1060
        one.PixelData = pixels.tobytes()
        files.append(folder / f"{index}.dcm")
        pydicom.dcmwrite(files[-1], one, enforce_file_format=True)
    return files


def everything(out: Path) -> dict[str, bytes]:
    """Every file of a run by name, unpacked."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = b"".join(map(archive.read, archive.namelist()))
        found[str(path.relative_to(out))] = content
    return found


def test_nothing_of_a_dicom_header_that_tells_a_patient_gets_into_a_run(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    study(data / "a", 1, slices=30)
    hurt = study(data / "b", 2)
    hurt[2].write_bytes(hurt[2].read_bytes()[:-100])
    study(data / "c", 3)[1].unlink()
    study(data / "d" / "one", 4)
    two = study(data / "e", 5)
    for file in study(data / "f", 6):
        file.rename(two[0].parent / f"x{file.name}")  # two patients in one folder
    (tmp_path / "reports.csv").write_text("scan_id,report_text\na,Nodule in the right lung.\nzz,Normal.\n")
    settings = [f"data.images={data}", f"data.reports={tmp_path / 'reports.csv'}", "data.max_failed=1"]
    done = subprocess.run(
        [sys.executable, "-m", "organcam", "run", "folder", "--out", str(out), "--until", "store", "--workers", "2"]
        + [word for setting in settings for word in ("--set", setting)],
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 3, done.stderr.decode()
    written = {**everything(out), "stdout": done.stdout, "stderr": done.stderr}
    assert "scans/a.json" in written
    assert written["failures.csv"].count(b"\n") > 4
    for word in PLANTED:
        for name, content in written.items():
            assert word.encode() not in content, (word, name)
