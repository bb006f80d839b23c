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
from organcam.stages.external_masks import MaskFolder, mask_stamp, organs_from_mask
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


def save_structures(folder, scan, names):
    """Each lung cut into its lobes' files, the heart in one, as TotalSegmentator writes them."""
    folder.mkdir(parents=True)
    for name, mask in names.items():
        save(folder / f"{name}.nii.gz", mask.astype(np.uint8), scan.affine)


def lobes(scan):
    upper = np.arange(scan.organs.shape[0])[:, None, None] < scan.organs.shape[0] // 2
    right, left = scan.organs == 1, scan.organs == 2
    return {
        "lung_upper_lobe_right": right & upper,
        "lung_lower_lobe_right": right & ~upper,
        "lung_upper_lobe_left": left & upper,
        "lung_lower_lobe_left": left & ~upper,
    }


@pytest.mark.parametrize("inner", ["", "segmentations"])
def test_a_folder_of_one_file_a_structure_is_one_mask(scan, tmp_path, inner):
    others = {"heart": scan.organs == 3, "liver": np.ones(scan.organs.shape)}
    save_structures(tmp_path / "a" / inner, scan, lobes(scan) | others)
    found = MaskFolder(tmp_path).find("a")
    organs = organs_from_mask(Volume(scan.hu, scan.affine), found, LABEL_TABLES["totalsegmentator"])
    assert np.array_equal(organs.labels, scan.organs)
    stamp = mask_stamp(found)
    (found / "heart.nii.gz").write_bytes(b"1")
    assert mask_stamp(found) != stamp


def test_structures_without_a_heart_leave_it_to_organcam_and_without_a_lung_are_refused(scan, tmp_path):
    save_structures(tmp_path / "a", scan, lobes(scan))
    organs = organs_from_mask(Volume(scan.hu, scan.affine), tmp_path / "a", LABEL_TABLES["totalsegmentator"])
    assert "heart_from_organcam" in organs.quality.names
    save_structures(tmp_path / "b", scan, {"lung_upper_lobe_left": scan.organs == 2})
    with pytest.raises(DataError, match="no file of the right lung; expected lung_upper_lobe_right"):
        organs_from_mask(Volume(scan.hu, scan.affine), tmp_path / "b", LABEL_TABLES["totalsegmentator"])


def test_a_scans_folder_with_one_label_map(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "multilabel.nii.gz").touch()
    assert MaskFolder(tmp_path).find("a").name == "multilabel.nii.gz"
