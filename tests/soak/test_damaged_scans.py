"""Flipped bits and cut ends in scans of every compressed format: no voxel changes without an error.

The short form is part of the suite; ``make soak`` flips some hundred bits in each format. Both print their counts.
"""

from __future__ import annotations

import bz2
import gzip
import random
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from organcam.data.readers import read_volume
from organcam.errors import DataError

AFFINE = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])
FORMATS = ("scan.nii.gz", "scan.mha", "scan.mhd", "gzip.nrrd", "bzip2.nrrd", "scan.npz")
HEADER = 600
"""Bytes at the beginning, of which half of the flips are: a thousand times as dense as the others."""


def body(shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth tissue with noise, in HU."""
    axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 12, shape)
    return np.rint(np.where(sum(axis**2 for axis in axes) < 0.8, 40, -1000) + noise).astype(np.int16)


def write(folder: Path, name: str, array: np.ndarray) -> Path:
    """The array in one format, by that format's usual writer."""
    path = folder / name
    if name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(array, AFFINE), path)
    elif name.endswith(".npz"):
        np.savez_compressed(path, ct=array)
    elif name == "bzip2.nrrd":  # which ITK announces and does not write
        head, _, data = write(folder, "gzip.nrrd", array).read_bytes().partition(b"\n\n")
        assert b"encoding: gzip" in head
        head = head.replace(b"encoding: gzip", b"encoding: bzip2")
        path.write_bytes(head + b"\n\n" + bz2.compress(gzip.decompress(data)))
    else:
        image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-10, -20, -30))
        writer = sitk.ImageFileWriter()
        writer.SetUseCompression(True)
        if name.endswith(".nrrd"):
            writer.SetImageIO("NrrdImageIO")
        writer.SetFileName(str(path))
        writer.Execute(image)
    return path


def data_file(path: Path) -> Path:
    return path.with_suffix(".zraw") if path.suffix == ".mhd" else path


def outcome(path: Path, good) -> str:
    """What became of a damaged scan: ``WRONG`` is what must never be."""
    try:
        found = read_volume(path)
    except DataError as error:
        assert path.name in str(error)
        return "refused"
    if found.array.shape != good.array.shape or not np.array_equal(found.array, good.array):
        return "WRONG voxels"
    return "the same" if np.array_equal(found.affine, good.affine) else "another place"


def flip(content: bytes, byte: int, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[byte] ^= 1 << bit
    return bytes(damaged)


def attack(path: Path, flips: int, chance: random.Random) -> dict[str, Counter]:
    good = read_volume(path)
    target = data_file(path)
    content = target.read_bytes()
    counts = {"header": Counter(), "voxels": Counter()}
    for index in range(flips):
        part = "header" if index % 2 and path.suffix != ".mhd" else "voxels"
        first, last = (0, min(HEADER, len(content))) if part == "header" else (0, len(content))
        target.write_bytes(flip(content, chance.randrange(first, last), chance.randrange(8)))
        counts[part][outcome(path, good)] += 1
    for cut in (1, 4, 8, 9, 100, len(content) // 2, len(content) - 10):
        target.write_bytes(content[:-cut])
        assert outcome(path, good) in {"refused", "the same"}, cut
    target.write_bytes(content)
    assert outcome(path, good) == "the same"
    return counts


@pytest.mark.parametrize("flips", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_no_flipped_bit_changes_a_voxel_of_a_compressed_scan(tmp_path, name, flips, capsys):
    path = write(tmp_path, name, body((24, 20, 16)))
    counts = attack(path, flips, random.Random(20261121))
    with capsys.disabled():
        print(f"\n{name}: " + "; ".join(f"{part} {dict(count)}" for part, count in counts.items() if count))
    assert sum(sum(count.values()) for count in counts.values()) == flips
    assert not any(count["WRONG voxels"] for count in counts.values())
    assert counts["voxels"]["refused"] > 0.8 * counts["voxels"].total()
    if name in {"scan.nii.gz", "scan.npz", "scan.mhd"}:  # NRRD and MetaImage have no checksum over their header's text
        assert not any(count["another place"] for count in counts.values())


@pytest.mark.parametrize("flips", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_no_flipped_bit_changes_a_voxel_of_a_real_scan(tmp_path, shared_data, flips, capsys):
    array = read_volume(shared_data / "cip64" / "ct-64.nrrd").array
    counts = Counter()
    for name in FORMATS:
        path = write(tmp_path, name, array)
        good, content, chance = read_volume(path), data_file(path).read_bytes(), random.Random(name)
        for _ in range(flips):
            data_file(path).write_bytes(flip(content, chance.randrange(len(content)), chance.randrange(8)))
            counts[outcome(path, good)] += 1
    with capsys.disabled():
        print(f"\nreal scan, {len(FORMATS)} formats: {dict(counts)}")
    assert not counts["WRONG voxels"]


@pytest.mark.parametrize("name", ["scan.nii", "raw.mha", "raw.mhd", "raw.nrrd"])
@pytest.mark.parametrize("change", [-1, 1, -100, 4096])
def test_uncompressed_scans_whose_size_does_not_fit_the_header_are_refused(tmp_path, name, change):
    path, array = tmp_path / name, body((8, 9, 10))
    if name.endswith(".nii"):
        nib.save(nib.Nifti1Image(array, AFFINE), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array.transpose(2, 1, 0)), str(path), useCompression=False)
    np.testing.assert_array_equal(read_volume(path).array, array)
    target = path.with_suffix(".raw") if name.endswith(".mhd") else path
    content = target.read_bytes()
    target.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(DataError, match=f"{name}: .*bytes of voxels"):
        read_volume(path)
