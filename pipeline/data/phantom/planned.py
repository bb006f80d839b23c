"""What the scans of a data set will hold, told from the plan without rendering a voxel."""

from __future__ import annotations

from .cells import lesion_cells
from .lesions import draw_lesions
from .plan import ScanSpec, generator, person
from .settings import PhantomSettings

__all__ = ["planned_cells"]


def planned_cells(settings: PhantomSettings, spec: ScanSpec) -> list[tuple[str, str]]:
    """Abnormality and location of every lesion of a scan.

    The report of the rendered scan is silent about a lesion that came out smaller than a voxel; here it counts.
    """
    habitus = person(settings, spec.base)
    return [
        (abnormality, location)
        for finding in spec.findings
        for lesion in draw_lesions(finding, generator(settings, spec.base, finding), habitus, settings)
        for _, abnormality, location in lesion_cells(lesion)
    ]
