"""Which cells of the catalogue a lesion makes."""

from __future__ import annotations

from dataclasses import dataclass

from .lesions import Lesion

__all__ = ["Cell", "lesion_cells"]


@dataclass(frozen=True)
class Cell:
    """What a report says: an abnormality, a location, and ``present``, ``uncertain``, ``absent`` or ``historical``."""

    abnormality: str
    location: str
    status: str


def lesion_cells(lesion: Lesion) -> list[tuple[int, str, str]]:
    """Offset of the lesion's value, abnormality and location of all cells that a lesion makes.

    Coronary calcification is coronary artery disease, calcification and atherosclerosis of the heart, as a report calls
    it; a nodule above 1 cm is one more label.
    """
    if lesion.finding == "nodule":
        names = ["nodule", "nodulegr1cm"] if lesion.size_mm > 10 else ["nodule"]
        return [(0, name, lesion.location) for name in names]
    if lesion.finding == "groundglass":
        return [(0, "groundglass", lesion.location)]
    fixed = {
        "coronary_calcification": [
            (0, "calcification", "heart"),
            (0, "coronary_artery_disease", "heart"),
            (0, "atherosclerosis", "heart"),
        ],
        "aortic_calcification": [(0, "atherosclerosis", "aorta"), (0, "calcification", "aorta")],
        "cardiomegaly": [(0, "cardiomegaly", "heart")],
        "pericardial_effusion": [(0, "pericardial_effusion", "heart")],
        "pacemaker": [(0, "pacemaker_or_defib", "heart"), (1, "pacemaker_or_defib", "chest_wall")],
        "catheter": [(0, "catheter_or_port", "svc")],
    }
    return fixed.get(lesion.finding) or [(0, lesion.finding, lesion.location)]
