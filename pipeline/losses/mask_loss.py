"""The mask loss: a penalty on attention where a finding's organ is not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.loss import _Loss

from ..errors import did_you_mean
from ..metrics.presence import is_present
from ..plugins import MASK_LOSS_FORMS
from .class_weights import classification_loss

__all__ = [
    "ClassAndMaskLoss",
    "MaskLoss",
    "absolute_mask_loss",
    "l2_mask_loss",
    "mask_loss",
    "softplus_mask_loss",
]

ABSENT = ("forbidden", "outside", "ignored")
REDUCTIONS = ("balanced", "mean", "sum")


def mask_loss(
    attention: Tensor,
    allowed: Tensor,
    labels: Tensor,
    *,
    form: str = "absolute",
    absent: str = "forbidden",
    reduction: str = "balanced",
    smoothing: float = 0.0,
) -> Tensor:
    """Penalise attention outside the allowed region of each label.

    Draelos and Carin, "Explainable multiple abnormality classification of chest CT volumes" (2021), equation 11.
    ``form="softplus", absent="forbidden", reduction="mean"`` equals their published code (with weight 1/3 beside the
    class loss); the paper's equation is its sum. The default is another one: softplus rewards negative attention in
    forbidden places, which a network uses to lower a score from there, and the mean over all cells leaves the few
    present labels almost no gradient. The absolute value forbids both signs, and "balanced" gives present labels half
    the weight.

    The loss is computed in float32 (float64 stays). Where no cell is forbidden it is 0 with gradient 0; the published
    code gives NaN there.

    Args:
        attention: raw signed maps ``[B, M, *grid]``.
        allowed: bool or 0 and 1, same shape; 1 where evidence for the label may lie.
        labels: ``[B, M]``, present above 0.5.
        form: "absolute" ``|a|``; "softplus" ``log(1 + exp(a))``; "l2" the 2-norm over a scan's forbidden cells.
        absent: "forbidden" takes every cell of an absent label as forbidden, whatever ``allowed`` says, as published;
            "outside" goes by ``allowed`` for absent labels too, which then holds the organs where they could lie:
            evidence against a label is welcome there, and a shortcut elsewhere is closed all the same; "ignored" leaves
            absent labels out.
        reduction: "mean" over all forbidden cells of the batch; "sum" over those of a scan, mean over scans; "balanced"
            half the mean over forbidden cells of present labels plus half the mean over absent ones (a half without
            cells is 0; with ``absent="ignored"`` the mean over present ones in full). The 2-norm is taken per scan, and
            for "balanced" of present and absent labels apart; mean over scans.
        smoothing: for "absolute" ``sqrt(a^2 + s^2) - s`` instead of ``|a|``; s is in units of the logit. The slope of
            ``|a|`` does not fade towards 0: it holds the weights of labels that have not been learned yet at 0,
            where they stay. Attention above ``s`` is penalised as before.

    Returns:
        A scalar.

    Raises:
        ValueError: if an option is not legal, the shapes do not fit, or a label is NaN.

    Example:
        >>> attention = torch.tensor([[[3.0, -1.0], [0.5, 0.0]]])  # one scan, two labels, two cells
        >>> allowed = torch.tensor([[[1, 0], [1, 1]]])
        >>> mask_loss(attention, allowed, torch.tensor([[1, 0]])).item()  # (|-1| + (0.5 + 0) / 2) / 2
        0.625
    """
    _validate_options(form, absent, reduction, smoothing)
    _validate_shapes(attention, allowed, labels)
    with torch.autocast(attention.device.type, enabled=False):
        a = attention if attention.dtype == torch.float64 else attention.float()
        groups = _forbidden_groups(allowed, labels, absent, balanced=reduction == "balanced")
        parts = [_penalty(a, forbidden, form, reduction, smoothing) for forbidden in groups]
        return torch.stack(parts).mean()


class MaskLoss(_Loss):
    """``mask_loss`` as a module; see there for options and source.

    Args:
        form: "absolute", "softplus" or "l2".
        absent: "forbidden", "outside" or "ignored".
        reduction: "balanced", "mean" or "sum".
        smoothing: 0 or more; "absolute" only.

    Raises:
        ValueError: if an option is not legal.
    """

    def __init__(
        self, form: str = "absolute", absent: str = "forbidden", reduction: str = "balanced", smoothing: float = 0.0
    ) -> None:
        _validate_options(form, absent, reduction, smoothing)
        super().__init__()
        self.form = form
        self.absent = absent
        self.reduction = reduction
        self.smoothing = smoothing

    def forward(self, attention: Tensor, allowed: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of ``[B, M, *grid]`` attention and allowed cells and ``[B, M]`` labels."""
        options = {"form": self.form, "absent": self.absent, "reduction": self.reduction}
        return mask_loss(attention, allowed, labels, **options, smoothing=self.smoothing)


absolute_mask_loss = partial(MaskLoss, "absolute")
softplus_mask_loss = partial(MaskLoss, "softplus")
l2_mask_loss = partial(MaskLoss, "l2")


class ClassAndMaskLoss(_Loss):
    """Classification loss plus weighted mask loss, in MONAI's form: one prediction and one target, both dictionaries.

    The class loss is binary cross-entropy on logits, mean over scans and labels, in float32.

    Args:
        mask_loss: called with attention, allowed cells and labels, as ``MaskLoss``; None for the class loss alone,
            which then asks for neither attention nor allowed cells.
        weight: factor of the mask loss (lambda); a plain attribute, so that a trainer may ramp it up. 1/3 as published.
        positive_weights: ``[M]``, how much a present label counts in the class loss (``positive_weights``); None for
            once.

    Raises:
        ValueError: if the weight is negative.

    Example:
        >>> loss = ClassAndMaskLoss(MaskLoss(form="softplus", reduction="mean"))
        >>> zeros = {"logits": torch.zeros(1, 2), "attention": torch.zeros(1, 2, 1, 3, 3)}
        >>> target = {"label": torch.tensor([[1.0, 0.0]]), "allowed": torch.zeros(1, 2, 1, 3, 3)}
        >>> round(loss(zeros, target).item(), 4)  # 4/3 ln 2
        0.9242
    """

    positive_weights: Tensor | None

    def __init__(
        self, mask_loss: nn.Module | None = None, weight: float = 1 / 3, positive_weights: Tensor | None = None
    ) -> None:
        if weight < 0:
            msg = f"the mask loss's weight must be 0 or more, got {weight}"
            raise ValueError(msg)
        super().__init__()
        self.mask_loss = mask_loss
        self.weight = weight
        self.register_buffer("positive_weights", positive_weights, persistent=False)

    @property
    def needs_attention(self) -> bool:
        """Whether the prediction must hold attention: only for a mask loss."""
        return self.mask_loss is not None

    def parts(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The unweighted parts: "class", and "mask" where there is a mask loss.

        Args:
            prediction: "logits" ``[B, M]`` and "attention" ``[B, M, *grid]``.
            target: "label" ``[B, M]`` and "allowed" ``[B, M, *grid]``.
        """
        parts = {"class": classification_loss(prediction["logits"], target["label"], self.positive_weights)}
        if self.mask_loss is not None:
            parts["mask"] = self.mask_loss(prediction["attention"], target["allowed"], target["label"])
        return parts

    def forward(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """Scalar total loss; arguments as for ``parts``."""
        parts = self.parts(prediction, target)
        return parts["class"] + self.weight * parts["mask"] if "mask" in parts else parts["class"]


def _forbidden_groups(allowed: Tensor, labels: Tensor, absent: str, balanced: bool) -> list[Tensor]:
    """Forbidden cells as bool masks; present and absent labels apart where they are balanced."""
    present = is_present(labels).reshape(*labels.shape, *(1,) * (allowed.ndim - 2))
    of_present = present & ~allowed.bool()
    if absent == "ignored":
        return [of_present]
    of_absent = (~present).expand_as(of_present)
    if absent == "outside":
        of_absent = of_absent & ~allowed.bool()
    return [of_present, of_absent] if balanced else [of_present | of_absent]


def _penalty(a: Tensor, forbidden: Tensor, form: str, reduction: str, smoothing: float) -> Tensor:
    # Values of allowed cells are replaced before the penalty, so that an infinite one there cannot spoil the gradient.
    a = a.masked_fill(~forbidden, 0.0)
    if form == "l2":
        return torch.linalg.vector_norm(a.flatten(1), dim=1).mean()
    if form == "softplus":
        cells = functional.softplus(a).masked_fill(~forbidden, 0.0)
    else:
        cells = torch.hypot(a, a.new_tensor(smoothing)) - smoothing if smoothing else a.abs()
    count = len(a) if reduction == "sum" else forbidden.sum().clamp_min(1)
    return cells.sum() / count


def _validate_options(form: str, absent: str, reduction: str, smoothing: float) -> None:
    for name, value, legal in (
        ("form", form, MASK_LOSS_FORMS),
        ("absent", absent, ABSENT),
        ("reduction", reduction, REDUCTIONS),
    ):
        if value not in legal:
            msg = f"unknown {name} {value!r} of the mask loss: {did_you_mean(str(value), legal)}"
            raise ValueError(msg)
    if smoothing < 0 or (smoothing and form != "absolute"):
        msg = f"smoothing must be 0 or more, and 0 with any form but 'absolute', got {smoothing} with {form!r}"
        raise ValueError(msg)


def _validate_shapes(attention: Tensor, allowed: Tensor, labels: Tensor) -> None:
    if attention.ndim < 3 or attention.shape != allowed.shape or labels.shape != attention.shape[:2]:
        msg = (
            "the mask loss needs attention and allowed [B, M, *grid] and labels [B, M], got "
            f"{list(attention.shape)}, {list(allowed.shape)} and {list(labels.shape)}"
        )
        raise ValueError(msg)
