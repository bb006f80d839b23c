"""Who a patient is stands in DICOM headers, and must stand nowhere in what a run writes or says."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, write_scan
from organcam.data.readers import read_volume

THICK = 10.0
PLANTED = ("DOEPLANTED", "MRN4711X", "ACC0815X", "19330307", "20190228", "DRPLANTED", "PLANTEDHOSPITAL")


def study(folder: Path, number: int, slices: int = 4, voxels: np.ndarray | None = None, mm: float = 5.0) -> list[Path]:
    """A series whose every field of a person is planted; ``voxels`` ``[slice, row, column]`` in HU from the feet up."""
    if voxels is None:
        voxels = np.full((slices, 24, 24), -1024, np.int16)
        voxels[:, 4:20, 4:20] = 36
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    folder.mkdir(parents=True)
    files = []
    for index, pixels in enumerate(voxels):
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
        one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, THICK * index], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [mm, mm], THICK
        one.Rows, one.Columns = pixels.shape
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, -1024
        one.PixelData = (pixels.astype(np.int16) + 1024).astype(np.int16).tobytes()
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
    require_nothing_planted(written)


def require_nothing_planted(written: dict[str, bytes]) -> None:
    for word in PLANTED:
        for name, content in written.items():
            assert word.encode() not in content, (word, name)


@pytest.mark.slow
def test_nor_into_models_maps_figures_and_pages_of_a_whole_run(tmp_path):
    """Phantoms as a hospital's DICOM, from their series to the pages."""
    settings = PhantomSettings(shape=(24, 64, 64), scans={"train": 10, "valid": 4, "test": 4}, interventions=0)
    for number, spec in enumerate(plan_dataset(settings)):
        write_scan(spec, settings, tmp_path / "phantom")
        scan = read_volume(tmp_path / "phantom" / "images" / f"{spec.scan_id}.nii.gz")
        voxels = scan.reoriented("SPL").array
        study(tmp_path / "data" / spec.scan_id, number, voxels=voxels, mm=scan.reoriented("SPL").spacing[1])
    texts = [
        f"{spec.scan_id},{' '.join(['Nodule in the right lung.', 'Pleural effusion.'][: n % 3])}"
        for n, spec in enumerate(plan_dataset(settings))
    ]
    (tmp_path / "reports.csv").write_text("scan_id,report_text\n" + "\n".join(texts) + "\n")
    out, spacing = tmp_path / "out", [THICK, scan.spacing[0], scan.spacing[0]]
    changes = [f"data.images={tmp_path / 'data'}", f"data.reports={tmp_path / 'reports.csv'}", "input.shape=[24,64,64]"]
    changes += [
        f"store.spacing_mm={spacing}",
        "train.epochs=1",
        "labels.min_positives=1",
        "explain.volumes=[predicted]",
    ]
    changes += ["network={name: axialnet, backbone: small}"]
    done = subprocess.run(
        [sys.executable, "-m", "organcam", "run", "folder", "--out", str(out), "--workers", "2"]
        + [word for setting in changes for word in ("--set", setting)],
        capture_output=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode in (0, 3), done.stderr.decode()
    written = {**everything(out), "stdout": done.stdout, "stderr": done.stderr}
    assert any(name.startswith("report/") for name in written)
    assert any(name.endswith("model.pt") for name in written)
    require_nothing_planted(written)
