"""Known places of findings in 2D images, in the forms that the evaluation and the pages take for lesions of volumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organcam.segmentation.regions import organ_occupancy

from ..attention import to_input_grid
from ..data.boxes import read_known_places
from ..data.network_input import grid_on_scan, input_affine
from ..data.volume import Volume
from ..geometry import FeatureGrid

__all__ = ["ImagePlaces"]


class ImagePlaces:
    """Boxes or masks of images, see `read_known_places`; `organcam.stages.lesions.Lesions` is its like for volumes.

    Args:
        path: ``data.lesions``.

    Raises:
        ConfigError: as `read_known_places`.
    """

    def __init__(self, path: Path) -> None:
        self._known = read_known_places(path)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._known

    def masks(self, scan_id: str, geometry: Mapping[str, Any]) -> dict[str, Volume]:
        """Label -> its places in one image, bool ``[1, H, W]`` in pixels of the image file.

        Args:
            scan_id: an image that is told of.
            geometry: details of its stored form.

        Raises:
            DataError: for a box outside of the image, or a mask that does not fit.
        """
        _, height, width = geometry["scan_shape"]
        affine = np.asarray(geometry["scan_affine"])
        found = self._known.masks(scan_id, (height, width))
        return {label: Volume(mask[None], affine) for label, mask in found.items()}

    def occupancy(
        self, scan_id: str, labels: tuple[str, ...], grid: FeatureGrid, geometry: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        """Share of each cell that the places of each label fill, ``[M, S, h, w]``; arguments as of `Lesions`."""
        affine = input_affine(np.asarray(geometry["affine"]), geometry["shape"], grid.input_shape)
        result = np.zeros((len(labels), *grid.shape), dtype=np.float32)
        for label, mask in self.masks(scan_id, geometry).items():
            if label in labels:
                cells = grid_on_scan(grid, affine, mask.affine, mask.array.shape)
                result[labels.index(label)] = organ_occupancy(mask.array.astype(np.uint8), cells, (1,))[0]
        return result

    def peaks_inside(
        self,
        scan_id: str,
        labels: tuple[str, ...],
        maps: NDArray[np.float32],
        grid: FeatureGrid,
        geometry: Mapping[str, Any],
    ) -> NDArray[np.float64]:
        """PYLON's point localisation: whether the highest pixel of each map, enlarged to the image, lies in a place.

        Preechakul et al. (2022) enlarge the map's sigmoid to the network's input, and compare the peak's index with the
        edges of boxes scaled to it; here the raw map is enlarged, between the true centres of its cells, and the peak's
        place is taken to the pixels of the image file.

        Args:
            scan_id: an image that is told of.
            labels: names of the M maps.
            maps: ``[M, S, h, w]``.
            grid: where their cells lie.
            geometry: details of the image's stored form.

        Returns:
            ``[M]``: 1 inside, 0 not, NaN for a label without a place.
        """
        affine = input_affine(np.asarray(geometry["affine"]), geometry["shape"], grid.input_shape)
        hits = np.full(len(labels), np.nan)
        for label, mask in self.masks(scan_id, geometry).items():
            if label in labels:
                pixels = to_input_grid(np.ascontiguousarray(maps[labels.index(label)]), grid)
                peak = np.unravel_index(int(np.argmax(pixels)), pixels.shape)
                place = np.linalg.inv(mask.affine) @ affine @ [*peak, 1.0]
                row, column = np.clip(np.rint(place[1:3]).astype(int), 0, np.array(mask.array.shape[1:]) - 1)
                hits[labels.index(label)] = float(mask.array[0, row, column])
        return hits
