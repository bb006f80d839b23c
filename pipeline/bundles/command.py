"""What `organcam overlay` and `organcam explain SCANS` print and write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..console import err_console, out_console
from ..data.discover import find_scans
from ..runner.atomic import write_text_atomic
from .explain import Wishes, explain_scans
from .models import open_model
from .overlay import overlay_of

__all__ = ["print_explanations", "print_overlay"]


def print_overlay(bundle: Path, config: str | None, layer: str | None, out: Path | None) -> None:
    """Print a bundle's three lines, its candidate layers and the command; write the lines to a file if wanted."""
    found = overlay_of(bundle, config, layer)
    target = out or bundle / "organcam.yaml"
    if out is not None:
        write_text_atomic(out, found.text)
    lines = [
        f"# {found.config}: layers of {found.network} that give maps, the one to try first at the front",
        *(f"#   {one.name} ({one.kind}, {' x '.join(map(str, one.grid))} cells)" for one in found.layers),
        found.text.rstrip(),
        f"# {'written to' if out is not None else 'save as'} {target}, then, in {bundle}:",
        f"# python -m monai.bundle run --config_file \"['{_within(found.config, bundle)}',"
        f"'{_within(target, bundle)}']\"",
    ]
    for line in lines:
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_explanations(
    model: Path, weights: Path | None, layer: str | None, scans: Sequence[Path], out: Path, wishes: dict[str, Any]
) -> int:
    """Explain scans and tell which could not be; the exit code is 3 if there are any, 1 if there are no others."""
    found = find_scans(scans[0]) if len(scans) == 1 else find_scans(list(scans))
    failed = explain_scans(open_model(model, weights, layer), found, out, Wishes(**wishes))
    for failure in failed:
        err_console.print(f"{failure.id}: {failure.reason}", markup=False, highlight=False, soft_wrap=True)
    done = len(found) - len(failed)
    out_console.print(f"{out}: {done} of {len(found)} scans", markup=False, highlight=False, soft_wrap=True)
    return 0 if not failed else 3 if done else 1


def _within(path: Path, folder: Path) -> str:
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return path.absolute().as_posix()
