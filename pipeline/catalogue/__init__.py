"""Label tables of the papers as data, and the region labels computed from them."""

from .tables import (
    OTHER_DISEASE,
    OTHER_LOCATION,
    REGION_LOCATIONS,
    Abnormality,
    Location,
    RegionLabel,
    abnormalities,
    locations,
    region_labels,
)

__all__ = [
    "OTHER_DISEASE",
    "OTHER_LOCATION",
    "REGION_LOCATIONS",
    "Abnormality",
    "Location",
    "RegionLabel",
    "abnormalities",
    "locations",
    "region_labels",
]
