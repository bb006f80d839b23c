"""Masks of other tools in a run: how they are found, checked, and completed."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.data.volume import Volume
from organcam.errors import ConfigError, DataError
from organcam.runner import Unit
from organcam.segmentation.external import LABEL_TABLES
from organcam.stages.external_masks import MaskFolder, organs_from_mask
from organcam.stages.segment import _with_mask


@pytest.fixture(scope="module")
def scan():
    settings = PhantomSettings(scans={"test": 1}, interventions=0, confounders=())
    return render_scan(settings, plan_dataset(settings)[0])


def save(path, array, affine):
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_the_mask_of_a_scan_is_found_by_its_id(tmp_path):
    for name in ("a.nii.gz", "a_organs.nii.gz", "b_seg.mha", "c_left.nii.gz", "c_right.nii.gz", "d_x.nii", "ab.nrrd"):
        (tmp_path / name).touch()
    assert MaskFolder(tmp_path).find("a").name == "a.nii.gz"
    assert MaskFolder(tmp_path).find("b").name == "b_seg.mha"
    assert MaskFolder(tmp_path).find("d").name == "d_x.nii"
    with pytest.raises(DataError, match="found c_left.nii.gz, c_right.nii.gz"):
        MaskFolder(tmp_path).find("c")
    with pytest.raises(DataError, match="found none"):
        MaskFolder(tmp_path).find("e")
    with pytest.raises(ConfigError, match="no such folder"):
        MaskFolder(tmp_path / "none")


def test_a_changed_mask_has_another_stamp(tmp_path):
    def stamp():
        return _with_mask(Unit("a", {}, {}), MaskFolder(tmp_path)).inputs["mask"]

    missing = stamp()
    (tmp_path / "a.nii.gz").write_bytes(b"1")
    first = stamp()
    (tmp_path / "a.nii.gz").write_bytes(b"22")
    assert len({missing, first, stamp()}) == 3


def test_a_mask_stored_in_other_axes_is_put_on_the_scans(scan, tmp_path):
    turned = Volume(scan.organs, scan.affine).reoriented("RAS")
    path = save(tmp_path / "a.nii.gz", turned.array, turned.affine)
    found = organs_from_mask(Volume(scan.hu, scan.affine), path, LABEL_TABLES["organcam"])
    assert np.array_equal(found.labels, scan.organs)
    assert found.quality.ok


def test_lungs_without_a_heart_get_our_own_heart_and_a_note(scan, tmp_path):
    lungs = np.where(scan.organs == 3, 0, scan.organs).astype(np.uint8)
    path = save(tmp_path / "a.nii.gz", lungs, scan.affine)
    found = organs_from_mask(Volume(scan.hu, scan.affine), path, LABEL_TABLES["lungmask"])
    assert found.quality.ok
    assert found.quality.names == ("heart_from_organcam",)
    assert np.array_equal(found.labels == 1, lungs == 1)
    heart, true = found.labels == 3, scan.organs == 3
    assert 2 * (heart & true).sum() / (heart.sum() + true.sum()) > 0.8


def test_masks_of_another_grid_or_table_are_refused(scan, tmp_path):
    volume = Volume(scan.hu, scan.affine)
    short = save(tmp_path / "short.nii.gz", scan.organs[1:], scan.affine)
    with pytest.raises(DataError, match="short.nii.gz: the masks have shape"):
        organs_from_mask(volume, short, LABEL_TABLES["organcam"])
    moved = scan.affine.copy()
    moved[0, 3] += 5
    shifted = save(tmp_path / "shifted.nii.gz", scan.organs, moved)
    with pytest.raises(DataError, match="another grid or scan"):
        organs_from_mask(volume, shifted, LABEL_TABLES["organcam"])
    other = save(tmp_path / "other.nii.gz", scan.organs, scan.affine)
    with pytest.raises(DataError, match="right label table"):
        organs_from_mask(volume, other, LABEL_TABLES["totalsegmentator"])
