"""An inferer that gives attention maps in place of predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from ..attention import METHODS, attention_maps
from ..injection.calls import as_inputs
from ..injection.labels import scores_by_label

__all__ = ["AttentionInferer"]

MONAI_NAMES = {"gradcampp": "gradcam_plus_plus", "gradcam++": "gradcam_plus_plus"}


class AttentionInferer(Inferer):
    """``monai.inferers.SaliencyInferer`` with the same words, but raw maps, every method and nothing left behind.

    MONAI's adds a hook at each call that is never removed, leaves gradients on all parameters, fails under ``no_grad``
    and for frozen networks, mixes up the items of a batch where no class is named, and inverts colours by its default
    normaliser. Here the maps of a batch are those of its items, raw and signed, between the true centres of the
    layer's cells.

    Example, as the ``inferer`` of a bundle::

        _target_: organcam.inferers.AttentionInferer
        cam_name: GradCAM
        target_layers: class_layers.relu

    Args:
        cam_name: "CAM", "GradCAM", "GradCAMpp", or any method of ``organcam.attention`` (capitals do not matter).
            Defaults to HiResCAM.
        target_layers: name of the layer; None for the network's own, and for methods that look at the input.
        class_idx: the output to explain; several give a channel each; None for each item's highest one.
        postprocessing: what is done to the maps ``[B, M, *voxels]``, such as ``organcam.attention.scale_to_one``; None
            leaves them raw.

    Raises:
        ValueError: for an unknown method, with the nearest name.
    """

    def __init__(
        self,
        cam_name: str = "HiResCAM",
        target_layers: str | None = None,
        class_idx: int | Sequence[int] | None = None,
        postprocessing: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        name = cam_name.lower()
        self.method = MONAI_NAMES.get(name, name)
        METHODS.get(self.method)
        self.target_layers = target_layers
        self.class_idx = class_idx
        self.postprocessing = postprocessing

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Explain a batch.

        Args:
            inputs: ``[B, C, *voxels]``, or slabs ``[B, S, 3, H, W]``.
            network: a module; a function has no layers to look at.
            args: further inputs of the network.
            kwargs: further inputs by name.

        Returns:
            Maps ``[B, 1, *voxels]`` (a channel for each class of ``class_idx``) on the voxels of the input, float32;
            MetaTensor with the input's metadata if the input is one.

        Raises:
            TypeError: if ``network`` is no module.
            ValueError: as ``organcam.attention.attention_maps``.
        """
        if not isinstance(network, nn.Module):
            msg = f"attention needs the network as a module, whose layers have names; got {type(network).__name__}"
            raise TypeError(msg)
        wanted: Any = self.class_idx
        if wanted is None:
            wanted = partial(scores_by_label, label="best", items=len(inputs))
        given = as_inputs(network, (inputs, *args), kwargs)
        found = attention_maps(network, given, method=self.method, targets=wanted, layer=self.target_layers)
        with torch.autocast(inputs.device.type, enabled=False):
            maps = found.on_image()
            maps = maps if self.postprocessing is None else self.postprocessing(maps)
        return convert_to_dst_type(maps, inputs, dtype=maps.dtype)[0] if hasattr(inputs, "meta") else maps
