"""Series that lost slices, or are not one series: told, never stacked. Whole ones of every kind still load."""

from __future__ import annotations

import locale
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from organcam.data.readers import is_dicom_folder, read_geometry, read_volume
from organcam.errors import DataError

CT = "1.2.840.10008.5.1.4.1.1.2"


def write_series(folder: Path, count=12, spacing=2.0, patient="P1", uid="1.2.3.1", prefix="a", **options) -> list[Path]:
    """A small axial series; ``numbers`` are the instance numbers, ``tags`` further header fields."""
    folder.mkdir(exist_ok=True)
    numbers = options.get("numbers", range(1, count + 1))
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = []
    for index, number in zip(range(count), numbers, strict=True):
        image = sitk.GetImageFromArray(np.full((1, 8, 10), 10 * index - 1000, np.int16))
        image.SetSpacing((0.7, 0.7, spacing))
        fields = {
            "0008|0060": "CT",
            "0008|0008": options.get("kind", "ORIGINAL\\PRIMARY\\AXIAL"),
            "0008|0016": CT,
            "0008|0018": f"{uid}.{index + 1}",
            "0010|0020": patient,
            "0018|0050": str(options.get("thickness", spacing)),
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0020|0032": f"-10\\-20\\{index * spacing}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            **({"0020|0013": str(number)} if number is not None else {}),
            **options.get("tags", {}),
        }
        for tag, value in fields.items():
            image.SetMetaData(tag, value)
        files.append(folder / f"{prefix}{index + 1:02d}.dcm")
        writer.SetFileName(str(files[-1]))
        writer.Execute(image)
    return files


def remove(files: list[Path]) -> None:
    for file in files:
        file.unlink()


def cut(files: list[Path], share: float = 0.5) -> None:
    for file in files:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])


def test_whole_series_loads_and_its_headers_alone_tell_its_place(tmp_path):
    write_series(tmp_path)
    before = locale.setlocale(locale.LC_ALL)
    volume = read_volume(tmp_path)
    assert volume.array.shape == (10, 8, 12)
    assert volume.array[0, 0].tolist() == [10 * index - 1000 for index in range(12)]
    assert volume.spacing == pytest.approx((0.7, 0.7, 2.0))
    shape, affine = read_geometry(tmp_path)
    assert shape == volume.array.shape
    np.testing.assert_allclose(affine, volume.affine, atol=1e-5)
    assert locale.setlocale(locale.LC_ALL) == before  # ITK sets it to "C", and text files become ASCII


@pytest.mark.parametrize(
    ("spacing", "thickness"), [(2.5, 5.0), (10.0, 1.0), (1.0, 1.0)], ids=["overlapping", "with gaps", "touching"]
)
def test_overlapping_and_gapped_reconstructions_load(tmp_path, spacing, thickness):
    write_series(tmp_path, spacing=spacing, thickness=thickness)
    assert read_volume(tmp_path).array.shape == (10, 8, 12)


def test_series_numbered_from_head_to_foot_from_zero_or_not_at_all_loads(tmp_path):
    write_series(tmp_path / "down", numbers=range(12, 0, -1))
    write_series(tmp_path / "zero", numbers=range(12))
    write_series(tmp_path / "none", numbers=[None] * 12)
    for name in ("down", "zero", "none"):
        assert read_volume(tmp_path / name).array.shape == (10, 8, 12)


def test_localizers_and_other_files_beside_a_series_are_passed_over(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path, 2, uid="1.2.3.9", prefix="scout", kind="ORIGINAL\\PRIMARY\\LOCALIZER")
    write_series(tmp_path, 1, uid="1.2.3.8", prefix="dose", kind="DERIVED\\SECONDARY")
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / "notes.txt").write_text("ours")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(50))
    structured_report = b"\x02\x00\x02\x00UI\x1e\x001.2.840.10008.5.1.4.1.1.88.11\x00"
    (tmp_path / "report.dcm").write_bytes(bytes(128) + b"DICM" + structured_report)
    assert read_volume(tmp_path).array.shape == (10, 8, 12)


LOSSES = {
    "last 6 cut short": (lambda files: cut(files[6:]), "6 of its files cannot be read or are cut short, .*a07.dcm"),
    "last 6 empty": (lambda files: cut(files[6:], 0), "6 of its files cannot be read"),
    "last 6 cut in the preamble": (lambda files: cut(files[6:], 0.05), "6 of its files cannot be read"),
    "first 4 cut short": (lambda files: cut(files[:4]), "4 of its files cannot be read"),
    "one pixel missing": (lambda files: files[3].write_bytes(files[3].read_bytes()[:-2]), "a04.dcm"),
    "first 4 removed": (lambda files: remove(files[:4]), r"begin with 5 \(a05.dcm\), so that 4 before"),
    "every second removed": (lambda files: remove(files[1::2]), r"5 instance numbers, the first between 1 \(a01.dcm\)"),
    "one removed": (lambda files: remove(files[5:6]), "slices are missing"),
    "middle removed": (lambda files: remove(files[4:8]), "4 instance numbers"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_series_that_lost_slices_is_refused_with_the_file(tmp_path, loss):
    damage, words = LOSSES[loss]
    damage(write_series(tmp_path))
    with pytest.raises(DataError, match=f"{tmp_path.name}: .*{words}"):
        read_volume(tmp_path)


@pytest.mark.parametrize("tag", ["0020|1002", "0020|1209", "0054|0081"])
def test_slices_removed_from_the_end_are_missed_by_the_count_that_the_header_states(tmp_path, tag):
    files = write_series(tmp_path, tags={tag: "12"})
    assert read_volume(tmp_path).array.shape[2] == 12
    remove(files[-2:])
    with pytest.raises(DataError, match="is 12, the folder holds 10"):
        read_volume(tmp_path)


@pytest.mark.parametrize("facts", [{"tags": {"0018|0088": "2"}}, {"thickness": 2.0}])
def test_every_second_slice_removed_shows_without_instance_numbers_too(tmp_path, facts):
    remove(write_series(tmp_path, numbers=[None] * 12, **facts)[1::2])
    with pytest.raises(DataError, match=r"4\.00 mm"):
        read_volume(tmp_path)


def test_a_second_patient_or_series_beside_is_refused_and_not_named(tmp_path):
    write_series(tmp_path / "patients")
    write_series(tmp_path / "patients", 4, patient="MUSTERMANN", uid="1.2.3.7", prefix="b")
    with pytest.raises(DataError, match=r"more than one patient \(a01.dcm and b01.dcm\)") as caught:
        read_volume(tmp_path / "patients")
    assert "MUSTER" not in str(caught.value)
    write_series(tmp_path / "series")
    write_series(tmp_path / "series", 4, uid="1.2.3.7", prefix="b")
    with pytest.raises(DataError, match=r"2 series, 12 slices \(a01.dcm\) and 4 slices \(b01.dcm\)"):
        read_volume(tmp_path / "series")


def test_a_last_slice_under_the_name_of_another_series_is_missed(tmp_path):
    write_series(tmp_path)
    (tmp_path / "a12.dcm").unlink()
    tags = {"0020|0032": f"-10\\-20\\{11 * 2.0}"}
    write_series(tmp_path, 1, uid="1.2.3.9", prefix="z", tags=tags)
    with pytest.raises(DataError, match="z01.dcm continues the series of a01.dcm"):
        read_volume(tmp_path)


def test_two_scans_in_one_series_and_tilted_slices_are_refused(tmp_path):
    files = write_series(tmp_path / "twice")
    write_series(tmp_path / "twice", prefix="b", numbers=range(13, 25))
    assert len(files) == 12
    with pytest.raises(DataError, match="two slices lie at one place"):
        read_volume(tmp_path / "twice")
    write_series(tmp_path / "tilted", tags={"0020|0037": "1\\0\\0\\0\\0.95\\0.3122"})
    with pytest.raises(DataError, match="tilted"):
        read_volume(tmp_path / "tilted")


def copied(source: Path, target: Path) -> list[Path]:
    target.mkdir()
    files = [target / file.name for file in sorted(source.iterdir())]
    for file in files:
        file.write_bytes((source / file.name).read_bytes())
    return files


def test_real_series_equals_its_nifti_by_voxels_and_by_header(shared_data):
    folder = shared_data / "lung_pet_ct_dx"
    dicom, nifti = read_volume(folder / "A0002_dicom").reoriented(), read_volume(folder / "A0002.nii.gz").reoriented()
    np.testing.assert_array_equal(dicom.array, nifti.array)
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-3)
    shape, affine = read_geometry(folder / "A0002_dicom")
    assert shape == read_volume(folder / "A0002_dicom").array.shape
    np.testing.assert_allclose(affine, read_volume(folder / "A0002_dicom").affine, atol=1e-3)
    assert is_dicom_folder(folder / "A0002_dicom")


@pytest.mark.parametrize("loss", [*LOSSES, "slices of another patient"])
def test_real_series_that_lost_slices_is_refused(shared_data, tmp_path, loss):
    files = copied(shared_data / "lung_pet_ct_dx" / "A0002_dicom", tmp_path / "scan")
    if loss in LOSSES:
        LOSSES[loss][0](files)
    else:
        write_series(tmp_path / "scan", 3, prefix="z")
    with pytest.raises(DataError, match="scan: "):
        read_volume(tmp_path / "scan")
