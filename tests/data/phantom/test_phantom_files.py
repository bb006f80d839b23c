"""The data set on disk: the layout of real data, readable, the same bytes every time."""

from __future__ import annotations

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.catalogue import region_labels
from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan, write_dataset, write_scan, write_tables

SMALL = PhantomSettings(
    shape=(12, 40, 48),
    spacing_mm=(26.0, 9.0, 8.0),
    scans={"train": 4, "valid": 2, "test": 2, "shifted": 2},
    interventions=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(SMALL, tmp_path_factory.mktemp("phantom") / "deep" / "set")


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_layout_is_complete(folder):
    scans = pd.read_csv(folder / "scans.csv")
    assert list(scans.columns) == ["scan_id", "patient_id", "image", "split"]
    assert len(scans) == 10 + 6
    assert set(scans.split) == {"train", "valid", "test", "shifted", "intervention"}
    expected = {
        "scans.csv",
        "reports.csv",
        "interventions.csv",
        "truth/cells.csv",
        "truth/lesions.csv",
        "truth/organs.csv",
    }
    for row in scans.itertuples():
        expected |= {row.image, f"truth/{row.scan_id}_organs.nii.gz", f"truth/{row.scan_id}_lesions.nii.gz"}
    assert set(digests(folder)) == expected


def test_tables_refer_to_scans_and_labels(folder):
    scans = set(pd.read_csv(folder / "scans.csv").scan_id)
    reports = pd.read_csv(folder / "reports.csv")
    assert set(reports.scan_id) == scans
    assert reports.report_text.str.len().min() > 50
    for name in ("truth/cells.csv", "truth/lesions.csv", "interventions.csv"):
        assert set(pd.read_csv(folder / name).scan_id) <= scans
    interventions = pd.read_csv(folder / "interventions.csv")
    assert set(interventions.counterpart) <= scans
    assert set(interventions.label) == {"h_great_vessel_atherosclerosis", "lung_pleural_effusion"}
    assert set(interventions.label) <= {label.name for label in region_labels()}
    assert interventions.groupby(["label", "inserted"]).size().tolist() == [1, 1, 1, 1]


def test_scans_of_an_intervention_are_one_patient(folder):
    scans = pd.read_csv(folder / "scans.csv").set_index("scan_id")
    for row in pd.read_csv(folder / "interventions.csv").itertuples():
        assert scans.patient_id[row.scan_id] == scans.patient_id[row.counterpart]


def test_volumes_read_back_in_place(folder):
    spec = plan_dataset(SMALL)[0]
    scan = render_scan(SMALL, spec)
    for path, array, kind in (
        (f"images/{spec.scan_id}.nii.gz", scan.hu, np.int16),
        (f"truth/{spec.scan_id}_organs.nii.gz", scan.organs, np.uint8),
        (f"truth/{spec.scan_id}_lesions.nii.gz", scan.lesions, np.uint16),
    ):
        image = nib.load(folder / path)
        assert image.get_data_dtype() == kind
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == pytest.approx((8.0, 9.0, 26.0))
        assert image.header.get_xyzt_units()[0] == "mm"
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform(), atol=1e-4)
        # To the network frame (inferior, posterior, left) by nibabel alone.
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(("I", "P", "L"))
        )
        turned = image.as_reoriented(turn)
        np.testing.assert_array_equal(np.asarray(turned.dataobj), array)
        np.testing.assert_allclose(turned.affine, scan.affine, atol=1e-3)


def test_organ_masks_are_found_by_their_table(folder):
    table = pd.read_csv(folder / "truth" / "organs.csv")
    assert len(table) == 16
    assert all((folder / "truth" / name).is_file() for name in table.organs)


def test_lesion_values_are_those_of_the_table(folder):
    table = pd.read_csv(folder / "truth" / "lesions.csv", keep_default_na=False)
    assert set(table.kind) == {"lesion", "confounder"}
    assert (table.abnormality[table.kind == "confounder"] == "").all()
    assert set(table.confounder) == {"", "body_wall_fat", "metal_token"}
    for _, rows in table.groupby("scan_id"):
        values = np.unique(np.asarray(nib.load(folder / "truth" / rows["mask"].iloc[0]).dataobj))
        assert set(values) - {0} == set(rows.value[rows.voxels > 0])


def test_second_run_writes_the_same_bytes(folder, tmp_path):
    write_dataset(SMALL, tmp_path)
    assert digests(tmp_path) == digests(folder)


def test_order_and_workers_do_not_matter(folder, tmp_path):
    specs = plan_dataset(SMALL)
    arguments = pickle.loads(pickle.dumps((write_scan, SMALL)))  # what a process pool would send
    with ThreadPoolExecutor(2) as pool:
        tables = list(pool.map(lambda spec: arguments[0](spec, arguments[1], tmp_path), reversed(specs)))
    write_tables(tables[::-1], tmp_path)
    assert digests(tmp_path) == digests(folder)


def test_no_partial_file_is_left(folder):
    assert not list(folder.rglob("*.partial"))
