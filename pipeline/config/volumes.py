"""How organs are found, volumes are kept, and what a network and its regions see of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, model_validator

from .section import Section, once, rising

__all__ = ["InputConfig", "RegionsConfig", "SegmentConfig", "StoreConfig"]

Millimetres = Annotated[float, Field(ge=0.05, le=50)]
Voxels = Annotated[int, Field(ge=1, le=4096)]
StoredHU = Annotated[int, Field(ge=-32768, le=32767)]  # int16


class SegmentConfig(Section):
    """How organs are found.

    Attributes:
        method: ``organcam``, or ``reference`` for the published threshold rule.
        timeout: seconds after which a scan is given up and listed in failures.csv.
        external: folder with a label map of another tool for every scan (``<id>.nii.gz`` or ``<id>_<anything>.nii.gz``,
            or another volume format), used instead; null segments.
        label_table: what the values of those maps mean: ``totalsegmentator``, ``lungmask``, ``lungmask_lobes``,
            ``organcam``, or a YAML file (``right_lung: [1], left_lung: [2], heart_mediastinum: [3]``).
        parts: whether airways, descending aorta and heart are written too, ``organs/<id>_parts.nii.gz`` (1, 2, 3).
        png: whether to write a picture of every scan with its organs, ``organs/<id>_organs.png``.
    """

    method: Literal["organcam", "reference"] = "organcam"
    timeout: PositiveFloat = 600.0
    external: Path | None = None
    label_table: str = "organcam"
    parts: bool = False
    png: bool = False

    @model_validator(mode="after")
    def _check_table(self) -> SegmentConfig:
        if self.external is None and "label_table" in self.model_fields_set and self.label_table != "organcam":
            msg = "label_table says what external masks mean: name their folder in segment.external"
            raise ValueError(msg)
        if self.external is not None and self.method == "reference":
            msg = "external masks are used instead of a method: leave out method: reference"
            raise ValueError(msg)
        if self.parts and (self.external is not None or self.method == "reference"):
            msg = "parts come from organcam's own segmentation: leave out external masks and method: reference"
            raise ValueError(msg)
        return self


class StoreConfig(Section):
    """How volumes are kept for training.

    Attributes:
        spacing_mm: voxel size of the stored volume along (superior-inferior, anterior-posterior, right-left); null
            keeps each scan's own.
        clip_hu: stored range; RAD-ChestCT's is -1000 to 1000.
        grey: for 2D images, which are stored at the network's size on one scale of grey: what becomes black and white.
            ``depth`` takes what the file's number of bits can hold (0 and 255 of 8 bits), ``percentile`` the 1st and
            99th of each image, which radiographs of 10 to 16 bits need, and two values take those.
    """

    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] | None = (0.8, 0.8, 0.8)
    clip_hu: Annotated[tuple[StoredHU, StoredHU], AfterValidator(rising)] = (-1000, 1000)
    grey: Literal["depth", "percentile"] | Annotated[tuple[float, float], AfterValidator(rising)] = "depth"


class InputConfig(Section):
    """What a network sees.

    Attributes:
        shape: slices, rows and columns after centred padding with air or cropping; networks that take slabs of three
            slices need a multiple of 3. Of 2D images 1 (grey) or 3 (colour), rows and columns: each image is resized to
            them as a whole.
        window_hu: range scaled to [0, 1] before 0.449 is taken off. Of 2D images it is in stored values, from black (0)
            to white (32640), and all of them when it is not set.
    """

    shape: tuple[Voxels, Voxels, Voxels] = (405, 420, 420)
    window_hu: Annotated[tuple[float, float], AfterValidator(rising)] = (-1000.0, 800.0)


class RegionsConfig(Section):
    """Which cells of the feature grid count as allowed.

    Attributes:
        threshold: least share of a cell that the organs of a label must cover together; 0 means any contact. Cells are
            centimetres wide and disease often lies at the organ's border: at a quarter, a fifth of all pleural fluid
            is forbidden even with perfect masks, and a network under the mask loss hardly learns it.
        flagged: what to do with a scan whose segmentation was flagged as failed: ``rough`` fixed regions (halves of
            the image), or ``leave_out``.
        registration: ``network`` lays the cells by the network's stride and offset; ``reference`` shrinks the masks to
            tiles of the image, as the published code does.
        reference_mode: ``nearest`` (published), ``area`` or ``trilinear``, for ``registration: reference`` only.
        dilate: how often to grow the regions by a 3 x 3 x 3 box of cells.
        thirds: whether a stated lobe narrows a lung to its upper, middle or lower third. Coarse: lobes overlap thirds.
        base_mm: how far under the back half of a lung's base the evidence of atelectasis, effusion, consolidation and
            their kin may lie too (``at_base`` of the label table): airless lung on the diaphragm looks like the liver
            below it, and masks leave it out. 0 turns it off; ``registration: reference`` has none.
        pictures: labels whose cells are drawn over every scan, ``regions/<id>_<label>.png``.
    """

    threshold: float = Field(default=0.1, ge=0.0, lt=1.0)
    flagged: Literal["rough", "leave_out"] = "rough"
    registration: Literal["network", "reference"] = "network"
    reference_mode: Literal["nearest", "area", "trilinear"] = "nearest"
    dilate: int = Field(default=0, ge=0, le=10)
    thirds: bool = False
    base_mm: float = Field(default=30.0, ge=0.0, le=100.0)
    pictures: Annotated[list[str], AfterValidator(once)] = []
