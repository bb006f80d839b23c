"""``organcam evaluate --maps``: files of another program in, tables out; no run directory is needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..evaluation.given import folders_of, measure_files
from ..evaluation.given_files import MapFolder, MaskFolder, read_labels
from ..evaluation.given_tables import GivenEvaluation, evaluate_given
from ..metrics.functional.organ_iou import Fidelity, validate_fidelity
from ..runner import Failure, plain_json, write_csv_atomic, write_failures, write_json_atomic

__all__ = ["evaluate_given_maps"]


def evaluate_given_maps(
    maps: Path,
    masks: Sequence[Path],
    labels: Path,
    out: Path,
    *,
    lesions: Path | None = None,
    thresholds: Path | None = None,
    reference: str | None = None,
    fidelity: Fidelity = "default",
) -> tuple[GivenEvaluation, list[Failure]]:
    """Judge maps that lie in a folder and write every table to ``out``, as CSV and in ``summary.json``.

    Args:
        maps: ``MODEL/METHOD/SCAN.npz``, see ``organcam.evaluation.given_files``.
        masks: folders of allowed regions; of several the spread is told.
        labels: CSV with ``scan_id``, a 0/1 column a label, and perhaps ``patient_id`` and ``split``.
        out: folder, made if needed.
        lesions: folder of lesion masks, for pointing, energy, hits and recall.
        thresholds: ``thresholds.json`` of another evaluation; None to choose them here.
        reference: ``MODEL/METHOD`` that gains are over.
        fidelity: of OrganIoU.

    Returns:
        The tables, and the scans that could not be judged.

    Raises:
        ConfigError: for a missing or unusable file, or if nothing could be judged.
    """
    validate_fidelity(fidelity)
    if not masks and lesions is None:
        msg = "--maps needs --masks (allowed regions), --lesions, or both"
        raise ConfigError(msg)
    table = read_labels(labels)
    folder = MapFolder(maps, table.names, table.scan_ids)
    figures = measure_files(
        table,
        folder,
        folders_of(masks, table.names),
        None if lesions is None else MaskFolder(lesions, table.names, "--lesions"),
        fidelity,
    )
    if not any(figures.seen.values()):
        first = figures.failures[0]
        msg = f"no scan could be judged; the first one, {first.id}: {first.reason}"
        raise ConfigError(msg)
    found = evaluate_given(figures, reference, None if thresholds is None else _thresholds(thresholds))
    notes = list(found.notes)
    if folder.unknown:
        notes.append(f"{len(folder.unknown)} files are of no scan of the table, such as {folder.unknown[0]}")
    found = GivenEvaluation(found.tables, found.thresholds, tuple(notes))
    for name, rows in found.tables.items():
        write_csv_atomic(out / f"{name}.csv", rows)
    write_json_atomic(out / "thresholds.json", plain_json(found.thresholds))
    summary = {
        "notes": notes,
        "scans": {model: len(rows) for model, rows in figures.seen.items()},
        "tables": {
            name: json.loads(rows.to_json(orient="records")) for name, rows in found.tables.items() if name != "pairs"
        },
    }
    write_json_atomic(out / "summary.json", summary)
    write_failures(out, "evaluate", figures.failures)
    return found, figures.failures


def _thresholds(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"--thresholds: {path} is no readable JSON ({type(error).__name__})"
        raise ConfigError(msg) from None
    if not isinstance(found, dict) or not found:
        msg = f"--thresholds: {path} must hold label: threshold, also by method, or by model and method"
        raise ConfigError(msg)
    return found
