"""An inferer that asks the network for its attention along with its logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

from ..attention import attention_maps
from ..injection.calls import as_inputs
from ..plugins import METHODS

__all__ = ["LogitsAndAttentionInferer"]


class LogitsAndAttentionInferer(Inferer):
    """Logits and attention of one forward pass, for a loss or a metric.

    MONAI's ``SupervisedTrainer`` gives the loss what the inferer returns; with this inferer that is the dictionary
    which ``organcam.losses.ClassAndMaskLoss`` takes. The attention is differentiable where gradients are on.

    Networks of organcam give their attention themselves (``network(inputs, attention=True)``). For any other network
    name the ``layer`` whose maps are wanted; the pass has the network's own mode, random numbers and precision.

    Args:
        layer: name of the layer of a network that knows nothing of attention; None for one that does.
        method: attention method of that layer's maps. Defaults to HiResCAM.
        times_cells: multiply maps by the number of their cells: behind average pooling that is what each cell adds to
            its own score, for which the mask loss's weights are meant. With ``layer`` only.

    Example:
        >>> def network(x, attention=False):
        ...     return {"logits": x.sum((1, 2)), "attention": x[:, None]} if attention else x.sum((1, 2))
        >>> sorted(LogitsAndAttentionInferer()(torch.ones(1, 2, 2), network))
        ['attention', 'logits']
    """

    def __init__(self, layer: str | None = None, method: str = "hirescam", times_cells: bool = False) -> None:
        super().__init__()
        METHODS.get(method)
        self.layer = layer
        self.method = method
        self.times_cells = times_cells

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """Run the network once.

        Args:
            inputs: as the network takes them, ``[B, S, 3, H, W]`` for slab-wise networks; metadata are dropped, since
                an input's affine is wrong for a feature map.
            network: takes ``attention=True`` and then returns ``{"logits": [B, M], "attention": [B, M, *grid]}``; with
                ``layer`` any module that returns logits.
            args: passed on to the network.
            kwargs: passed on to the network.

        Returns:
            ``{"logits": [B, M], "attention": [B, M, *grid]}``, or all of the network's own dictionary.

        Raises:
            TypeError: if the network returns something else, or is no module where a layer is named.
        """
        plain = inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs
        if self.layer is not None:
            return self._of_layer(plain, network, args, kwargs)
        output = network(plain, *args, attention=True, **kwargs)
        if not isinstance(output, Mapping) or not {"logits", "attention"} <= set(output):
            found = sorted(output) if isinstance(output, Mapping) else type(output).__name__
            msg = f"with attention=True the network must return a dictionary with 'logits' and 'attention', got {found}"
            raise TypeError(msg)
        return dict(output)

    def _of_layer(
        self, inputs: torch.Tensor, network: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        if not isinstance(network, nn.Module):
            msg = f"a layer is named, so the network must be a module, got {type(network).__name__}"
            raise TypeError(msg)
        maps = attention_maps(
            network,
            as_inputs(network, (inputs, *args), kwargs),
            method=self.method,
            layer=self.layer,
            create_graph=torch.is_grad_enabled(),
        )
        cells = maps.values.shape[2:].numel() if self.times_cells else 1
        return {"logits": maps.logits, "attention": maps.values * cells}
