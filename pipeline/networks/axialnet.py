"""AxialNet: a two-dimensional network over slabs of three axial slices, one linear layer per slab, mean over slabs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from ..attention.linear_head import LinearHead, contributions
from ..contract import CallOrder, Layout
from ..errors import did_you_mean
from ..geometry import FeatureGrid, Layer, grid_of_layers, output_size
from ..registry import Registry
from .backbones import BACKBONES, load_backbone_weights
from .decoders import PylonDecoder
from .normalisation import batch_norms, kept_statistics

__all__ = ["NETWORKS", "AxialNet"]

NETWORKS: Registry[nn.Module] = Registry("network", group="organcam.networks")

HEADS = ("registered", "reference", "pylon", "none")
POOLINGS = ("mean", "max", "linear")
SLAB_AXIS = (Layer(3, stride=3),)  # three slices are the three channels of one slab
PUBLISHED_CHANNELS = (64, 32, 16, 16)
PYLON_CHANNELS = 128


@NETWORKS.register("axialnet")
class AxialNet(nn.Module):
    """AxialNet of Draelos and Carin, "Explainable multiple abnormality classification of chest CT volumes" (2021).

    Backbone on every slab -> head (3 x 3 convolutions with ReLU) -> Z ``[B * S, F, h, w]`` -> one linear layer over all
    of Z -> slab scores -> pooled over slabs -> logits. The score is linear in Z, so that HiResCAM has a closed form.

    Differences from the published code (github.com/rachellea/explainable-ct-ai): any batch size (it needs 1) and input
    size; ``head="registered"`` keeps the convolutions' padding, so that the cells span the whole image instead of its
    middle 192 voxels; the attention for the mask loss comes from one product instead of a [M, S, F, h, w] intermediate.
    ``head="reference", backbone="resnet18", input_shape=(405, 420, 420)`` is the published network number for number.

    Args:
        num_labels: M.
        head: "registered" (padded), "reference" (four unpadded 3 x 3 convolutions, 14 x 14 -> 6 x 6), "pylon"
            (``PylonDecoder`` brings the features to stride 4; the linear layer is the same at all places, and a slab's
            score is the mean or maximum over them) or "none" (linear layer straight on the backbone, the paper's
            NoCustomConv).
        backbone: name in ``organcam.networks.BACKBONES`` ("resnet18", "small", "densenet121", ...).
        input_shape: (D, H, W) in voxels. The linear layer's weights belong to cells, so H and W are fixed; any other
            number of slabs is taken too.
        head_channels: outputs of the head's convolutions; None for the published 64, 32, 16, 16. One number for
            head "pylon", 128 where None is given.
        head_kernel: 3, or 1 to keep the receptive field that of the backbone (head "registered" only).
        pooling: "mean" or "max" over slabs (head "pylon": over all cells of all slabs), or "linear": a weight for every
            slab too, one linear layer over all of Z, as in the published Final3DConv. The number of slabs is then
            fixed, and a finding is learned at each level of the body for itself.
        shared_start: start the linear layer small and alike at all places, as if it followed global average pooling;
            False for PyTorch's own initialisation, as published.
        initial_bias: first value of the linear layer's biases, for instance the logit of the labels' mean frequency;
            None for PyTorch's own initialisation.
        weights: local file with the backbone's weights, see ``load_backbone_weights``.
        chunk: slabs that go through backbone and head at a time in evaluation (and in training with ``checkpoint``);
            exact in evaluation. None for all at once.
        checkpoint: in training, recompute each chunk's activations in the backward pass instead of storing them. Batch
            statistics are then those of a chunk, not of all slabs; with ``frozen_norm`` the gradient is unchanged.
        frozen_norm: BatchNorm layers use their running statistics in training too.
        channels_last: keep weights and activations in channels-last order (faster on most processors, same results).

    Raises:
        ValueError: if an argument is not legal, or the input leaves nothing of the feature map.
        ConfigError: for an unknown backbone or an unfit weights file.

    Example:
        >>> network = AxialNet(num_labels=4, backbone="small", input_shape=(15, 32, 48))
        >>> out = network(torch.zeros(2, 5, 3, 32, 48), attention=True)
        >>> out["logits"].shape, out["attention"].shape
        (torch.Size([2, 4]), torch.Size([2, 4, 5, 4, 6]))
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        head: str = "registered",
        backbone: str = "resnet18",
        input_shape: Sequence[int] = (405, 420, 420),
        head_channels: Sequence[int] | None = None,
        head_kernel: int = 3,
        pooling: str = "mean",
        shared_start: bool = False,
        initial_bias: float | None = None,
        weights: str | Path | None = None,
        chunk: int | None = None,
        checkpoint: bool = False,
        frozen_norm: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        _validate_head(head, head_channels, head_kernel)
        _validate_running(pooling, head, chunk, checkpoint)
        self.num_labels = num_labels
        self.input_shape = _parse_shape(input_shape)
        self.pooling = pooling
        self.chunk = chunk
        self.checkpoint = checkpoint
        self.frozen_norm = frozen_norm
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

        self.backbone = BACKBONES.build(backbone)
        if weights is not None:
            load_backbone_weights(self.backbone, weights)
        self.reads_levels = head == "pylon"
        if self.reads_levels:
            decoder = PylonDecoder(self.backbone.taps, channels=(head_channels or (PYLON_CHANNELS,))[0])
            self.layers, features, window = decoder.layers, decoder.channels, (1, 1)
            self.head: nn.Module = decoder
        else:
            plan = () if head == "none" else tuple(head_channels or PUBLISHED_CHANNELS)
            layer = Layer(head_kernel, padding=head_kernel // 2 if head == "registered" else 0)
            self.layers = (*self.backbone.layers, *len(plan) * (layer,))
            self.head = _build_head(self.backbone.channels, plan, layer)
            features = plan[-1] if plan else self.backbone.channels
            window = (output_size(self.input_shape[1], self.layers), output_size(self.input_shape[2], self.layers))
        self.fc: nn.Conv2d | nn.Conv3d = (
            nn.Conv3d(features, num_labels, (self.input_shape[0] // 3, *window))
            if pooling == "linear"
            else nn.Conv2d(features, num_labels, window)
        )
        _start_linear_layer(self.fc, shared_start, initial_bias)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.train()

    input_layout: Layout = "slabs"
    attention_layer = "head"
    """The module whose output is Z."""
    call_order: CallOrder = "items"

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of Z, and hence of every attention map, lie.

        Args:
            input_shape: voxels (D, H, W) with D = 3 S.

        Raises:
            ValueError: if D is not a multiple of 3 or (H, W) is not the network's input size.
        """
        D, H, W = input_shape
        fixed = self.pooling == "linear"
        if D < 1 or D % 3 or self.input_shape[1:] != (H, W) or (fixed and self.input_shape[0] != D):
            depth, height, width = self.input_shape
            legal = depth if fixed else "3 S"
            msg = f"expected input of ({legal}, {height}, {width}) voxels, got {tuple(input_shape)}"
            raise ValueError(msg)
        grid = grid_of_layers((D, H, W), (SLAB_AXIS, self.layers, self.layers))
        # Through the pyramid a cell may see all of its slab.
        return replace(grid, receptive_field=(3, H, W)) if self.reads_levels else grid

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, S, 3, H, W]``, S slabs of three slices from superior to inferior.
            attention: whether to return the maps too.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, S, h, w]``, raw,
            signed and differentiable. A slab's cells sum to its score less the bias (no division by S); with head
            "pylon" their mean or maximum does, with pooling "linear" all cells sum to the logit less the bias.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        z = self._features(x)
        # In the linear layer's own precision also under autocast: a map must sum to its score, and it costs nothing.
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.fc.weight.dtype)
            grid = _slabs_to_grid(z, x.shape[:2])
            if self.pooling == "linear":
                logits = self.fc(grid).flatten(1)
            else:
                logits = self._pool(self._pool(self.fc(z).flatten(2), -1).reshape(*x.shape[:2], self.num_labels), 1)
            return {"logits": logits, "attention": contributions(grid, self._weight())} if attention else logits

    def linear_head(self, x: Tensor) -> LinearHead:
        """Features ``[B, F, S, h, w]`` and the linear layer on them, for attention in closed form.

        Raises:
            ValueError: as ``forward``.
        """
        z = self._features(x).to(self.fc.weight.dtype)
        assert self.fc.bias is not None
        pooling = "mean" if self.pooling == "linear" else self.pooling  # of one score
        return LinearHead(_slabs_to_grid(z, x.shape[:2]), self._weight(), self.fc.bias, pooling)

    def slab_scores(self, x: Tensor) -> Tensor:
        """``[B, M, S]``: what each slab says before pooling; with pooling "linear" what it adds to the logit."""
        if self.pooling == "linear":
            head = self.linear_head(x)
            return contributions(head.features, head.weight).flatten(3).sum(-1)
        return self._pool(self.linear_head(x).scores().unflatten(-1, (x.shape[1], -1)), -1)

    def train(self, mode: bool = True) -> AxialNet:
        """As in PyTorch, but BatchNorm stays in evaluation mode where ``frozen_norm`` is set."""
        super().train(mode)
        if self.frozen_norm:
            for norm in batch_norms(self):
                norm.eval()
        return self

    def _features(self, x: Tensor) -> Tensor:
        self._validate_input(x)
        slabs = x.as_subclass(Tensor).flatten(0, 1)
        whole = self.chunk is None or (self.training and not self.checkpoint)
        parts = (slabs,) if whole else slabs.split(self.chunk)
        if self.training and self.checkpoint:
            done = [recompute(self._chunk, part, use_reentrant=False, context_fn=self._contexts) for part in parts]
        else:
            done = [self._chunk(part) for part in parts]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _chunk(self, slabs: Tensor) -> Tensor:
        slabs = slabs.contiguous(memory_format=self.memory_format)
        return self.head(self.backbone.pyramid(slabs) if self.reads_levels else self.backbone(slabs))

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), kept_statistics(self)

    def _weight(self) -> Tensor:
        """Of the linear layer: ``[M, F, h, w]``, or ``[M, F]`` where it is the same at all places."""
        return self.fc.weight.flatten(1) if self.reads_levels else self.fc.weight

    def _pool(self, scores: Tensor, axis: int) -> Tensor:
        return scores.mean(axis) if self.pooling == "mean" else scores.amax(axis)

    def _validate_input(self, x: Tensor) -> None:
        _, H, W = self.input_shape
        slabs = self.input_shape[0] // 3
        fixed = self.pooling == "linear"
        if x.ndim != 5 or x.shape[2:] != (3, H, W) or 0 in x.shape or (fixed and x.shape[1] != slabs):
            legal = slabs if fixed else "S"
            msg = f"expected input [B, {legal}, 3, {H}, {W}] (slabs of three slices), got {list(x.shape)}"
            raise ValueError(msg)


def _slabs_to_grid(z: Tensor, batch_and_slabs: Sequence[int]) -> Tensor:
    """``[B * S, F, h, w] -> [B, F, S, h, w]``."""
    return z.unflatten(0, tuple(batch_and_slabs)).transpose(1, 2)


def _build_head(channels: int, plan: Sequence[int], layer: Layer) -> nn.Sequential:
    head = nn.Sequential()
    for number, (before, after) in enumerate(zip((channels, *plan), plan, strict=False), start=1):
        head.add_module(f"conv{number}", nn.Conv2d(before, after, layer.kernel, padding=layer.padding))
        head.add_module(f"relu{number}", nn.ReLU())
    return head


def _start_linear_layer(fc: nn.Conv2d | nn.Conv3d, shared_start: bool, initial_bias: float | None) -> None:
    assert fc.bias is not None
    with torch.no_grad():
        if shared_start:
            bound = fc.in_channels**-0.5 / math.prod(fc.kernel_size)
            alike = (1,) * len(fc.kernel_size)
            fc.weight.copy_(
                torch.empty(fc.out_channels, fc.in_channels, *alike).uniform_(-bound, bound).expand_as(fc.weight)
            )
        if initial_bias is not None:
            fc.bias.fill_(initial_bias)


def _parse_shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1 or input_shape[0] % 3:
        msg = f"input_shape must be (D, H, W) in voxels with D a multiple of 3, got {tuple(input_shape)}"
        raise ValueError(msg)
    D, H, W = (int(size) for size in input_shape)
    return D, H, W


def _validate_head(head: str, head_channels: Sequence[int] | None, head_kernel: int) -> None:
    if head not in HEADS:
        msg = f"unknown head {head!r}: {did_you_mean(head, HEADS)}"
        raise ValueError(msg)
    if head_kernel not in {1, 3} or (head_kernel == 1 and head != "registered"):
        msg = f"head_kernel must be 3, or 1 with head='registered', got {head_kernel} with head={head!r}"
        raise ValueError(msg)
    if head_channels is not None and (head == "none" or not head_channels or min(head_channels) < 1):
        msg = f"head_channels must be positive and needs a head, got {tuple(head_channels)} with head={head!r}"
        raise ValueError(msg)
    if head == "pylon" and head_channels is not None and len(head_channels) != 1:
        msg = f"head_channels must be one number with head='pylon', got {tuple(head_channels)}"
        raise ValueError(msg)


def _validate_running(pooling: str, head: str, chunk: int | None, checkpoint: bool) -> None:
    if pooling not in POOLINGS:
        msg = f"unknown pooling {pooling!r}: {did_you_mean(pooling, POOLINGS)}"
        raise ValueError(msg)
    if pooling == "linear" and head == "pylon":
        msg = "pooling='linear' needs a weight for every cell, which head='pylon' has not: use mean or max"
        raise ValueError(msg)
    if chunk is not None and chunk < 1:
        msg = f"chunk must be at least 1 slab, or None for all at once, got {chunk}"
        raise ValueError(msg)
    if checkpoint and chunk is None:
        msg = "checkpoint=True recomputes chunk by chunk and needs chunk (slabs at a time, for instance 9)"
        raise ValueError(msg)
