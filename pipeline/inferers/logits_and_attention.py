"""An inferer that asks the network for its attention along with its logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer

__all__ = ["LogitsAndAttentionInferer"]


class LogitsAndAttentionInferer(Inferer):
    """Call ``network(inputs, attention=True)``: logits and attention of one forward pass, for a loss or a metric.

    MONAI's ``SupervisedTrainer`` gives the loss what the inferer returns; with this inferer that is the dictionary
    which ``organcam.losses.ClassAndMaskLoss`` takes. The attention is differentiable.

    Example:
        >>> def network(x, attention=False):
        ...     return {"logits": x.sum((1, 2)), "attention": x[:, None]} if attention else x.sum((1, 2))
        >>> sorted(LogitsAndAttentionInferer()(torch.ones(1, 2, 2), network))
        ['attention', 'logits']
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Run the network once.

        Args:
            inputs: as the network takes them, ``[B, S, 3, H, W]`` for slab-wise networks; metadata are dropped, since
                an input's affine is wrong for a feature map.
            network: takes ``attention=True`` and then returns ``{"logits": [B, M], "attention": [B, M, *grid]}``.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            The network's dictionary.

        Raises:
            TypeError: if the network returns something else.
        """
        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        output = network(plain, *args, attention=True, **kwargs)
        if not isinstance(output, Mapping) or not {"logits", "attention"} <= set(output):
            found = sorted(output) if isinstance(output, Mapping) else type(output).__name__
            msg = f"with attention=True the network must return a dictionary with 'logits' and 'attention', got {found}"
            raise TypeError(msg)
        return dict(output)
