"""Parametric chest CT with known truth: images, organ and lesion masks, reports, confounders and interventions.

The quickest way in is :func:`write_dataset`; :func:`render_scan` gives one scan in memory. Everything but the settings
is imported when it is first used: a workflow file has settings of phantoms, and most runs render none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .settings import Confounder, PhantomSettings

if TYPE_CHECKING:
    from .dataset import write_dataset, write_scan, write_tables
    from .plan import ScanSpec, plan_dataset
    from .planned import planned_cells
    from .render import LesionRow, PhantomScan, render_scan

__all__ = [
    "Confounder",
    "LesionRow",
    "PhantomScan",
    "PhantomSettings",
    "ScanSpec",
    "plan_dataset",
    "planned_cells",
    "render_scan",
    "write_dataset",
    "write_scan",
    "write_tables",
]

_MODULES = {
    "dataset": ("write_dataset", "write_scan", "write_tables"),
    "plan": ("ScanSpec", "plan_dataset"),
    "planned": ("planned_cells",),
    "render": ("LesionRow", "PhantomScan", "render_scan"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
