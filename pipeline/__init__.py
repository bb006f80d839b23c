"""organcam: explainable multi-abnormality classification of chest CT whose attention stays inside the organ.

Sub-packages are imported by name (``organcam.nlp``, ``organcam.segmentation``, ``organcam.attention`` ...); importing
``organcam`` itself loads neither torch nor MONAI. ``organcam.inject`` and ``organcam.get_layers`` load them when they
are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .injection import get_layers, inject

__all__ = ["__version__", "get_layers", "inject"]


def __getattr__(name: str) -> Any:
    if name in ("get_layers", "inject"):
        return getattr(import_module(".injection", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
