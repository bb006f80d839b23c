"""Parametric chest CT with known truth: images, organ and lesion masks, reports, confounders and interventions.

The quickest way in is :func:`write_dataset`; :func:`render_scan` gives one scan in memory.
"""

from .dataset import write_dataset, write_scan, write_tables
from .plan import ScanSpec, plan_dataset
from .planned import planned_cells
from .render import LesionRow, PhantomScan, render_scan
from .settings import Confounder, PhantomSettings

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
