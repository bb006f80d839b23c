"""Names of attention methods and of losses on attention that a workflow may use; torch is not loaded to know them.

Installed packages add to them by entry points, as to networks and backbones (`organcam.networks`) and executors.
"""

from __future__ import annotations

from typing import Any

from .registry import Registry

__all__ = ["ATTENTION_LOSSES", "MASK_LOSS_FORMS", "METHODS"]

METHODS: Registry[Any] = Registry(
    "attention method",
    group="organcam.attention_methods",
    lazy={
        name: f"organcam.attention.methods:{name}"
        for name in (
            "cam",
            "gradcam",
            "gradcam_plus_plus",
            "gradient",
            "gradient_x_input",
            "guided_backprop",
            "guided_gradcam",
            "hirescam",
            "layercam",
            "occlusion",
            "xgradcam",
        )
    },
)
"""``method(activation [..., F, *grid], gradient, spatial_dims) -> [..., *grid]``, raw and signed; those that look at
something else than a layer say so (``organcam.attention.looks_at``)."""

MASK_LOSS_FORMS = ("absolute", "softplus", "l2")
"""Forms of ``organcam.losses.MaskLoss``, which take its options; other losses on attention take none."""

ATTENTION_LOSSES: Registry[Any] = Registry(
    "loss on attention",
    group="organcam.attention_losses",
    lazy={
        **{form: f"organcam.losses.mask_loss:{form}_mask_loss" for form in MASK_LOSS_FORMS},
        "energy": "organcam.losses.guidance:EnergyLoss",
        "l1": "organcam.losses.guidance:L1Loss",
    },
)
"""Builders of modules ``loss(attention [B, M, *grid], allowed, labels [B, M]) -> scalar``."""
