"""What `organcam overlay` prints and writes."""

from __future__ import annotations

from pathlib import Path

from ..console import out_console
from ..runner.atomic import write_text_atomic
from .overlay import overlay_of

__all__ = ["print_overlay"]


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


def _within(path: Path, folder: Path) -> str:
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return path.absolute().as_posix()
