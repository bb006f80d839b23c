"""Region files: what is written comes back, small; another grid is refused."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.data.region_store import has_regions, read_regions, write_regions
from organcam.errors import DataError


def test_bitmaps_of_every_grid_come_back(tmp_path):
    rng = np.random.default_rng(0)
    regions = {"2x3x5-aa": rng.random((7, 2, 3, 5)) > 0.5, "1x2x2-bb": rng.random((13, 1, 2, 2)) > 0.5}
    path = tmp_path / "a.npz"
    with path.open("wb") as stream:
        write_regions(stream, regions)
    for key, masks in regions.items():
        assert np.array_equal(read_regions(path, key), masks)
        assert has_regions(path, key)
    assert not has_regions(path, "9x9x9-cc")
    assert not has_regions(tmp_path / "none.npz", "1x2x2-bb")
    with pytest.raises(DataError, match="run the regions stage again"):
        read_regions(path, "9x9x9-cc")
