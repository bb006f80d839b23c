"""Made 2D data sets in the exact on-disk form of the published ones; a bright square is the finding."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64


def radiograph(seed: int, mass: tuple[int, int] | None = None, side: int = SIDE) -> NDArray[np.uint8]:
    """Grey noise, with a bright square of 16 pixels at (row, column)."""
    pixels = np.random.default_rng(seed).normal(90, 12, (side, side))
    if mass is not None:
        row, column = mass
        pixels[row : row + 16, column : column + 16] += 120
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_dicom(path: Path, pixels: NDArray, photometric: str = "MONOCHROME2", bits: int = 12, **fields: Any) -> None:
    """A digital radiograph as a hospital writes it, names of the patient included."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientName, dataset.PatientID = "DX", "Secret^Name", "SECRET1"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.ImagerPixelSpacing = [0.2, 0.3]
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def write_nih(folder: Path, patients: int = 16) -> Mapping[str, str]:
    """ChestX-ray14: images in twelve folders' form, the table of labels, both lists, the table of boxes."""
    rows, boxes, lists = [], [], {"train_val": [], "test": []}
    (folder / "images_001" / "images").mkdir(parents=True)
    (folder / "images_002" / "images").mkdir(parents=True)
    for patient in range(1, patients + 1):
        for visit in range(2):
            name = f"{patient:08d}_{visit:03d}.png"
            mass = (8 + 4 * (patient % 7), 40 - 4 * (patient % 5)) if (patient + visit) % 2 else None
            part = folder / f"images_{1 + patient % 2:03d}" / "images"
            Image.fromarray(radiograph(100 * patient + visit, mass)).save(part / name)
            found = "Mass|Pleural_Thickening" if mass else ("No Finding" if visit else "Cardiomegaly")
            rows.append(f"{name},{found},{visit},{patient},58,M,PA,2682,2749,0.143,0.143,")
            lists["test" if patient > patients - 4 else "train_val"].append(name)
            if mass and patient > patients - 4:
                boxes.append(f"{name},Mass,{mass[1]}.0,{mass[0]}.0,16.0,16.0,,,")
                if patient == patients:
                    boxes.append(f"{name},Infiltrate,1.5,2.5,10.25,12.0,,,")
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    (folder / "Data_Entry_2017.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "BBox_List_2017.csv").write_text(
        "\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n"
    )
    for name, names in lists.items():
        (folder / f"{name}_list.txt").write_text("\n".join(names))
    return {
        "data.images": str(folder),
        "data.labels": str(folder / "Data_Entry_2017.csv"),
        "data.splits": f"[{folder / 'train_val_list.txt'}, {folder / 'test_list.txt'}]",
        "data.lesions": str(folder / "BBox_List_2017.csv"),
    }


def write_vindr(folder: Path, images: int = 12) -> Mapping[str, str]:
    """VinDr-CXR: DICOM files, three readers' labels of each, and their boxes; rows without a finding have no box."""
    (folder / "train").mkdir(parents=True)
    labels, boxes = [], []
    for number in range(images):
        name = f"{number:032x}"
        mass = (8 + 2 * number, 20) if number % 2 else None
        pixels = radiograph(number, mass).astype(np.uint16) * 16
        stored = (4095 - pixels, "MONOCHROME1") if number % 3 == 0 else (pixels, "MONOCHROME2")
        write_dicom(folder / "train" / f"{name}.dicom", *stored)
        for reader in range(3):
            seen = mass is not None and reader < 2
            labels.append(f"{name},R{reader + 8},{int(seen)},0,{int(not seen)}")
            if seen:
                box = f"20.{reader},{8 + 2 * number}.5,36.0,{24 + 2 * number}.0"
                boxes.append(f"{name},R{reader + 8},Nodule/Mass,{box}")
            else:
                boxes.append(f"{name},R{reader + 8},No finding,,,,")
    (folder / "image_labels_train.csv").write_text(
        "\n".join(["image_id,rad_id,Nodule/Mass,Other disease(s),No finding", *labels]) + "\n"
    )
    (folder / "annotations_train.csv").write_text(
        "\n".join(["image_id,rad_id,class_name,x_min,y_min,x_max,y_max", *boxes]) + "\n"
    )
    return {
        "data.images": str(folder / "train"),
        "data.labels": str(folder / "image_labels_train.csv"),
        "data.lesions": str(folder / "annotations_train.csv"),
    }


def write_voc(folder: Path, images: int = 8) -> Mapping[str, str]:
    """PASCAL VOC 2012: colour photographs of two sizes, XML annotations, masks with a palette, lists of both tasks."""
    for name in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    names = []
    for number in range(images):
        name, (height, width) = f"2008_{number:06d}", (48, 64) if number % 2 else (64, 48)
        names.append(name)
        pixels = np.stack([radiograph(3 * number + channel)[:height, :width] for channel in range(3)], axis=-1)
        label, value, channel = ("dog", 12, 0) if number % 4 < 2 else ("boat", 4, 2)
        pixels[10:26, 20:36, channel] = 250
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><folder>VOC2012</folder><filename>{name}.jpg</filename><size><width>{width}</width><height>"
            f"{height}</height><depth>3</depth></size><object><name>{label}</name><difficult>0</difficult><bndbox>"
            "<xmin>21</xmin><ymin>11</ymin><xmax>36</xmax><ymax>26</ymax></bndbox></object></annotation>"
        )
        mask = np.zeros((height, width), np.uint8)
        mask[9:27, 19:37] = 255  # a border that is not judged
        mask[10:26, 20:36] = value
        image = Image.fromarray(mask)
        image.putpalette([part for entry in range(256) for part in (entry, entry // 2, 255 - entry)])
        image.save(folder / "SegmentationClass" / f"{name}.png")
    for task in ("Main", "Segmentation"):
        (folder / "ImageSets" / task / "train.txt").write_text("\n".join(names[: images // 2]) + "\n")
        (folder / "ImageSets" / task / "val.txt").write_text("\n".join(names[images // 2 :]) + "\n")
    lists = folder / "ImageSets" / "Main"
    return {
        "data.images": str(folder / "JPEGImages"),
        "data.labels": str(folder / "Annotations"),
        "data.splits": f"[{lists / 'train.txt'}, {lists / 'val.txt'}]",
        "data.lesions": str(folder / "Annotations"),
    }
