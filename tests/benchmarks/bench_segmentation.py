"""Quality and speed tables of the segmentation; run by hand, prints, asserts nothing.

python tests/benchmarks/bench_segmentation.py quality|speed|phantom|failures|thickness [--data shared/data]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage as ndi

from organcam.data.phantom import PhantomSettings, ScanSpec, plan_dataset, render_scan
from organcam.geometry import FeatureGrid
from organcam.segmentation import montage, organ_occupancy, save_montage, segment_organs

Array = np.ndarray

GRID = FeatureGrid((135, 14, 14), (3, 30, 30), (1, 14.5, 14.5), (3, 100, 100), (405, 420, 420))
"""A network's feature grid at full size, for the time that occupancy takes."""


def load(path: Path) -> tuple[Array, Array]:
    """Array [i, j, k] and RAS+ affine of a NIfTI or NRRD file."""
    if path.suffix != ".nrrd":
        image = nib.load(path)
        return np.asanyarray(image.dataobj), image.affine
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine


def in_frame(array: Array, affine: Array) -> tuple[Array, tuple[float, float, float]]:
    """The array with axes (I, P, L) and its spacing."""
    change = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(("I", "P", "L")))
    sizes = nib.affines.voxel_sizes(affine)[np.argsort(change[:, 0])]
    return np.ascontiguousarray(nib.orientations.apply_orientation(array, change)), tuple(float(s) for s in sizes)


def dice(a: Array, b: Array) -> float:
    """Dice coefficient of two masks."""
    return 2.0 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


def scans(data: Path) -> Iterator[tuple[str, Array, tuple[float, float, float]]]:
    """The real scans in the frame (I, P, L)."""
    for name, path in (
        ("cip64", data / "cip64/ct-64.nrrd"),
        ("A0001", data / "lung_pet_ct_dx/A0001.nii.gz"),
        ("A0002", data / "lung_pet_ct_dx/A0002.nii.gz"),
    ):
        yield name, *in_frame(*load(path))


def quality(data: Path) -> None:
    """Dice against the lung masks, and how much of the tumour boxes the organs hold."""
    volume, affine = load(data / "cip64/ct-64.nrrd")
    truth, _ = load(data / "cip64/lm-64.nrrd")
    region = truth & 255
    for method in ("organcam", "reference"):
        labels = segment_organs(volume, affine=affine, method=method).labels
        right, left = dice(labels == 1, np.isin(region, (12, 13, 14))), dice(labels == 2, np.isin(region, (9, 10, 11)))
        print(f"cip64  {method:10s} lung Dice right {right:.4f} left {left:.4f}")
    for name in ("A0001", "A0002"):
        volume, affine = load(data / f"lung_pet_ct_dx/{name}.nii.gz")
        boxes = json.loads((data / f"lung_pet_ct_dx/{name}_tumour_boxes.json").read_text())["boxes"]
        inside = np.zeros(volume.shape, dtype=bool)
        for box in boxes:
            (i0, i1), (j0, j1) = box["i"], box["j"]
            inside[i0 : i1 + 1, j0 : j1 + 1, box["k"]] = True
        result = segment_organs(volume, affine=affine)
        lung = np.isin(result.labels, (1, 2))
        shares = [
            f"pleural lung {lung[where].mean():.3f}, lung or mediastinum {(result.labels > 0)[where].mean():.3f}"
            for where in (inside, inside & (volume < 200))
        ]
        print(
            f"{name}  tumour boxes: {shares[0]} (without bone: {shares[1]}), "
            f"aerated lung only {(result.aerated > 0)[inside].mean():.3f}; flags {result.quality.names}"
        )


def phantom(_: Path) -> None:
    """Against the truth of phantoms of seed 200: Dice, heart, lesions, CPU time."""
    for shape, count in (((24, 96, 96), 60), ((60, 160, 160), 24), ((120, 256, 256), 6)):
        for healthy in (True, False):
            print(f"{count} {'healthy' if healthy else 'diseased'} phantoms of {shape}")
            settings = PhantomSettings(seed=200, shape=shape, scans={"test": count}, interventions=0, confounders=())
            judge(settings, [replace(spec, findings=()) if healthy else spec for spec in plan_dataset(settings)])


def judge(settings: PhantomSettings, specs: Sequence[ScanSpec]) -> None:
    """Print what the segmentation of these phantoms is worth."""
    rows, seconds, lesions = [], [], defaultdict(list)
    for spec in specs:
        scan = render_scan(settings, spec)
        start = time.process_time()
        labels = segment_organs(scan.hu, affine=scan.affine).labels
        seconds.append(time.process_time() - start)
        heart, truth = labels == 3, scan.organs == 3
        both, lung = float((heart & truth).sum()), np.isin(labels, (1, 2))
        pleura = np.isin(scan.organs, (1, 2))
        rows.append(
            [dice(labels == k, scan.organs == k) for k in (1, 2)]
            + [both / max(1, heart.sum()), both / truth.sum()]
            + [(lung & truth).sum() / pleura.sum(), (lung & (scan.organs == 0)).sum() / pleura.sum()]
            + [limit_of_threshold(scan.hu, scan.organs == k) for k in (1, 2)]
        )
        for lesion in scan.rows:
            where = scan.lesions == lesion.value
            if where.any() and pleura[where].mean() > 0.5:
                lesions[lesion.abnormality].append(lung[where].mean())
    table = np.array(rows)
    for name, column in zip(("right Dice", "left Dice", "heart precision", "heart recall"), table.T, strict=False):
        print(f"  {name:16s} mean {column.mean():.3f}  worst {column.min():.3f}")
    print(
        f"  taken for lung, share of the lungs: of the heart {table[:, 4].mean():.3f}, other {table[:, 5].mean():.3f}"
    )
    print(
        f"  the truth with its border voxels thresholded: right {table[:, 6].mean():.4f}, left {table[:, 7].mean():.4f}"
    )
    for name, shares in sorted(lesions.items()):
        if len(shares) >= 5:
            print(f"  {name:28s} inside the found lungs {np.mean(shares):.2f}  ({len(shares)} lesions)")
    print(f"  CPU a scan: median {1000 * np.median(seconds):.0f} ms")


def limit_of_threshold(volume: Array, lung: Array, hu: float = -420.0) -> float:
    """Dice of a lung whose voxels at the border, and only those, are decided by a threshold: what one can reach."""
    filled = ndi.binary_fill_holes(lung)
    border = ndi.binary_dilation(filled) & ~ndi.binary_erosion(filled)
    return dice(np.where(border, volume < hu, lung), lung)


def failures(_: Path, count: int = 2) -> None:
    """The diseased phantoms with the worst lungs: what was found above what is true, as failures.png."""
    settings = PhantomSettings(seed=200, shape=(60, 160, 160), scans={"test": 24}, interventions=0, confounders=())
    cases = []
    for spec in plan_dataset(settings):
        scan = render_scan(settings, spec)
        labels = segment_organs(scan.hu, affine=scan.affine).labels
        cases.append((min(dice(labels == k, scan.organs == k) for k in (1, 2)), scan, labels))
    pictures = []
    for score, scan, labels in sorted(cases, key=lambda case: case[0])[:count]:
        print(f"{scan.spec.scan_id}: Dice {score:.3f}; {', '.join(scan.spec.findings)}")
        for shown in (labels, scan.organs):
            pictures.append(montage(scan.hu, shown, affine=scan.affine, axial=6, pixel_mm=2.2))
    save_montage("failures.png", np.concatenate(pictures), "worst phantoms: found, then true")
    print("failures.png")


def thin(volume: Array, spacing: tuple[float, float, float], shape: tuple[int, int, int], mm: float) -> Array:
    """A thin-slice version of a scan around its middle, with noise."""
    middle = [n / 2 for n in volume.shape]
    grids = [m + (np.arange(n) - n / 2) * mm / s for n, m, s in zip(shape, middle, spacing, strict=True)]
    out = np.empty(shape, dtype=np.int16)
    rng = np.random.default_rng(0)
    for k, z in enumerate(np.clip(grids[0], 0, volume.shape[0] - 1.001)):
        low = int(z)
        plane = volume[low] * (1 - z + low) + volume[low + 1] * (z - low)
        fine = ndi.map_coordinates(plane, np.meshgrid(*grids[1:], indexing="ij"), order=1, mode="constant", cval=-1000)
        out[k] = np.clip(fine + rng.normal(0, 25, fine.shape), -1024, 1500)
    return out


def speed(data: Path) -> None:
    """CPU seconds and peak memory; the published rule on the same volume for comparison."""
    name, volume, spacing = list(scans(data))[1]
    for shape, mm in (((405, 420, 420), 0.8), ((300, 512, 512), 0.7)):
        fine = thin(volume, spacing, shape, mm)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        for method in ("organcam", "reference"):
            start = time.process_time()
            labels = segment_organs(fine, spacing=(mm, mm, mm), method=method).labels
            cpu = time.process_time() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name} {shape} at {mm} mm, {method}: {cpu:.2f} CPU s, peak {peak:.0f} MiB (before {before:.0f})")
        if shape == GRID.input_shape:
            start = time.process_time()
            organ_occupancy(labels, GRID)
            print(f"  occupancy of {GRID.shape} cells: {1000 * (time.process_time() - start):.0f} CPU ms")


def thickness(data: Path) -> None:
    """Each real scan brought to 1.25 mm, and the same averaged to slices of 5 mm: Dice between their organs."""
    for name, volume, spacing in scans(data):
        depth, height, width = (int(n * mm / 1.25) for n, mm in zip(volume.shape, spacing, strict=True))
        fine = thin(volume, spacing, (depth // 4 * 4, height, width), 1.25)
        coarse = fine.reshape(-1, 4, height, width).mean(axis=1).astype(np.int16)
        labels = segment_organs(fine, spacing=(1.25, 1.25, 1.25)).labels
        expected = np.repeat(segment_organs(coarse, spacing=(5.0, 1.25, 1.25)).labels, 4, axis=0)
        scores = "  ".join(f"{dice(labels == k, expected == k):.3f}" for k in (1, 2, 3))
        print(f"{name} at 1.25 mm {fine.shape} against 5 mm slices, right left heart: {scores}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=("quality", "speed", "phantom", "failures", "thickness"))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    arguments = parser.parse_args()
    tables = {f.__name__: f for f in (quality, speed, phantom, failures, thickness)}
    if tables[arguments.table] not in (phantom, failures) and not arguments.data.is_dir():
        print(f"{arguments.table} is left out: it needs real scans, and {arguments.data} is not there (--data)")
    else:
        tables[arguments.table](arguments.data)
