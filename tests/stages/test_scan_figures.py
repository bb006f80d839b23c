"""Figures of made attention files: nothing of a map is kept, and a bad file costs its own scan."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from organcam.catalogue.targets import region_targets
from organcam.data.network_input import grid_key
from organcam.data.region_store import write_regions
from organcam.errors import DataError
from organcam.evaluation import ModelScores, ThresholdSearch
from organcam.geometry import FeatureGrid
from organcam.metrics import THRESHOLDS
from organcam.runner import fingerprint_file
from organcam.stages.scan_figures import FigureReader

GRID = FeatureGrid((4, 5, 6), (3.0, 8.0, 8.0), (1.0, 3.5, 3.5), (3, 31, 31), (12, 40, 48))


def make(root: Path, count: int) -> FigureReader:
    """Attention files of one model with all labels of the catalogue, and regions whose lungs are the lower half."""
    ids = [f"s{n}" for n in range(count)]
    table = pd.DataFrame({"nodule*right_lung": 1, "cardiomegaly*heart": [n % 2 for n in range(count)]}, index=ids)
    targets = region_targets(table)
    folder, places = root / "attention" / "m", root / "regions"
    folder.mkdir(parents=True)
    places.mkdir()
    organs = np.zeros((10, *GRID.shape), dtype=bool)
    organs[:7, 2:] = True
    for number, name in enumerate(ids):
        maps = np.random.default_rng(number).normal(size=(len(targets.names), *GRID.shape)).astype(np.float32)
        with (folder / f"{name}.npz").open("wb") as stream:
            np.savez(
                stream,
                hirescam=maps,
                gradcam=-maps,
                scores=maps[:, 0, 0, 0],
                labels=np.asarray(targets.names),
                grid=np.asarray(json.dumps(GRID.to_dict())),
            )
        with (places / f"{name}.npz").open("wb") as stream:
            write_regions(stream, {grid_key(GRID): organs[:7]})
    contents = {name: fingerprint_file(folder / f"{name}.npz") for name in ids}
    regions = {name: fingerprint_file(places / f"{name}.npz") for name in ids}
    return FigureReader(root, {"m": contents}, regions, targets, {}, None, "default", 0)


def read_all(reader: FigureReader) -> ModelScores:
    searches: dict[str, ThresholdSearch] = {}
    for name in reader.maps["m"]:
        for labels, method, present, curve in reader.curves("m", name):
            searches.setdefault(method, ThresholdSearch(labels)).add(curve, present)
    steps = {method: search.steps() for method, search in searches.items()}
    scores = ModelScores(reader.targets.names)
    for name in reader.maps["m"]:
        found = reader.figures("m", "test", name, steps)
        if found is not None:
            scores.scans.append(found[1])
        reader.logit("m", name, "lung_nodule")
    return scores


def kept_bytes(reader: FigureReader) -> int:
    tracemalloc.start()
    try:
        scores = read_all(reader)
        assert len(scores.scans) == len(reader.maps["m"])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory_holds_a_number_a_label_and_method_and_no_curve(tmp_path):
    few, many = make(tmp_path / "few", 8), make(tmp_path / "many", 40)
    for reader in (few, many):
        read_all(reader)  # what is made on first use is not counted
    grown = (kept_bytes(many) - kept_bytes(few)) / 32
    labels = len(few.targets.names)
    curve = labels * len(THRESHOLDS) * 8
    assert grown < 0.25 * curve  # 34 kB a scan and method, which the whole curves were
    assert grown < 60 * labels


def test_figures_of_a_scan_are_those_of_its_maps_at_the_chosen_thresholds(tmp_path):
    """The lower half of the slabs is allowed; each method and label has a threshold of its own."""
    reader = make(tmp_path, 3)
    names = reader.targets.names
    steps = {method: np.arange(len(names)) % 50 + start for method, start in (("hirescam", 0), ("gradcam", 3))}
    labels, scan = reader.figures("m", "test", "s1", steps)
    assert (labels, scan.scan_id, scan.split) == (names, "s1", "test")
    with np.load(tmp_path / "attention" / "m" / "s1.npz") as archive:
        maps = {method: archive[method] for method in steps}
        np.testing.assert_array_equal(scan.logits, archive["scores"])
    present = [names.index(name) for name in ("lung_nodule", "heart_cardiomegaly")]
    assert np.flatnonzero(scan.present).tolist() == sorted(present)
    for method, chosen in steps.items():
        for label in present:
            lit = np.clip(maps[method][label], 0, None)
            lit = (lit - lit.min()) / (lit - lit.min()).max() > np.float32(THRESHOLDS[chosen[label]])
            assert scan.organ_iou[method][label] == pytest.approx(lit[2:].sum() / lit.sum())
        assert np.isnan(scan.organ_iou[method][~scan.present]).all()


def test_damaged_files_are_named_all_together(tmp_path):
    reader = make(tmp_path, 4)
    for path in (tmp_path / "attention" / "m" / "s1.npz", tmp_path / "regions" / "s3.npz"):
        path.write_bytes(path.read_bytes()[:-1] + b"\0\1")
    (tmp_path / "attention" / "m" / "s2.npz").unlink()
    assert [scan.scan_id for scan in read_all(reader).scans] == ["s0"]
    with pytest.raises(DataError) as caught:
        reader.refuse_damaged()
    for name in ("m/s1.npz", "m/s2.npz", "regions/s3.npz"):
        assert name in str(caught.value)


def test_maps_that_are_not_numbers_cost_their_own_scan(tmp_path):
    reader = make(tmp_path, 3)
    path = tmp_path / "attention" / "m" / "s1.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["gradcam"][0, 0, 0, 0] = np.nan
    with path.open("wb") as stream:
        np.savez(stream, **arrays)
    reader.maps["m"]["s1"] = fingerprint_file(path)
    assert [scan.scan_id for scan in read_all(reader).scans] == ["s0", "s2"]
    assert reader.problems == {"s1": "model m: its maps or scores hold NaN or infinity"}
    reader.refuse_damaged()
