"""DICOM series as hospitals have them, written by pydicom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

PHI = {"name": "DOE^JANE", "patient": "MRN4711", "accession": "ACC0815", "birth": "19330307", "date": "20190228"}


@pytest.fixture(scope="session")
def series() -> Callable[..., list[Path]]:
    """``series(folder, count, uid, study, prefix, **header)`` writes slices of 8 x 10 pixels, or of given ones."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset

    def write(folder, count=4, uid="1.2.3.1", study="1.2.3", prefix="s", step=2.0, **header) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for index in range(count):
            one = Dataset()
            one.file_meta = FileMetaDataset()
            one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{index + 1}"
            one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            one.Modality = "CT"
            one.PatientName, one.PatientID = PHI["name"], PHI["patient"]
            one.PatientBirthDate, one.StudyDate, one.AccessionNumber = PHI["birth"], PHI["date"], PHI["accession"]
            one.StudyInstanceUID, one.SeriesInstanceUID, one.InstanceNumber = study, uid, index + 1
            one.ImagePositionPatient, one.ImageOrientationPatient = [-10, -20, step * index], [1, 0, 0, 0, 1, 0]
            one.PixelSpacing, one.SliceThickness = [0.7, 0.7], step
            one.Rows, one.Columns, one.SamplesPerPixel = 8, 10, 1
            one.BitsAllocated = one.BitsStored = 16
            one.HighBit, one.PixelRepresentation, one.PhotometricInterpretation = 15, 1, "MONOCHROME2"
            one.RescaleSlope, one.RescaleIntercept = 1, -1024
            one.PixelData = np.full((8, 10), 100 * index, np.int16).tobytes()
            for keyword, value in header.items():
                setattr(one, keyword, value)
            files.append(folder / f"{prefix}{index + 1:03d}")
            pydicom.dcmwrite(files[-1], one, enforce_file_format=True)
        return files

    return write
