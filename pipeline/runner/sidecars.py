"""The JSON file beside a unit's outputs that says they are complete, what they hold and what they were made from."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import OrganCamError
from .fingerprints import fingerprint_value

__all__ = [
    "check_owner",
    "has_hashes",
    "is_current",
    "is_whole",
    "output_hash",
    "read_sidecar",
    "retire",
    "retire_others",
    "sealed",
]

DEFAULT_PATTERN = "{id}.json"


UNSEALED = ("seal", "seconds")
"""The hash itself, and what differs between two runs that do the same."""


def sealed(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """With ``seal``, a hash of what counts: later stages take places and scores from it, and disks change digits."""
    content = {name: value for name, value in sidecar.items() if name not in UNSEALED}
    return {**sidecar, "seal": fingerprint_value(content)}


def read_sidecar(folder: str | Path, id: str, pattern: str = DEFAULT_PATTERN) -> dict[str, Any] | None:
    """The sidecar of a unit, or None where there is none or it is damaged (the unit then counts as not done).

    Args:
        folder: the stage's folder.
        id: scan id.
        pattern: the stage's ``sidecar``.

    Returns:
        ``stage, version, id, key, inputs, parameters_hash, outputs`` (name to ``bytes`` and ``sha256``), ``details,
        seconds, organcam, seal``; sidecars of earlier versions have no seal.
    """
    try:
        sidecar = json.loads((Path(folder) / pattern.format(id=id)).read_text(encoding="utf-8"))
        complete = isinstance(sidecar, dict) and sidecar.get("id") == id and isinstance(sidecar.get("outputs"), dict)
        return sidecar if complete and ("seal" not in sidecar or sealed(sidecar) == sidecar) else None
    except (FileNotFoundError, ValueError):
        return None


def is_current(sidecar: Mapping[str, Any] | None, folder: Path, key: str) -> bool:
    """Whether a unit's files are there, whole by their sizes, and made from the same inputs by the same rule."""
    return sidecar is not None and sidecar.get("key") == key and has_hashes(sidecar) and is_whole(sidecar, folder)


def is_whole(sidecar: Mapping[str, Any], folder: Path) -> bool:
    """Whether all outputs are there with the recorded sizes; what they hold is not looked at."""
    try:
        return all((folder / name).stat().st_size == made["bytes"] for name, made in sidecar["outputs"].items())
    except OSError:
        return False


def has_hashes(sidecar: Mapping[str, Any]) -> bool:
    """Whether it says what the outputs hold; sidecars of earlier versions do not, and their units are done again."""
    return all(isinstance(made, dict) and {"bytes", "sha256"} <= made.keys() for made in sidecar["outputs"].values())


def output_hash(sidecar: Mapping[str, Any], name: str) -> str:
    """Content hash of one output, ``sha256:<hex>``, as it was when it was written."""
    return f"sha256:{sidecar['outputs'][name]['sha256']}"


def retire_others(folder: Path, stage: str, keep: Collection[str], pattern: str = DEFAULT_PATTERN) -> list[str]:
    """Remove the units of a stage that nobody asks for any more, with their outputs.

    Args:
        folder: the stage's folder.
        stage: sidecars of other stages are left alone.
        keep: ids that stay.
        pattern: the stage's ``sidecar``.

    Returns:
        The ids removed.
    """
    gone = []
    for id in sorted(set(_ids(folder, pattern)) - set(keep)):
        sidecar = read_sidecar(folder, id, pattern)
        if sidecar is not None and sidecar.get("stage") == stage:
            retire(folder, sidecar, pattern)
            gone.append(id)
    return gone


def _ids(folder: Path, pattern: str) -> Iterator[str]:
    before, after = pattern.split("{id}")
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
            yield name[len(before) : len(name) - len(after)]


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
