"""MONAI inferers for networks with attention."""

from .attention import AttentionInferer

__all__ = ["AttentionInferer"]
