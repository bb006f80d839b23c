"""Attention of single scans, or of a table of them, by any model that can be opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..attention import METHODS, AttentionMaps, ScanAttention, attention_by_method, scan_attention, write_attention
from ..attention.methods import place_of
from ..attention.targets import logits_of
from ..data.found import FoundScan
from ..data.readers import is_dicom_folder
from ..data.writers import write_nifti
from ..errors import ConfigError, DataError, OrganCamError, did_you_mean
from ..placement import SourceGrid, map_on_source, source_grid_of
from ..runner.atomic import atomic_path, write_csv_atomic
from ..runner.failures import write_failures
from ..runner.identifiers import safe_id
from ..runner.unit import Failure
from ..transforms.spatial import plain_tensor
from .models import UsableModel

__all__ = ["Wishes", "explain_scans"]

OF_LAYERS = ("layer", "head", "guided layer")
NOT_IN_SCRIPT = (*OF_LAYERS, "guided")


@dataclass(frozen=True)
class Wishes:
    """What is to be written of each scan.

    Small maps of all labels and all methods are always written (``<id>.npz``), and a row of scores.

    Attributes:
        methods: names of attention methods; full-size files are of the first.
        labels: whose full-size files are wanted; empty for the ``top`` highest of each scan.
        top: how many.
        nifti: ``<id>_<label>.nii.gz`` on the scan's own voxels, NaN where the network has not seen it.
        png: ``<id>_<label>.png``, planes through the peak over the network's input.
        dicom: ``<id>_<label>.dcm`` and ``<id>_<label>_regions.dcm``, referring to the scan's series.
    """

    methods: tuple[str, ...] = ("hirescam",)
    labels: tuple[str, ...] = ()
    top: int = 1
    nifti: bool = False
    png: bool = False
    dicom: bool = False


def explain_scans(model: UsableModel, scans: Iterable[FoundScan], out: Path, wishes: Wishes) -> tuple[Failure, ...]:
    """Explain scans one after another; one that cannot be is a row of ``failures.csv`` and stops nothing.

    Args:
        model: see ``open_model``.
        scans: see ``organcam.data.discover.find_scans``.
        out: folder, made if missing; ``scores.csv`` has the logits of all scans.
        wishes: what to write.

    Returns:
        The scans that could not be explained.

    Raises:
        ConfigError: for an unknown method or label, or a method that cannot look into TorchScript.
    """
    _check_wishes(model, wishes)
    rows, failures = [], []
    for scan in scans:
        try:
            rows.append({"scan_id": scan.scan_id, **_explain_scan(model, scan, out, wishes)})
        except (OrganCamError, ValueError, RuntimeError, OSError, KeyError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            failures.append(Failure("explain", scan.scan_id, reason, "data"))
    if rows:
        write_csv_atomic(out / "scores.csv", pd.DataFrame(rows))
    write_failures(out, "explain", failures)
    return tuple(failures)


def _check_wishes(model: UsableModel, wishes: Wishes) -> None:
    places = {method: place_of(METHODS.get(method)) for method in wishes.methods}
    for label in wishes.labels:
        if label not in model.labels:
            msg = f"{label!r} is no output of the model: {did_you_mean(label, model.labels or ('none has a name',))}"
            raise ConfigError(msg)
    for method, place in places.items():
        if isinstance(model.network, torch.jit.ScriptModule) and place in NOT_IN_SCRIPT:
            legal = ", ".join(one for one in METHODS.names() if place_of(METHODS.get(one)) not in NOT_IN_SCRIPT)
            msg = f"{method} looks into layers, which TorchScript hides: use {legal}, or give a state dictionary"
            raise ConfigError(msg)


def _explain_scan(model: UsableModel, scan: FoundScan, out: Path, wishes: Wishes) -> dict[str, float]:
    name = safe_id(scan.scan_id)
    image, volume = model.prepare(scan.image)
    pixels = plain_tensor(image)[None].float()
    with torch.no_grad():
        logits = logits_of(model.network(pixels))
    labels = model.labels or tuple(f"label{place}" for place in range(logits.shape[1]))
    if len(labels) != logits.shape[1]:
        msg = f"the network has {logits.shape[1]} outputs and the model {len(labels)} labels"
        raise DataError(msg)
    found, places = _found(model, pixels, logits, labels, wishes)
    attention = scan_attention(found, 0, [labels[place] for place in places])
    with atomic_path(out / f"{name}.npz") as path, path.open("wb") as stream:
        write_attention(stream, attention)
    for label in _chosen(attention, labels, wishes):
        maps = found[wishes.methods[0]].select(0, attention.labels.index(label))
        _write_full(out / safe_id(f"{name}_{label}", "file name"), maps, scan.image, volume, label, wishes)
    values = logits[0].detach() if logits.ndim == 2 else attention.scores
    known = labels if logits.ndim == 2 else attention.labels
    return {label: float(value) for label, value in zip(known, values, strict=True)}


def _found(
    model: UsableModel, pixels: Tensor, logits: Tensor, labels: Sequence[str], wishes: Wishes
) -> tuple[dict[str, AttentionMaps], list[int]]:
    """Maps by method, and of which outputs: all on a layer's cells, or the wanted ones on the voxels."""
    everything = list(range(len(labels)))
    if any(place_of(METHODS.get(method)) in OF_LAYERS for method in wishes.methods):
        return attention_by_method(
            model.network, pixels, methods=wishes.methods, layer=model.layer, cells=len(wishes.methods) > 1
        ), everything
    scores = logits[0].flatten(1).sum(1) if logits.ndim > 2 else logits[0]
    best = scores.argsort(descending=True)[: wishes.top].tolist()
    places = [labels.index(label) for label in wishes.labels] or best
    return attention_by_method(model.network, pixels, methods=wishes.methods, targets=places), places


def _chosen(attention: ScanAttention, labels: Sequence[str], wishes: Wishes) -> list[str]:
    if wishes.labels:
        return list(wishes.labels)
    order = np.argsort(-attention.scores, kind="stable")[: wishes.top]
    return [attention.labels[place] for place in order if attention.labels[place] in labels]


def _write_full(base: Path, maps: AttentionMaps, scan: Path, volume: Any, label: str, wishes: Wishes) -> None:
    if wishes.png:
        maps.save(base.with_name(f"{base.name}.png"))
    if not wishes.nifti and not wishes.dicom:
        return
    if maps.grid is None or not hasattr(volume, "affine"):
        msg = f"the maps of {maps.layer!r} have no place in the scan, so that only npz can be written"
        raise DataError(msg)
    cells, affine = maps.values[0, 0].detach().float().cpu().numpy(), np.asarray(volume.affine, dtype=np.float64)
    if wishes.nifti:
        placed = map_on_source(cells, maps.grid, affine, source_grid_of(volume))
        with atomic_path(base.with_name(f"{base.name}.nii.gz")) as path:
            write_nifti(path, placed.array, placed.affine)
    if wishes.dicom:
        _write_dicom(base, maps, cells, affine, scan, label)


def _write_dicom(base: Path, maps: AttentionMaps, cells: Any, affine: Any, scan: Path, label: str) -> None:
    from ..placement.dicom import (  # noqa: PLC0415 - an extra
        DicomSeries,
        attention_regions,
        write_parametric_map,
        write_segmentation,
    )

    if not (scan.is_dir() and is_dicom_folder(scan)):
        msg = f"{scan} is no DICOM series, to which DICOM objects could refer; use --nifti"
        raise DataError(msg)
    assert maps.grid is not None
    series = DicomSeries(scan)
    placed = map_on_source(cells, maps.grid, affine, SourceGrid(series.shape, series.affine))
    write_parametric_map(base.with_name(f"{base.name}.dcm"), placed, series, label=label, method=maps.method)
    regions = attention_regions(placed)
    if any(region.array.any() for region in regions.values()):
        write_segmentation(base.with_name(f"{base.name}_regions.dcm"), regions, series)
