"""Scans that hold or declare far more than they are, and scans whose place in the patient makes no sense.

The short form is part of the suite; ``make soak`` makes some hundred of each. Both print their counts.
"""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from organcam.data.readers import read_geometry, read_volume
from organcam.errors import DataError

LONG = 20_000_000
"""Bytes of the streams, of zeros: packed to a thousandth."""
PEAK = 10_000_000
PLACE = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n"


def npy(shape: tuple[int, ...], size: int) -> bytes:
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(size)


def write_bomb(path: Path, shape: tuple[int, int, int], size: int) -> None:
    """A scan that declares one shape and holds so many bytes of zeros."""
    if path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("ct.npy", npy(shape, size))
    elif path.name.endswith(".nii.gz"):
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header["dim"][:4] = [3, *(min(length, 32_767) for length in shape)]
        header["magic"], header["vox_offset"] = b"n+1", 352
        path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + bytes(size), 1))
    elif path.suffix == ".nrrd":
        sizes = " ".join(map(str, shape))
        text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: gzip\nendian: little\n{PLACE}\n"
        path.write_bytes(text.encode() + gzip.compress(bytes(size), 1))
    else:
        sizes = " ".join(map(str, shape))
        text = (
            f"NDims = 3\nCompressedData = True\nDimSize = {sizes}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        )
        path.write_bytes(f"{text}ElementDataFile = LOCAL\n".encode() + zlib.compress(bytes(size), 1))


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nrrd", "scan.mha", "scan.npz"])
def test_bombs_are_refused_before_they_take_memory(tmp_path, name, times, capsys):
    chance, path, counts = random.Random(name), tmp_path / name, Counter()
    tracemalloc.start()
    for _ in range(times):
        small = tuple(chance.randint(1, 60) for _ in range(3))
        large = tuple(int(10 ** chance.uniform(3.1, 4.5)) for _ in range(3))
        shape, size = chance.choice([(small, LONG), (large, LONG), (large, chance.randrange(1000))])
        write_bomb(path, shape, size)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(DataError, match=f"{name}: ") as caught:
            read_volume(path)
        assert tracemalloc.get_traced_memory()[1] - before < PEAK
        assert "\n" not in str(caught.value)
        counts["too many voxels" if "data.max_voxels" in str(caught.value) else "another length"] += 1
    tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{name}: {times} bombs: {dict(counts)}")
    assert counts.total() == times


NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e-9, -1e-5, 1e5, -1e12, 1e308, float("nan"), float("inf"), -float("inf"), 0.3, -700.0)


def absurd(chance: random.Random) -> np.ndarray:
    """A sane affine with one to three numbers or a whole row or column put wrong."""
    affine = np.diag([*(chance.choice((-1, 1)) * chance.uniform(0.4, 5) for _ in range(3)), 1.0])
    affine[:3, 3] = [chance.uniform(-400, 400) for _ in range(3)]
    for _ in range(chance.randint(1, 3)):
        kind, at = chance.randrange(5), chance.randrange(4)
        if kind < 3:
            affine[chance.randrange(4), at] = chance.choice(NUMBERS)
        elif kind == 3:
            affine[:, at] = affine[:, chance.randrange(4)] * chance.choice(NUMBERS)
        else:
            affine[at] = affine[chance.randrange(4)]
    return affine


def write_placed(path: Path, affine: np.ndarray) -> None:
    array = np.zeros((4, 5, 6), np.int16)
    if path.suffix == ".npz":
        np.savez(path, ct=array, affine=affine)
    elif path.suffix == ".nii":
        image = nib.Nifti1Image(array, np.eye(4))
        header = image.header
        header["sform_code"], header["qform_code"], header["vox_offset"] = 1, 0, 352
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            header[name] = affine[row].astype(np.float32)
        path.write_bytes(header.binaryblock + bytes(4) + array.tobytes())
    elif path.suffix == ".nrrd":
        columns = " ".join("(" + ",".join(repr(float(value)) for value in affine[:3, axis]) + ")" for axis in range(3))
        origin = "(" + ",".join(repr(float(value)) for value in affine[:3, 3]) + ")"
        place = f"space: right-anterior-superior\nspace directions: {columns}\nspace origin: {origin}\n"
        text = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nencoding: raw\nendian: little\n{place}\n"
        path.write_bytes(text.encode() + array.tobytes())
    else:
        matrix = " ".join(repr(float(value)) for value in affine[:3, :3].T.ravel())
        origin = " ".join(repr(float(value)) for value in affine[:3, 3])
        text = f"NDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\nTransformMatrix = {matrix}\nOffset = {origin}\n"
        path.write_bytes((text + "ElementByteOrderMSB = False\nElementDataFile = LOCAL\n").encode() + array.tobytes())


@pytest.mark.filterwarnings("ignore")  # of numpy, over numbers that are none
@pytest.mark.parametrize("times", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nrrd", "scan.mha", "scan.npz"])
def test_a_place_that_no_patient_has_is_refused(tmp_path, name, times, capsys):
    chance, path, counts = random.Random(name), tmp_path / name, Counter()
    for _ in range(times):
        write_placed(path, absurd(chance))
        try:
            volume = read_volume(path)
        except DataError as error:
            assert name in str(error)
            assert "\n" not in str(error)
            with pytest.raises(DataError, match=name):
                read_geometry(path)
            counts["refused"] += 1
            continue
        axes = volume.affine[:3, :3]
        lengths = np.linalg.norm(axes, axis=0)
        assert np.isfinite(volume.affine).all()
        assert (lengths > 1e-3).all()
        assert (lengths < 1e3).all()
        np.testing.assert_allclose((axes / lengths).T @ (axes / lengths), np.eye(3), atol=0.02)
        assert np.abs(volume.affine[:3, 3]).max() < 1e6
        np.testing.assert_array_equal(read_geometry(path)[1], volume.affine)
        counts["read"] += 1
    with capsys.disabled():
        print(f"\n{name}: {times} places put wrong: {dict(counts)}")
    assert min(counts["refused"], counts["read"]) > 0.05 * times
