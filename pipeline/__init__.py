"""organcam: explainable multi-abnormality classification of chest CT whose attention stays inside the organ.

Sub-packages are imported by name (``organcam.nlp``, ``organcam.segmentation``, ``organcam.attention`` ...); importing
``organcam`` itself loads neither torch nor MONAI.
"""

from .version import __version__

__all__ = ["__version__"]
