"""Metrics of maps during validation, as ignite metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from torch import nn

from ..attention import attention_maps
from ..metrics import OrganIoU, PairMetric
from .engine_items import engine_items, find_entry, plain

__all__ = ["OrganIoUHandler", "PairMetricHandler"]


class PairMetricHandler(IgniteMetricHandler):
    """A metric of maps over an evaluator's run; for ``key_val_metric`` or ``additional_metrics``.

    Attention, masks and labels are looked for by name in the engine's output (also in its ``pred`` and ``label``
    dictionaries) and then in its batch. With ``network`` the maps are computed here, and the evaluator's inferer stays
    as it is. In a YAML file the metric is a ``_target_`` of its own, such as ``organcam.metrics.PointingAccuracy``.

    With several processes attach it to the evaluator of every rank, as MONAI's metrics are: scores are gathered in the
    end.

    Args:
        metric: of ``organcam.metrics``.
        network: if given, maps are computed from the image; otherwise the output must hold them.
        method: ``"hirescam"`` or ``"gradcam"``, used with ``network``.
        layer: name of the layer, used with ``network``; None for the network's own choice.
        attention_key: entry with the maps ``[M, *grid]`` of a scan. Defaults to ``"attention"``.
        mask_key: entry with a mask for each map ``[M, *grid]``. Defaults to ``"mask"``.
        label_key: entry with the true labels ``[M]``. Defaults to ``"label"``; where there is none, a label counts as
            present if its mask is not empty.
        image_key: entry with the network's input, used with ``network``. Defaults to ``"image"``.
        save_details: whether the scores of every scan go to ``engine.state.metric_details``, ``[N, M]``, NaN where the
            label is absent.
    """

    metric_fn: PairMetric

    def __init__(
        self,
        metric: PairMetric,
        network: nn.Module | None = None,
        method: str = "hirescam",
        layer: str | None = None,
        attention_key: str = "attention",
        mask_key: str = "mask",
        label_key: str = "label",
        image_key: str = "image",
        save_details: bool = True,
    ) -> None:
        super().__init__(metric_fn=metric, save_details=save_details)
        self.network = network
        self.method = method
        self.layer = layer
        self.attention_key = attention_key
        self.mask_key = mask_key
        self.label_key = label_key
        self.image_key = image_key

    def iteration_completed(self, engine: Engine) -> None:
        """Score the scans of the iteration."""
        maps_key = self.attention_key if self.network is None else self.image_key
        for item in engine_items(engine.state, (maps_key, self.mask_key, self.label_key)):
            if self.network is None:
                attention = plain(find_entry(item, maps_key, "maps; give `network` or use LogitsAndAttentionInferer"))
            else:
                image = plain(find_entry(item, maps_key, "the network's input"))
                found = attention_maps(self.network, image[None], method=self.method, layer=self.layer)
                attention = found.values[0]
            masks = plain(find_entry(item, self.mask_key, self.metric_fn.meant))
            label = plain(item[self.label_key])[None] if self.label_key in item else None
            self.update((attention[None], masks[None].to(attention.device), label))

    def update(self, output: Sequence[Any]) -> None:
        """Add scans: ``(attention [B, M, *grid], masks [B, M, *grid])`` or with ``labels [B, M]`` as a third item."""
        attention, masks, labels = (*output, None)[:3]
        self._is_reduced = False
        with torch.no_grad():
            self.metric_fn(attention, masks, labels=labels)


class OrganIoUHandler(PairMetricHandler):
    """:class:`organcam.metrics.OrganIoU` over an evaluator's run, from plain values that a YAML file can hold.

    Args:
        threshold: see :class:`organcam.metrics.OrganIoU`.
        fidelity: see there.
        reduction: see there; ``"pooled"`` gives one number.
        network: see :class:`PairMetricHandler`.
        method: see there.
        layer: see there.
        attention_key: see there.
        allowed_key: entry with the allowed cells ``[M, *grid]``. Defaults to ``"allowed"``.
        label_key: see there.
        image_key: see there.
        save_details: see there.
    """

    def __init__(
        self,
        threshold: float | Sequence[float] = 0.5,
        fidelity: str = "default",
        reduction: str = "pooled",
        network: nn.Module | None = None,
        method: str = "hirescam",
        layer: str | None = None,
        attention_key: str = "attention",
        allowed_key: str = "allowed",
        label_key: str = "label",
        image_key: str = "image",
        save_details: bool = True,
    ) -> None:
        metric = OrganIoU(threshold, fidelity, reduction)  # type: ignore[arg-type]  # checked there, with a hint
        super().__init__(metric, network, method, layer, attention_key, allowed_key, label_key, image_key, save_details)
