"""MONAI inferers for networks with attention."""

from .attention import AttentionInferer
from .logits_and_attention import LogitsAndAttentionInferer

__all__ = ["AttentionInferer", "LogitsAndAttentionInferer"]
