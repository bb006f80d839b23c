"""The audits of a run's models, for its page."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runner import fingerprint_file

__all__ = ["read_audits"]

PICTURES = 8
WORST_FIRST = ("shortcut", "mixed", "cannot", "not", "no ", "uses")


def read_audits(root: Path, models: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """What ``organcam audit`` wrote beside a run, worst verdicts first, pictures inside; nothing where there is none.

    An audit of a model that has been trained again since is left out but for a sentence.
    """
    found = []
    for model in models:
        path = root / "audit" / model / "audit.json"
        if not path.is_file():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            found.append(_shown(document, model, root, path.parent))
        except (OSError, ValueError, KeyError, TypeError) as error:
            found.append({"model": model, "missing": f"{path.name} cannot be read ({type(error).__name__})"})
    return tuple(found)


def _shown(document: Mapping[str, Any], model: str, root: Path, folder: Path) -> dict[str, Any]:
    weights = root / "models" / model / "model.pt"
    if document.get("content") and weights.is_file() and document["content"] != fingerprint_file(weights):
        return {"model": model, "missing": "the model has been trained again since; run organcam audit again"}
    order = {word: place for place, word in enumerate(WORST_FIRST)}
    labels = sorted(
        document["labels"],
        key=lambda row: next((place for word, place in order.items() if row["verdict"].startswith(word)), len(order)),
    )
    pictures = [
        {**one, "data": b64encode((folder / one["file"]).read_bytes()).decode()}
        for one in document["pictures"][:PICTURES]
        if (folder / one["file"]).is_file()
    ]
    told = {"model": model, "scans": document["scans"], "inserted": document["inserted"]}
    return {**told, "labels": labels, "pictures": pictures, "notes": document["notes"]}
