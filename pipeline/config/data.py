"""Where scans, reports and labels come from, and how text becomes labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from ..data.limits import MAX_VOXELS
from .section import Section, listed

__all__ = ["DataConfig", "LabelsConfig", "ParseConfig"]


class DataConfig(Section):
    """Where scans, reports and splits come from.

    Attributes:
        kind: ``volumes``, or ``images`` for radiographs and other 2D images, which have no organs to segment: the
            stages segment and regions are left out, and labels are the columns of their table.
        images: a folder with volumes (``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.mhd``, ``.npz``) and DICOM series
            at any depth, a list of files, or a CSV with the columns below; of kind ``images`` a folder, at any depth,
            of ``.png``, ``.jpg`` and single DICOM files (``.dcm``, ``.dicom``), whose names are the ids.
        id_column: column of the scan id in the images CSV.
        ids: what ids of a folder's scans are made of: ``path`` (relative to ``images``), ``hash`` (of it, where paths
            tell who a patient is), or ``accession`` (the DICOM accession number).
        series: which series of a DICOM study are scans: ``best`` (the axial original one with most slices) or ``all``
            such series.
        image_column: column of the image path in the images CSV (relative to that CSV).
        reports: CSV with one report a row; without it nothing can be trained.
        metadata: CT-RATE's tables of metadata, for volumes whose headers are blank (``train``, ``valid``; those of
            ``train_fixed`` need none): voxel size, slope and intercept, taken where header and values have none yet.
        report_id_column: column of the id that joins report and scan; null finds the columns of our own form
            (``scan_id, report_text``), CT-RATE and OpenI by themselves.
        report_text_columns: columns whose text is joined to one report; null as above.
        labels: CSV files in place of reports: ids of scans (or reports), and 0/1 in columns ``abnormality*location``,
            as RAD-ChestCT has them, or of an abnormality alone. Of images any columns of 0/1, or the tables of
            ChestX-ray14 and VinDr-CXR and the folders of PASCAL VOC as they are.
        splits: CSV with ``scan_id, split``, or several; overrides a ``split`` column of the images CSV. RAD-ChestCT's
            tables with ``Subset_Assigned`` do as they are, and lists of names such as ChestX-ray14's.
        only_listed: whether scans without a split are left out; otherwise they are refused where a split is needed.
        fractions: shares of the patients when no split is given; at least ten patients are needed, fewer are used in
            every split and said so.
        lesions: CSV ``scan_id, value, abnormality, location, mask`` of label maps with known findings, for pointing
            accuracy; of images a CSV of boxes, ``scan_id, label, x_min, y_min, x_max, y_max``, or the tables and
            folders of those data sets.
        organs: CSV ``scan_id, organs`` of label maps (1 right lung, 2 left lung, 3 heart and mediastinum) with known
            organs, to measure the segmentation by Dice; never used for the allowed regions.
        interventions: CSV ``scan_id, counterpart, inserted, label``: scan pairs that differ in one inserted thing.
        max_voxels: a scan that declares more, or would have more when resampled, is refused before memory is taken.
        max_failed: share of the scans that may fail before training is refused.
    """

    kind: Literal["volumes", "images"] = "volumes"
    images: Path | Annotated[list[Path], AfterValidator(listed("file"))] | None = None
    id_column: str = "scan_id"
    image_column: str = "image"
    ids: Literal["path", "hash", "accession"] = "path"
    series: Literal["best", "all"] = "best"
    reports: Path | None = None
    metadata: Path | Annotated[list[Path], AfterValidator(listed("file"))] | None = None
    report_id_column: str | None = None
    report_text_columns: Annotated[list[str], AfterValidator(listed("column"))] | None = None
    labels: Path | Annotated[list[Path], AfterValidator(listed("file"))] | None = None
    splits: Path | Annotated[list[Path], AfterValidator(listed("file"))] | None = None
    only_listed: bool = False
    fractions: dict[Literal["train", "valid", "test"], NonNegativeFloat] = {"train": 0.7, "valid": 0.1, "test": 0.2}
    lesions: Path | None = None
    organs: Path | None = None
    interventions: Path | None = None
    max_voxels: PositiveInt = MAX_VOXELS
    max_failed: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def label_files(self) -> tuple[Path, ...]:
        """The files of ``labels``; none where labels come from reports."""
        if self.labels is None:
            return ()
        return (self.labels,) if isinstance(self.labels, Path) else tuple(self.labels)

    @property
    def metadata_files(self) -> tuple[Path, ...]:
        """The files of ``metadata``."""
        if self.metadata is None:
            return ()
        return (self.metadata,) if isinstance(self.metadata, Path) else tuple(self.metadata)

    @property
    def split_files(self) -> tuple[Path, ...]:
        """The files of ``splits``."""
        if self.splits is None:
            return ()
        return (self.splits,) if isinstance(self.splits, Path) else tuple(self.splits)

    @property
    def tells_labels(self) -> bool:
        """Whether scans have labels, from reports or from tables: without any nothing can be trained or scored."""
        return self.reports is not None or self.labels is not None

    @model_validator(mode="after")
    def _check_labels(self) -> DataConfig:
        if self.reports is not None and self.labels is not None:
            msg = "labels are given in place of reports: leave out one of the two"
            raise ValueError(msg)
        return self

    @field_validator("fractions")
    @classmethod
    def _check_fractions(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not (fractions.get("train") and fractions.get("valid")):
            msg = "train and valid need a share above 0: nothing is trained or chosen without them"
            raise ValueError(msg)
        return fractions


class ParseConfig(Section):
    """How report text becomes labels.

    Attributes:
        vocabulary: name of a shipped vocabulary, or the path of a YAML file.
        uncertain: whether "possible", "cannot exclude" count as present; null is the vocabulary's own habit
            (``chest_ct`` positive, ``chest_xray`` negative).
        historical: whether findings told as history count as present.
        labels: a label profile that is written too, such as ``ct_rate``.
    """

    vocabulary: str = "chest_ct"
    uncertain: Literal["positive", "negative"] | None = None
    historical: Literal["positive", "negative"] = "negative"
    labels: str | None = None


class LabelsConfig(Section):
    """Which outputs the networks have.

    Attributes:
        names: labels by name, or ``all`` for the catalogue's 80 and those of the table.
        min_positives: a label with fewer positive training scans is left out.
        fidelity: ``reference`` drops sides as the published code does.
        table: YAML file of labels of your own, each with its organs and the findings that make it present.
    """

    names: Literal["all"] | Annotated[list[str], AfterValidator(listed("label, or all"))] = "all"
    min_positives: int = Field(default=1, ge=0)
    fidelity: Literal["default", "reference"] = "default"
    table: Path | None = None
