"""Known places of 2D images on a network's cells and pixels, against hand-made boxes and PYLON's published cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from organcam.data.images import image_affine
from organcam.geometry import FeatureGrid
from organcam.stages.image_places import ImagePlaces

OWN = "scan_id,label,x_min,y_min,x_max,y_max\n"


def grid_of(cells: int, side: int) -> FeatureGrid:
    """Cells that tile a square image."""
    stride, offset = side / cells, (side / cells - 1) / 2
    return FeatureGrid((1, cells, cells), (1, stride, stride), (0, offset, offset), (1, 5, 5), (1, side, side))


def geometry_of(file: tuple[int, int], side: int) -> dict:
    """An image file of some size that was stored as a square."""
    steps = np.array([1, file[0] / side, file[1] / side])
    finer = np.diag([*steps, 1.0])
    finer[:3, 3] = (steps - 1) / 2
    source = image_affine((1.0, 1.0))
    return {
        "shape": [1, side, side],
        "affine": (source @ finer).tolist(),
        "scan_shape": [1, *file],
        "scan_affine": source.tolist(),
    }


def test_a_box_fills_the_cells_that_it_covers_in_the_files_own_pixels(tmp_path: Path):
    (tmp_path / "a.csv").write_text(OWN + "a,mass,0,0,49,99\na,mass,60,0,69,19\nb,mass,1,1,2,2\n")
    places = ImagePlaces(tmp_path / "a.csv")  # of a file of 100 x 200 pixels, seen as 8 x 8 in 4 x 4 cells
    share = places.occupancy("a", ("nodule", "mass"), grid_of(4, 8), geometry_of((100, 200), 8))
    assert share.shape == (2, 1, 4, 4)
    assert not share[0].any()
    expected = np.zeros((4, 4))
    expected[:, 0] = 1.0
    expected[0, 1] = 10 * 20 / (50 * 25)
    np.testing.assert_allclose(share[1, 0], expected, atol=1e-6)
    assert "c" not in places


def test_the_peak_of_an_enlarged_map_is_looked_for_in_pixels_of_the_file(tmp_path: Path):
    (tmp_path / "a.csv").write_text(OWN + "a,mass,60,60,99,99\na,nodule,0,0,30,30\n")
    places, labels = ImagePlaces(tmp_path / "a.csv"), ("mass", "nodule", "hernia")
    maps = np.zeros((3, 1, 4, 4), np.float32)
    maps[:, 0, 3, 3] = 1.0
    hits = places.peaks_inside("a", labels, maps, grid_of(4, 8), geometry_of((100, 100), 8))
    np.testing.assert_array_equal(hits, [1, 0, np.nan])


@pytest.fixture
def oracle(shared_spec: Path) -> dict:
    return json.loads((shared_spec / "pylon_oracle.json").read_text(encoding="utf-8"))["metrics_numeric"]


def test_published_cases_of_point_localisation(oracle: dict, tmp_path: Path):
    """The published maps are sigmoids of logits 4 x 2 x 8 x 8, enlarged to 32 x 32 pixels."""
    case = oracle["case_A"]
    logits = 3 * torch.sin(0.7 * torch.arange(4 * 2 * 64, dtype=torch.float64) + 1.3 * 400)
    maps = torch.sigmoid(logits.to(torch.float32).reshape(4, 2, 1, 8, 8)).numpy()
    rows = [
        f"{image},c{label},{x},{y},{x + w},{y + h}"
        for image, boxes in enumerate(case["boxes_xywhc"])
        for x, y, w, h, label in boxes
    ]
    (tmp_path / "a.csv").write_text(OWN + "\n".join(rows) + "\n")
    places = ImagePlaces(tmp_path / "a.csv")
    found = [
        places.peaks_inside(str(image), ("c0", "c1"), maps[image], grid_of(8, 32), geometry_of((32, 32), 32))
        for image in range(4)
        if str(image) in places
    ]
    by_class = [[hit for hit in column if not np.isnan(hit)] for column in zip(*found, strict=True)]
    assert by_class == case["point_acc_by_class"]


def test_published_edges_belong_to_a_box(oracle: dict, tmp_path: Path):
    cases = oracle["edge_inclusive"]  # of a box from row 3 to 8 and column 2 to 6
    (tmp_path / "a.csv").write_text(OWN + "a,c,2,3,6,8\n")
    places = ImagePlaces(tmp_path / "a.csv")
    for name, inside in cases.items():
        row, column = (int(part) for part in name.removeprefix("row").split("col"))
        one = np.zeros((1, 1, 16, 16), np.float32)
        one[0, 0, row, column] = 1
        hit = places.peaks_inside("a", ("c",), one, grid_of(16, 16), geometry_of((16, 16), 16))
        assert bool(hit[0]) is inside, name
