"""Fine-tuning in two phases: decoder and head on a frozen backbone, then everything."""

from __future__ import annotations

from torch import nn

from ..errors import did_you_mean

__all__ = ["PHASES", "set_trainable"]

PHASES = ("head", "all")
"""Phase 1 and phase 2."""


def set_trainable(network: nn.Module, phase: str) -> list[nn.Parameter]:
    """Freeze what a phase does not train, and give the optimiser what it does.

    The PYLON paper's transfer: start from source weights (``load_network_weights``), train decoder and head to
    convergence on a frozen backbone ("head"); then start from that phase's best checkpoint with a new optimiser and
    train everything with the same settings ("all"). Freezing is ``requires_grad=False`` alone: the backbone's BatchNorm
    stays in training mode and its running statistics move to the new data, as in the authors' code.

    Args:
        network: has an attribute ``backbone``, as all of ``organcam.networks`` that have one call it.
        phase: "head" or "all".

    Returns:
        The parameters that the phase trains, in the network's order.

    Raises:
        ValueError: for another phase, or a network without a backbone or with nothing beside it.

    Example:
        >>> from organcam.networks import Pylon
        >>> network = Pylon(4, backbone="small")
        >>> len(set_trainable(network, "head")) < len(set_trainable(network, "all"))
        True
    """
    if phase not in PHASES:
        msg = f"unknown phase {phase!r} of fine-tuning: {did_you_mean(phase, PHASES)}"
        raise ValueError(msg)
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        msg = f"{type(network).__name__} has no backbone to freeze; fine-tune it in one phase"
        raise ValueError(msg)
    frozen = {id(parameter) for parameter in backbone.parameters()} if phase == "head" else set()
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        msg = f"{type(network).__name__} has nothing beside its backbone to train"
        raise ValueError(msg)
    return trained
