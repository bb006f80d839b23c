"""The names a split may have."""

__all__ = ["SPLITS"]

SPLITS = ("train", "valid", "test", "shifted", "intervention", "all")
"""Legal values of a split column. ``all`` takes part everywhere (a data set too small to be split)."""
