"""MONAI inferers for networks with attention."""

from .logits_and_attention import LogitsAndAttentionInferer

__all__ = ["LogitsAndAttentionInferer"]
