"""What is explained, judged and shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator

from ..data.splits import SPLITS
from ..errors import did_you_mean
from ..plugins import METHODS
from .section import Section, listed, named_in, once

__all__ = ["EvaluateConfig", "ExplainConfig", "ReportConfig"]


class ExplainConfig(Section):
    """Which maps are made.

    Attributes:
        methods: ``hirescam``, ``gradcam``, ``gradcam_plus_plus``, ``xgradcam``, ``layercam``; ``cam`` behind global
            average pooling; of the input's voxels, summed over the cells (slow: a pass through the whole network for
            every label), ``gradient``, ``gradient_x_input``, ``guided_backprop``, ``guided_gradcam``; ``occlusion``
            (slower: one for every box).
        splits: splits whose scans are explained.
        volumes: labels whose maps are also written as NIfTI on the source scan's grid: names, ``predicted`` (the
            ``top`` highest scores of the scan), ``present`` (labels of its report), or none.
        volume_scans: scan ids that get such volumes; null for all explained ones.
        volume_method: method of those volumes.
        top: how many labels ``predicted`` takes.
        timeout: seconds after which a scan is given up; slow methods take hours without a GPU.
    """

    methods: Annotated[
        list[Annotated[str, AfterValidator(named_in(METHODS))]],
        AfterValidator(listed("attention method")),
    ] = ["hirescam", "gradcam"]
    splits: Annotated[list[str], AfterValidator(listed(f"of {', '.join(sorted(SPLITS))}"))] = [
        "valid",
        "test",
        "shifted",
        "intervention",
    ]
    volumes: Annotated[list[str], AfterValidator(once)] = []
    volume_scans: Annotated[list[str], AfterValidator(listed("scan"))] | None = None
    volume_method: Annotated[str, AfterValidator(named_in(METHODS))] = "hirescam"
    top: PositiveInt = 3
    timeout: PositiveFloat = 43200.0

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: list[str]) -> list[str]:
        for split in splits:
            if split not in SPLITS:
                msg = f"unknown split '{split}': {did_you_mean(split, SPLITS)}"
                raise ValueError(msg)
        return splits


class EvaluateConfig(Section):
    """How maps and scores are judged.

    Attributes:
        fidelity: ``reference`` scores a perfectly confined map 0, as the published code does; of 2D images it asks
            whether the highest pixel of the enlarged map lies in a box, as PYLON's does, instead of the highest cell.
        pointing_tolerance: cells by which the peak may miss a lesion.
    """

    fidelity: Literal["default", "reference"] = "default"
    pointing_tolerance: int = Field(default=0, ge=0)


class ReportConfig(Section):
    """What the page shows.

    Attributes:
        scans: number of scans that get a page of their own; test scans first, most findings first.
        labels: labels shown on a scan's page.
    """

    scans: int = Field(default=6, ge=0)
    labels: PositiveInt = 4
