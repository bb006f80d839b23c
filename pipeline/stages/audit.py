"""``organcam audit``: a model and somebody's scans in, verdicts with their numbers and pictures out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from organcam.segmentation import segment_organs

from ..attention import attention_maps
from ..audit.kinds import Wish
from ..audit.model import Answer, Model
from ..audit.parts import PARTS, medians_of, parts_of
from ..audit.pictures import draw_insertion
from ..audit.scan import ScanFacts, ask_scan
from ..audit.tables import AuditTables, audit_tables
from ..bundles.models import UsableModel
from ..catalogue.targets import region_targets
from ..data.discover import FoundScan
from ..data.label_files import read_label_matrix
from ..data.readers import read_volume
from ..data.records import read_manifest
from ..data.volume import Volume
from ..data.writers import write_nifti
from ..errors import ConfigError, DataError, OrganCamError
from ..evaluation.given_files import read_labels
from ..runner import Failure, plain_json, write_csv_atomic, write_failures, write_json_atomic
from ..runner.atomic import atomic_path
from ..runner.identifiers import safe_id

__all__ = ["KnownLabels", "audit_scans", "labels_of_run", "labels_of_table", "model_of", "scans_of_run"]

FILL_SCANS = 20
PICTURES = 24
KNOWN_FAILURES = (OrganCamError, ValueError, RuntimeError, OSError, KeyError)


@dataclass(frozen=True)
class KnownLabels:
    """True labels by scan; NaN for what a table does not tell."""

    table: pd.DataFrame
    patients: dict[str, str]

    def of(self, scan_ids: Sequence[str], labels: Sequence[str]) -> np.ndarray:
        """``[N, M]`` float, NaN where nothing is known."""
        return self.table.reindex(index=list(scan_ids), columns=list(labels)).to_numpy(dtype=float)


def labels_of_table(path: Path) -> KnownLabels:
    """Labels of a CSV with ``scan_id`` and a 0/1 column each."""
    found = read_labels(path)
    table = pd.DataFrame(found.present.astype(float), index=list(found.scan_ids), columns=list(found.names))
    return KnownLabels(table, dict(zip(found.scan_ids, found.patients, strict=True)))


def labels_of_run(root: Path) -> KnownLabels | None:
    """Labels that a run's reports gave its scans; None if it has none."""
    path = root / "labels" / "labels_by_location.csv"
    if not path.is_file():
        return None
    cells, records = read_label_matrix(path), read_manifest(root / "manifest.csv")
    paired = [record for record in records if record.report_id in cells.index]
    if not paired:
        return None
    own = cells.loc[[record.report_id for record in paired]]
    own.index = pd.Index([record.scan_id for record in paired], name="scan_id")
    targets = region_targets(own)
    table = pd.DataFrame(targets.present.astype(float), index=list(targets.ids), columns=list(targets.names))
    return KnownLabels(table, {record.scan_id: record.patient_id for record in paired})


def scans_of_run(root: Path) -> list[FoundScan]:
    """The test scans of a run, or its validation scans where it has none.

    Raises:
        ConfigError: if there are none.
    """
    records = read_manifest(root / "manifest.csv")
    for split in ("test", "all", "valid"):
        found = [record for record in records if record.split == split]
        if found:
            return [FoundScan(one.scan_id, Path(one.image), one.patient_id, one.split, one.report_id) for one in found]
    msg = f"{root} has no test scans: give --scans"
    raise ConfigError(msg)


def model_of(usable: UsableModel, name: str, folder: Path) -> Model:
    """A model that is asked by files: each scan goes through its whole preprocessing, whatever that is.

    Args:
        usable: network, labels and preprocessing.
        name: for tables.
        folder: for the one file that is written again and again.

    Raises:
        ConfigError: if nobody named its outputs.
    """
    if not usable.labels:
        msg = "the model's outputs have no names (metadata.json of a bundle: channel_def of its output)"
        raise ConfigError(msg)
    path = folder / "asked.nii"

    def answer(volume: Volume) -> Answer:
        write_nifti(path, volume.array, volume.affine)
        image, placed = usable.prepare(path)
        pixels = torch.as_tensor(image)[None].float()
        pixels = pixels.as_tensor() if hasattr(pixels, "as_tensor") else pixels
        found = attention_maps(usable.network, pixels, layer=usable.layer)
        affine = np.asarray(placed.affine, dtype=np.float64) if hasattr(placed, "affine") else None
        maps = found.values[0].detach().float().cpu().numpy()
        return Answer(found.logits[0].detach().double().cpu().numpy(), maps, found.grid, affine)

    return Model(name, usable.labels, answer)


def audit_scans(
    usable: UsableModel,
    scans: Sequence[FoundScan],
    out: Path,
    wishes: Sequence[Wish],
    *,
    name: str = "model",
    organs: Path | None = None,
    labels: KnownLabels | None = None,
    seed: int = 0,
    content: str = "",
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[AuditTables, list[Failure]]:
    """Audit a model on some scans and write ``audit.csv``, ``audit.json`` and what is behind them.

    Args:
        usable: the model.
        scans: to ask it about.
        out: folder, made if needed.
        wishes: what to put in.
        name: of the model.
        organs: folder of ``<id>_organs.nii.gz``; None to segment, into ``out/organs``.
        labels: true ones, if they are known.
        seed: of what is put in.
        content: hash of the model's file, so that an audit of other weights is known as such.
        tell: is told of each scan that is done.

    Returns:
        The tables, and the scans that could not be used.

    Raises:
        OrganCamError: if no scan could be used.
    """
    failures: list[Failure] = []
    fills = _fills(scans, organs, out)
    facts: list[ScanFacts] = []
    pictures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(usable, name, Path(folder))
        for number, found in enumerate(scans):
            try:
                scan = read_volume(found.image)
                masks = _organs_of(found, scan, organs, out)
                one, shown = ask_scan(found.scan_id, scan, masks, model, fills, wishes, seed + number)
            except KNOWN_FAILURES as error:
                reason = " ".join(str(error.__cause__ or error).split())
                failures.append(Failure("audit", found.scan_id, reason, "data"))
                continue
            facts.append(one)
            for made, before, after in shown:
                if len(pictures) < PICTURES:
                    pictures.append(_picture(out, found.scan_id, scan, made, before, after, model.labels))
            tell(f"{len(facts)} of {len(scans)}: {found.scan_id}")
    if not facts:
        first = failures[0]
        msg = f"no scan could be used; the first one, {first.id}: {first.reason}"
        raise OrganCamError(msg)
    ids = [one.scan_id for one in facts]
    present = None if labels is None else labels.of(ids, model.labels)
    present = None if present is None or np.isnan(present).all() else present
    patients = None if labels is None else [labels.patients.get(scan_id, scan_id) for scan_id in ids]
    tables = audit_tables(facts, model.labels, present, patients)
    _write(out, name, content, tables, facts, pictures, wishes)
    write_failures(out, "audit", failures)
    return tables, failures


def _fills(scans: Sequence[FoundScan], organs: Path | None, out: Path) -> dict[int, float]:
    """Median HU of each part over the first scans, with which parts are painted over."""
    found: dict[int, list[float]] = {value: [] for value in PARTS}
    for scan in scans[:FILL_SCANS]:
        try:
            volume = read_volume(scan.image)
            for value, hu in medians_of(volume, parts_of(volume, _organs_of(scan, volume, organs, out))).items():
                found[value].append(hu)
        except KNOWN_FAILURES:
            continue  # it will be told when it is asked
    return {value: float(np.median(values)) for value, values in found.items() if values}


def _organs_of(found: FoundScan, scan: Volume, organs: Path | None, out: Path) -> Volume:
    path = (organs or out / "organs") / f"{safe_id(found.scan_id)}_organs.nii.gz"
    if path.is_file():
        masks = read_volume(path)
        return masks.reoriented(scan.axes)
    if organs is not None:
        msg = f"{path}: no such file"
        raise DataError(msg)
    made = Volume(segment_organs(scan.array, affine=scan.affine).labels, scan.affine)
    with atomic_path(path) as temporary:
        write_nifti(temporary, made.array, made.affine)
    return made


def _picture(
    out: Path, scan_id: str, scan: Volume, made: Any, before: Answer, after: Answer, labels: Sequence[str]
) -> dict[str, Any]:
    """A picture of one insertion for the label that it should raise, or the one that it moves most."""
    change = after.logits - before.logits
    wanted = [place for place, label in enumerate(labels) if label in made.wish.kind.labels]
    place = max(wanted or range(len(labels)), key=lambda place: abs(change[place]))
    text = str(made.wish).replace(":", "_")
    name = f"{safe_id(f'{scan_id}_{text}_{labels[place]}', 'file name')}.png"
    with atomic_path(out / "pictures" / name) as path:
        path.write_bytes(draw_insertion(scan, made, before, after, place))
    told = {"scan_id": scan_id, "inserted": str(made.wish), "place": made.place, "label": labels[place]}
    return {**told, "change": float(change[place]), "file": f"pictures/{name}"}


def _write(
    out: Path,
    name: str,
    content: str,
    tables: AuditTables,
    facts: Sequence[ScanFacts],
    pictures: Sequence[dict[str, Any]],
    wishes: Sequence[Wish],
) -> None:
    write_csv_atomic(out / "audit.csv", tables.labels)
    write_csv_atomic(out / "correlations.csv", tables.correlations)
    write_csv_atomic(out / "insertions.csv", tables.insertions)
    write_csv_atomic(out / "sensitivity.csv", tables.sensitivity)
    traits = pd.DataFrame([{"scan_id": one.scan_id, **one.traits} for one in facts])
    write_csv_atomic(out / "traits.csv", traits)
    document = {
        "model": name,
        "content": content,
        "scans": len(facts),
        "inserted": [str(wish) for wish in wishes],
        "labels": _records(tables.labels),
        "sensitivity": _records(tables.sensitivity),
        "pictures": list(pictures),
        "notes": list(_notes(facts)),
    }
    write_json_atomic(out / "audit.json", plain_json(document))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return found


def _notes(facts: Sequence[ScanFacts]) -> Iterator[str]:
    for one in facts:
        yield from one.notes
