"""BatchNorm statistics where activations are computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["batch_norms", "kept_statistics"]


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """All BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Forward passes inside leave the running statistics as they are, although they normalise as in training.

    Activation checkpointing runs the forward pass a second time, which would count every batch twice. Momentum 0 (and
    not ``track_running_stats = False``) keeps the number of saved tensors that the recomputation is checked against.
    """
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    counts = [None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone() for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
