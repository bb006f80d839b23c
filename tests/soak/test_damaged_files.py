"""Cut, flipped, doubled and foreign bytes in every file that is read: an error that names the file, never another.

The short form is part of the suite; ``make soak`` damages each kind of file 1500 times. Both print their counts.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

from organcam.attention import ScanAttention, read_attention, write_attention
from organcam.data.discover import read_reports
from organcam.data.label_files import read_label_files
from organcam.data.readers import read_geometry, read_volume, source_files
from organcam.data.records import ScanRecord, read_manifest, records_frame
from organcam.data.region_store import has_regions, read_regions, write_regions
from organcam.data.splits import SPLITS
from organcam.data.volume_store import read_stored, write_stored
from organcam.engines.checkpoints import Checkpoints
from organcam.errors import DataError, OrganCamError
from organcam.geometry import FeatureGrid
from organcam.nlp import read_label_table
from organcam.runner import read_failures, safe_id, write_failures
from organcam.runner.unit import Failure
from organcam.stages.splits import given_splits
from organcam.workflow_file import parse_workflow

ARRAY = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8), dtype=np.int16)


def write_scan(path: Path) -> None:
    if path.suffix == ".npz":
        np.savez_compressed(path, ct=ARRAY, affine=np.eye(4))
    elif ".nii" in path.name:
        nib.save(nib.Nifti1Image(ARRAY, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path), useCompression="raw" not in path.name)


def check_scan(path: Path) -> None:
    try:
        read_geometry(path)
        source_files(path)
    finally:
        volume = read_volume(path)
    assert volume.array.ndim == 3
    assert volume.array.size < 10_000
    assert np.isfinite(volume.affine).all()


def write_manifest(path: Path) -> None:
    rows = [ScanRecord(f"s{n}", f"/data/s{n}.nii.gz", f"p{n}", SPLITS[n % 3], f"r{n}") for n in range(12)]
    records_frame(rows).to_csv(path, index=False, lineterminator="\n")


def check_manifest(path: Path) -> None:
    records = read_manifest(path)
    assert len(records) <= 12
    for record in records:
        assert safe_id(record.scan_id)
        assert record.split in {"", *SPLITS}
        assert record.image


def write_labels(path: Path) -> None:
    columns = ["nodule*right_lung", "mass*left_lung", "atelectasis*lung"]
    table = pd.DataFrame(np.arange(36).reshape(12, 3) % 2, columns=columns)
    table.insert(0, "report_id", [f"r{n}" for n in range(12)])
    table.to_csv(path, index=False)


def check_labels(path: Path) -> None:
    table = read_label_table(path)
    assert table.index.is_unique
    assert all(isinstance(name, str) and name for name in table.index)
    assert set(np.unique(table.to_numpy())) <= {0, 1}


def write_region_file(path: Path) -> None:
    with path.open("wb") as stream:
        write_regions(stream, {"2x3x5-aa": np.random.default_rng(0).random((7, 2, 3, 5)) > 0.5})


def check_region_file(path: Path) -> None:
    has_regions(path, "2x3x5-aa")
    assert read_regions(path, "2x3x5-aa").shape == (7, 2, 3, 5)


def check_stored(path: Path) -> None:
    assert read_stored(path).dtype == np.int16


def write_failure_rows(path: Path) -> None:
    write_failures(path.parent, "ingest", [Failure("ingest", f"s{n}", 'cut, "short"', "data") for n in range(9)])


def check_failure_rows(path: Path) -> None:
    for failure in read_failures(path.parent):
        assert isinstance(failure.reason, str)


def write_maps(path: Path) -> None:
    maps = {"hirescam": np.random.default_rng(0).normal(size=(2, 1, 3, 5)).astype(np.float32)}
    grid = FeatureGrid((1, 3, 5), (3, 16, 16), (1, 8, 8), (3, 40, 40), (3, 48, 80))
    with path.open("wb") as stream:
        write_attention(stream, ScanAttention(maps, np.zeros(2, np.float32), ("nodule", "mass"), grid))


def check_maps(path: Path) -> None:
    found = read_attention(path)
    assert found.known_grid is None or found.known_grid.axes > 0
    assert all(values.dtype != object for values in found.maps.values())


def write_given_labels(path: Path) -> None:
    rows = [f"s{n},{n % 2},{n // 2 % 2},0" for n in range(12)]
    path.write_text("\n".join(["id,nodule*left_upper,mass*lung,emphysema", *rows]) + "\n", encoding="utf-8")


def check_given_labels(path: Path) -> None:
    table = read_label_files([path])
    assert table.index.is_unique
    assert set(np.unique(table.to_numpy())) <= {0, 1}


def write_report_table(path: Path) -> None:
    rows = [f's{n},"Nodule, left upper lobe. No effusion.",p{n}' for n in range(9)]
    path.write_text("\n".join(["scan_id,report_text,patient_id", *rows]) + "\n", encoding="utf-8")


def check_report_table(path: Path) -> None:
    for name, texts in read_reports(path, None, None).items():
        assert all(isinstance(text, str) for text in [name, *texts])


def write_split_table(path: Path) -> None:
    path.write_text("".join(["scan_id,split\n", *(f"s{n},{SPLITS[n % 3]}\n" for n in range(9))]), encoding="utf-8")


def check_split_table(path: Path) -> None:
    workflow = parse_workflow({"data": {"images": "x", "splits": str(path)}})
    assert set(given_splits(workflow.data).values()) <= set(SPLITS)


def write_checkpoint(path: Path) -> None:
    network = torch.nn.Linear(30, 3)
    state = {"network": network.state_dict(), "checkpointer": OrderedDict(_saved=[])}
    torch.save(state, path)


def check_checkpoint(path: Path) -> None:
    """Loaded as it was, or put aside; nothing in between."""
    network = torch.nn.Linear(30, 3)
    torch.nn.init.constant_(network.weight, 7.0)
    found = Checkpoints(path.parent, {"network": network}).resume()
    for aside in path.parent.glob("*.damaged*"):
        aside.unlink()
    if found is None:
        assert (network.weight == 7).all()
        msg = f"{path} was put aside"
        raise DataError(msg)
    weight = network.weight.detach().numpy().tobytes()
    assert TRUE_WEIGHTS.setdefault(str(path), weight) == weight


TRUE_WEIGHTS: dict[str, bytes] = {}
"""Of each test's checkpoint, as they are read before anything is damaged."""


FILES: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "scan.nii": (write_scan, check_scan),
    "scan.nii.gz": (write_scan, check_scan),
    "scan.nrrd": (write_scan, check_scan),
    "raw.nrrd": (write_scan, check_scan),
    "scan.mha": (write_scan, check_scan),
    "raw.mha": (write_scan, check_scan),
    "raw.mhd": (write_scan, check_scan),
    "scan.npz": (write_scan, check_scan),
    "scan.b2nd": (lambda path: write_stored(path, ARRAY), check_stored),
    "regions.npz": (write_region_file, check_region_file),
    "manifest.csv": (write_manifest, check_manifest),
    "labels_by_location.csv": (write_labels, check_labels),
    "failures.csv": (write_failure_rows, check_failure_rows),
    "given.csv": (write_given_labels, check_given_labels),
    "reports.csv": (write_report_table, check_report_table),
    "splits.csv": (write_split_table, check_split_table),
    "maps.npz": (write_maps, check_maps),
    "checkpoint_1.pt": (write_checkpoint, check_checkpoint),
}


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The same file after one accident."""
    place, length = chance.randrange(len(content)), chance.choice((1, 2, 8, 64))
    if chance.random() < 0.5:  # headers, where the harm is greatest
        place = min(place, chance.randrange(400))
    before, struck, after = content[:place], content[place : place + length], content[place + length :]
    accidents = {
        "cut": lambda: before,
        "flip": lambda: before + bytes([struck[0] ^ (1 << chance.randrange(8))]) + struck[1:] + after,
        "zeros": lambda: before + bytes(len(struck)) + after,
        "noise": lambda: before + chance.randbytes(len(struck)) + after,
        "lost": lambda: before + after,
        "doubled": lambda: before + struck + struck + after,
        "digits": lambda: before + bytes(chance.choice(b"0123456789-.,e\n") for _ in struck) + after,
        "foreign": lambda: before + b'\xff\xfe"\r\n\x00,' + after,
        "swapped": lambda: after + struck + before,
        "nothing left": lambda: b"",
    }
    return accidents[chance.choice(sorted(accidents))]()


@pytest.mark.parametrize("count", [60, pytest.param(1500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, name, count, capsys):
    write, check = FILES[name]
    path, counts = tmp_path / name, Counter()
    write(path)
    check(path)
    content, chance = path.read_bytes(), random.Random(name)
    for _ in range(count):
        path.write_bytes(damaged(content, chance))
        try:
            check(path)
        except OrganCamError as error:
            assert path.stem in str(error)
            assert "\n" not in str(error)
            counts["refused"] += 1
        else:
            counts["read"] += 1
    with capsys.disabled():
        print(f"\n{name}: {count} times damaged: {dict(counts)}")
    assert counts.total() == count
    assert counts["refused"] or name == "failures.csv"
