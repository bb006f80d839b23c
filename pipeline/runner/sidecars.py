"""The JSON file beside a unit's outputs that says they are complete and what they were made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OrganCamError

__all__ = ["is_current", "read_sidecar", "retire"]

DEFAULT_PATTERN = "{id}.json"


def read_sidecar(folder: str | Path, id: str, pattern: str = DEFAULT_PATTERN) -> dict[str, Any] | None:
    """The sidecar of a unit, or None where there is none or it is damaged (the unit then counts as not done).

    Args:
        folder: the stage's folder.
        id: scan id.
        pattern: the stage's ``sidecar``.

    Returns:
        ``stage, version, id, key, inputs, parameters_hash, outputs`` (name to bytes), ``details, seconds, organcam``.
    """
    try:
        sidecar = json.loads((Path(folder) / pattern.format(id=id)).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    complete = isinstance(sidecar, dict) and sidecar.get("id") == id and isinstance(sidecar.get("outputs"), dict)
    return sidecar if complete else None


def is_current(sidecar: Mapping[str, Any] | None, folder: Path, key: str) -> bool:
    """Whether a unit's files are there, whole by their sizes, and made from the same inputs by the same rule."""
    return sidecar is not None and sidecar.get("key") == key and _outputs_whole(folder, sidecar["outputs"])


def retire(folder: Path, sidecar: Mapping[str, Any] | None, pattern: str) -> None:
    """Remove outdated outputs, their sidecar first.

    If it stayed until the new outputs are in place, a kill in between and a return to the old parameters would take
    new files for old ones.
    """
    if sidecar is None:
        return
    (folder / pattern.format(id=sidecar["id"])).unlink(missing_ok=True)
    for name in sidecar["outputs"]:
        if Path(name).name == name:  # a sidecar is a file that anybody can edit
            (folder / name).unlink(missing_ok=True)


def check_owner(sidecar: Mapping[str, Any] | None, stage: str, folder: Path) -> None:
    """Refuse to take over, and so remove, what another stage wrote.

    Raises:
        OrganCamError: naming both stages.
    """
    if sidecar is not None and sidecar.get("stage") != stage:
        msg = (
            f"{folder} holds results of stage {sidecar.get('stage')!r} under the sidecar names of stage {stage!r}: "
            "stages that share a folder need different sidecar names, and another run needs another folder"
        )
        raise OrganCamError(msg)


def _outputs_whole(folder: Path, outputs: Mapping[str, int]) -> bool:
    try:
        return all((folder / name).stat().st_size == size for name, size in outputs.items())
    except OSError:
        return False
