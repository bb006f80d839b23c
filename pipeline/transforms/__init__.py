"""Transforms in MONAI's habit: an array class and a dictionary twin for each."""

from .augmentation import (
    FlipRotate,
    FlipRotateD,
    FlipRotated,
    FlipRotateDict,
    RandFlipRotate,
    RandFlipRotateD,
    RandFlipRotated,
    RandFlipRotateDict,
)
from .intensity import HUWindow, HUWindowD, HUWindowd, HUWindowDict
from .loading import (
    LoadOccupancy,
    LoadOccupancyD,
    LoadOccupancyd,
    LoadOccupancyDict,
    LoadStored,
    LoadStoredD,
    LoadStoredd,
    LoadStoredDict,
)
from .regions import AllowedRegions, AllowedRegionsD, AllowedRegionsd, AllowedRegionsDict
from .spatial import (
    PadOrCropAir,
    PadOrCropAirD,
    PadOrCropAird,
    PadOrCropAirDict,
    SlabStack,
    SlabStackD,
    SlabStackd,
    SlabStackDict,
)

__all__ = [
    "AllowedRegions",
    "AllowedRegionsD",
    "AllowedRegionsDict",
    "AllowedRegionsd",
    "FlipRotate",
    "FlipRotateD",
    "FlipRotateDict",
    "FlipRotated",
    "HUWindow",
    "HUWindowD",
    "HUWindowDict",
    "HUWindowd",
    "LoadOccupancy",
    "LoadOccupancyD",
    "LoadOccupancyDict",
    "LoadOccupancyd",
    "LoadStored",
    "LoadStoredD",
    "LoadStoredDict",
    "LoadStoredd",
    "PadOrCropAir",
    "PadOrCropAirD",
    "PadOrCropAirDict",
    "PadOrCropAird",
    "RandFlipRotate",
    "RandFlipRotateD",
    "RandFlipRotateDict",
    "RandFlipRotated",
    "SlabStack",
    "SlabStackD",
    "SlabStackDict",
    "SlabStackd",
]
