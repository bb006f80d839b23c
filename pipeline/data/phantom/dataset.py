"""Phantom scans on disk, in the form of a real data set: NIfTI images, CSV tables, and the truth beside them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .plan import ScanSpec, plan_dataset
from .render import PhantomScan, render_scan
from .settings import PhantomSettings

__all__ = ["ScanTables", "write_dataset", "write_scan", "write_tables"]

ScanTables = dict[str, list[dict[str, object]]]
"""Rows for each table by its path in the data set, as plain data that travels between processes."""

TABLES = {
    "scans.csv": ("scan_id", "patient_id", "image", "split"),
    "reports.csv": ("scan_id", "report_text"),
    "truth/cells.csv": ("scan_id", "abnormality", "location", "status"),
    "truth/lesions.csv": ("scan_id", "value", "abnormality", "location", "kind", "confounder", "voxels", "mask"),
    "truth/organs.csv": ("scan_id", "organs"),
    "interventions.csv": ("scan_id", "counterpart", "inserted", "label"),
}

REGION_LABEL = {
    "nodule": "lung_nodule",
    "mass": "lung_mass",
    "consolidation": "lung_consolidation",
    "groundglass": "lung_groundglass",
    "pleural_effusion": "lung_pleural_effusion",
    "emphysema": "lung_emphysema",
    "atelectasis": "lung_atelectasis",
    "cyst": "lung_cyst",
    "coronary_calcification": "heart_coronary_artery_disease",
    "aortic_calcification": "h_great_vessel_atherosclerosis",
    "cardiomegaly": "heart_cardiomegaly",
    "pericardial_effusion": "heart_pericardial_effusion",
    "pacemaker": "heart_pacemaker_or_defib",
    "catheter": "h_great_vessel_catheter_or_port",
}
"""The region label that an intervention on a finding is about."""


def write_dataset(settings: PhantomSettings, out: str | Path) -> Path:
    """Write a whole data set, one scan after the other.

    Args:
        settings: what to make.
        out: a folder, made where it is missing.

    Returns:
        The folder.
    """
    out = Path(out)
    write_tables([write_scan(spec, settings, out) for spec in plan_dataset(settings)], out)
    return out


def write_scan(spec: ScanSpec, settings: PhantomSettings, out: str | Path) -> ScanTables:
    """Render one scan and write its image and masks; a second run writes the same bytes.

    Args:
        spec: one of :func:`plan_dataset`'s.
        settings: the data set's settings.
        out: the data set's folder.

    Returns:
        The scan's rows for :func:`write_tables`.
    """
    out = Path(out)
    scan = render_scan(settings, spec)
    _write_nifti(out / "images" / f"{spec.scan_id}.nii.gz", scan.hu, scan.affine)
    _write_nifti(out / "truth" / f"{spec.scan_id}_organs.nii.gz", scan.organs, scan.affine)
    _write_nifti(out / "truth" / f"{spec.scan_id}_lesions.nii.gz", scan.lesions, scan.affine)
    return _rows_of(scan)


def write_tables(tables: Sequence[ScanTables], out: str | Path) -> None:
    """Write the data set's CSV files from the rows of all scans, in the order given."""
    out = Path(out)
    for path, columns in TABLES.items():
        rows = [row for scan in tables for row in scan[path]]
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        text = pd.DataFrame(rows, columns=list(columns)).to_csv(index=False, lineterminator="\n")
        _write_bytes(out / path, text.encode())


def _rows_of(scan: PhantomScan) -> ScanTables:
    spec = scan.spec
    key = {"scan_id": spec.scan_id}
    rows: ScanTables = {
        "scans.csv": [
            {**key, "patient_id": spec.patient_id, "image": f"images/{spec.scan_id}.nii.gz", "split": spec.split}
        ],
        "reports.csv": [{**key, "report_text": scan.report}],
        "truth/cells.csv": [
            {**key, "abnormality": c.abnormality, "location": c.location, "status": c.status} for c in scan.cells
        ],
        "truth/lesions.csv": [
            {
                **key,
                "value": row.value,
                "abnormality": row.abnormality,
                "location": row.location,
                "kind": row.kind,
                "confounder": row.confounder,
                "voxels": row.voxels,
                "mask": f"{spec.scan_id}_lesions.nii.gz",
            }
            for row in scan.rows
        ],
        "truth/organs.csv": [{**key, "organs": f"{spec.scan_id}_organs.nii.gz"}],
        "interventions.csv": [],
    }
    if spec.inserted:
        rows["interventions.csv"].append(
            {**key, "counterpart": spec.counterpart, "inserted": spec.inserted, "label": REGION_LABEL[spec.target]}
        )
    return rows


def _write_nifti(path: Path, array: NDArray, affine: NDArray[np.float64]) -> None:
    """Write as scanners' files come: axes left, posterior, superior; millimetres; the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Transposing and flipping the slices gives nibabel its own memory order.
    stored = array[::-1].transpose(2, 1, 0)
    turn = np.array([[0, 0, -1, array.shape[0] - 1], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    image = nib.Nifti1Image(stored, affine @ turn)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine @ turn, code=1)
    image.set_sform(affine @ turn, code=1)
    _write_bytes(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_bytes(path: Path, data: bytes) -> None:
    """Through a temporary name, so that a killed run leaves no half file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)
