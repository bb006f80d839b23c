"""What damage does to the masks of every real scan at hand, and whether a flag says so; prints, asserts nothing.

python tests/benchmarks/bench_damage.py [--data shared/data] [--only effusion] [--scans A0001 lidc] [--each]

The truth of cip64 is its own lung mask. The other scans are taken as the present code segments them undamaged, in
``--truth`` once that folder holds them: what changes later is then measured against the same masks, which somebody has
looked at. Of scans without dense disease (``CLEAR``) only the air-filled lungs count. Scans are averaged to about 2 mm
in plane first, since every step works on such a grid.

A silent failure is a lung with a Dice under .95 in a scan without any flag.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from damaged_scans import HEART, LEFT, RIGHT, Array, Scan, damages

from organcam.segmentation import lung_bases, montage, save_montage, segment_organs

FILES = {
    "cip64": "cip64/ct-64.nrrd",
    "A0001": "lung_pet_ct_dx/A0001.nii.gz",
    "A0002": "lung_pet_ct_dx/A0002.nii.gz",
    "lidc": "ct_dev/lidc_idri_0001.nii.gz",
    "cmb": "ct_dev/cmb_crc.nii.gz",
}
CLEAR = ("lidc", "cmb")
SILENT_DICE = 0.95
BASE_MM = 30.0
"""How far the unsure base reaches under a lung, as in a workflow (`regions.base_mm`)."""


def load(path: Path) -> tuple[Array, tuple[float, float, float]]:
    """A volume in the frame (I, P, L) with its spacing."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    array = sitk.GetArrayFromImage(image)[::-1]
    return np.ascontiguousarray(array), tuple(float(v) for v in reversed(image.GetSpacing()))


def coarse(array: Array, spacing: tuple[float, float, float]) -> tuple[Array, tuple[float, float, float]]:
    """Averaged in plane to about two millimetres."""
    step = max(1, round(2.0 / spacing[1]))
    depth, height, width = array.shape[0], array.shape[1] // step, array.shape[2] // step
    blocks = array[:, : height * step, : width * step].reshape(depth, height, step, width, step)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.int16), (spacing[0], spacing[1] * step, spacing[2] * step)


def scans(data: Path, names: list[str], truth: Path | None) -> Iterator[Scan]:
    """The real scans with their true organs."""
    for name in names:
        hu, spacing = coarse(*load(data / FILES[name]))
        known = truth / f"{name}_organs.nii.gz" if truth else None
        if known is not None and known.is_file():
            organs = np.asarray(nib.load(known).dataobj, np.uint8)
        else:
            result = segment_organs(hu, spacing=spacing)
            organs = result.labels.copy()
            if name in CLEAR:
                organs = np.where((organs == HEART) | (result.aerated > 0), organs, 0).astype(np.uint8)
            if name == "cip64":
                organs = _cip64(data, organs)
            if known is not None:
                known.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(organs, np.diag([*spacing, 1.0])), known)
        yield Scan(name, hu, organs, spacing)


def _cip64(data: Path, organs: Array) -> Array:
    """The lungs of the scan's own mask: regions 9 to 11 are the left lung, 12 to 14 the right, without airways."""
    mask, _ = load(data / "cip64/lm-64.nrrd")
    region, kind = mask & 255, mask >> 8
    out = np.where(organs == HEART, HEART, 0)
    out[(region >= 12) & (region <= 14) & (kind != 2)] = RIGHT
    out[(region >= 9) & (region <= 11) & (kind != 2)] = LEFT
    return out.astype(np.uint8)


def dice(a: Array, b: Array) -> float:
    """Dice coefficient of two masks; 1 where both are empty."""
    total = float(a.sum() + b.sum())
    return 2.0 * float((a & b).sum()) / total if total else 1.0


def judge(scan: Scan) -> dict[str, object]:
    """Scores of one damaged scan."""
    start = time.process_time()
    result = segment_organs(scan.hu, spacing=scan.spacing)
    lung, true_lung = np.isin(result.labels, (RIGHT, LEFT)), np.isin(scan.organs, (RIGHT, LEFT))
    ml = float(np.prod(scan.spacing)) / 1000.0
    heart = scan.organs == HEART
    base = lung_bases(result.labels, max(1, round(BASE_MM / scan.spacing[0]))) > 0
    painted = scan.painted if scan.painted is not None and scan.painted.any() else None
    return {
        "right": dice(result.labels == RIGHT, scan.organs == RIGHT),
        "left": dice(result.labels == LEFT, scan.organs == LEFT),
        "heart": dice(result.labels == HEART, heart),
        "covered": None if painted is None else float(lung[painted].mean()),
        "with_base": None if painted is None else float((lung | base)[painted].mean()),
        "base_ml": float(base.sum()) * ml,
        "vessel": None if scan.vessel is None else float((result.labels == HEART)[scan.vessel].mean()),
        "vessel_lung": None if scan.vessel is None else float(lung[scan.vessel].mean()),
        "other_ml": float((lung & ~true_lung & ~heart & (scan.hu > -150)).sum()) * ml,
        "flags": result.quality.names,
        "seconds": time.process_time() - start,
        "labels": result.labels,
    }


def main() -> None:
    """Print one line for every damage: means and worst over the scans, and the silent failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    parser.add_argument("--truth", type=Path, help="folder of the undamaged scans' organs, written where missing")
    parser.add_argument("--only", default="", help="damages whose group or name holds this word")
    parser.add_argument("--scans", nargs="+", choices=FILES, default=list(FILES))
    parser.add_argument("--each", action="store_true", help="a line for every scan too")
    parser.add_argument("--pictures", type=Path, help="folder for a montage of every silent failure")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"left out: it needs real scans, and {given.data} is not there (--data)")
        return
    known = list(scans(given.data, given.scans, given.truth))
    groups: dict[str, list[dict]] = defaultdict(list)
    print(f"{'':36s} lungs mean  worst  heart  covered, base  other organs ml  base ml  silent")
    for group, members in damages().items():
        for name, spoil in members.items():
            if given.only not in f"{group} {name}":
                continue
            rows = []
            for scan in known:
                spoilt = spoil(scan)
                row = judge(spoilt)
                row["silent"] = min(row["right"], row["left"]) < SILENT_DICE and not row["flags"]
                rows.append(row)
                if given.each:
                    print(_scan_line(scan.name, row))
                if given.pictures and row["silent"]:
                    given.pictures.mkdir(parents=True, exist_ok=True)
                    both = [
                        montage(spoilt.hu, x, spacing=spoilt.spacing, axial=6) for x in (row["labels"], spoilt.organs)
                    ]
                    path = given.pictures / f"{scan.name}_{name.replace(' ', '_')}.png"
                    save_montage(path, np.concatenate(both), f"{scan.name}, {name}: found, then true")
            print(_line(name, rows))
            groups[group] += rows
    print()
    for group, rows in groups.items():
        print(_line(group.upper(), rows))
    every = [row for rows in groups.values() for row in rows]
    print(_line("ALL", every), f" CPU s {sum(row['seconds'] for row in every):.0f}")


def _scan_line(name: str, row: dict) -> str:
    parts = [f"    {name:8s} {row['right']:.3f} {row['left']:.3f} heart {row['heart']:.3f}"]
    if row["covered"] is not None:
        parts.append(f"covered {row['covered']:.2f}, with base {row['with_base']:.2f}")
    if row["vessel"] is not None:
        parts.append(f"aorta {row['vessel']:.2f}, as lung {row['vessel_lung']:.2f}")
    return " ".join([*parts, f"other {row['other_ml']:.0f} ml", "SILENT" if row["silent"] else "", *row["flags"]])


def _line(name: str, rows: list[dict]) -> str:
    lungs = np.array([(row["right"], row["left"]) for row in rows])
    covered = [row["covered"] for row in rows if row["covered"] is not None]
    other = [row["other_ml"] for row in rows]
    heart = np.mean([row["heart"] for row in rows])
    based = [row["with_base"] for row in rows if row["with_base"] is not None]
    shown = f"{np.mean(covered):.2f}/{min(covered):.2f} {np.mean(based):.2f}" if covered else ""
    base_ml = np.mean([row["base_ml"] for row in rows])
    silent = sum(row["silent"] for row in rows)
    return (
        f"{name:36s} {lungs.mean():.4f}    {lungs.min():.3f}  {heart:.3f}  {shown:14s} "
        f"{np.mean(other):4.0f} worst {max(other):4.0f}   {base_ml:4.0f}      {silent} of {len(rows)}"
    )


if __name__ == "__main__":
    main()
