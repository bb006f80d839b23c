"""Networks whose logits are a heatmap's pooled values: backbone, decoder, one convolution, pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.linear_head import LinearHead
from ..contract import CallOrder, Layout
from ..errors import did_you_mean
from ..geometry import FeatureGrid, output_size
from .backbones import Backbone, build_backbone
from .decoders import AxisCells, Decoder
from .decoders.blocks import convolution, start_head

__all__ = ["HeatmapNetwork", "PooledHeatmapNetwork", "full_precision"]

POOLINGS = ("max", "mean")


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Outside autocast, also for tensors on the meta device, for which autocast is not defined."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


class HeatmapNetwork(nn.Module):
    """Backbone -> decoder -> features Z -> convolution -> heatmap of logits -> pooling -> logits; one to derive from.

    With ``spatial_dims=2`` the network sees slabs ``[B, S, C, H, W]`` one by one and pools over all slabs' heatmaps
    together; single images ``[B, C, H, W]`` (radiographs) are taken too. With ``spatial_dims=3`` it sees volumes
    ``[B, C, D, H, W]``. Any size works that leaves the backbone a cell.

    Args:
        num_labels: M.
        make_decoder: of the backbone, what makes Z of its levels.
        spatial_dims: 2 or 3.
        in_channels: C; None for 3 slices per slab in two dimensions and 1 in three.
        backbone: name of what gives the levels, in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        input_shape: voxels (D, H, W) that the network is meant for, to find early that they do not fit; None for any.
        head_kernel: of the last convolution, 1 or 3.
        initial_bias: first value of its biases, for instance the logit of the labels' mean frequency; None for 0.
        chunk: slabs or images that go through backbone and decoder at a time in evaluation; None for all at once.

    Raises:
        ValueError: if an argument is not legal, or ``input_shape`` does not fit.
        ConfigError: for an unknown backbone or an unfit weights file.
    """

    attention_layer: str = "decoder"
    """The module whose output is Z; what the head makes of it where that looks at neighbours too."""
    call_order: CallOrder = "items"

    def __init__(
        self,
        num_labels: int,
        make_decoder: Callable[[Backbone], Decoder],
        *,
        spatial_dims: int,
        in_channels: int | None,
        backbone: str,
        weights: str | Path | None,
        input_shape: Sequence[int] | None = None,
        head_kernel: int = 1,
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        if num_labels < 1 or head_kernel not in {1, 3}:
            msg = f"num_labels must be 1 or more and head_kernel 1 or 3, got {num_labels} and {head_kernel}"
            raise ValueError(msg)
        if chunk is not None and chunk < 1:
            msg = f"chunk must be at least 1 slab, or None for all at once, got {chunk}"
            raise ValueError(msg)
        super().__init__()
        self.num_labels = num_labels
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels if in_channels is not None else 3 if spatial_dims == 2 else 1
        self.chunk = chunk
        self.backbone = build_backbone(backbone, spatial_dims, self.in_channels, weights)
        self.decoder = make_decoder(self.backbone)
        self.head = convolution(spatial_dims)(self.decoder.channels, num_labels, head_kernel, padding=head_kernel // 2)
        self.evidence = nn.Identity()  # gives the head's outputs less the bias, where it looks at neighbours too
        if head_kernel != 1:
            self.attention_layer = "evidence"
        start_head(self.head)
        if initial_bias is not None:
            nn.init.constant_(self._bias, initial_bias)
        self.input_shape = tuple(input_shape or ())
        if input_shape is not None:
            self.feature_grid(input_shape)

    @property
    def input_layout(self) -> Layout:
        """``"slabs"`` ``[B, S, C, H, W]`` or ``"volume"`` ``[B, C, D, H, W]``."""
        return "slabs" if self.spatial_dims == 2 else "volume"

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the heatmap lie.

        Args:
            input_shape: voxels (D, H, W), with D = C * S for slabs.

        Raises:
            ValueError: if D is not a multiple of C (slabs), or an axis is too short.
        """
        D, H, W = input_shape
        if self.spatial_dims == 3:
            axes = [self._cells(size) for size in (D, H, W)]
            shape, stride, offset, field = (tuple(values) for values in zip(*axes, strict=True))
            return FeatureGrid(shape, stride, offset, field, (D, H, W))
        C = self.in_channels
        if D < 1 or D % C:
            msg = f"expected input of ({C} S, H, W) voxels for slabs of {C} slices, got {tuple(input_shape)}"
            raise ValueError(msg)
        rows, columns = self._cells(H), self._cells(W)
        return FeatureGrid(
            shape=(D // C, rows.cells, columns.cells),
            stride=(C, rows.stride, columns.stride),
            offset=((C - 1) / 2, rows.offset, columns.offset),
            receptive_field=(C, rows.receptive_field, columns.receptive_field),
            input_shape=(D, H, W),
        )

    def heatmap(self, x: Tensor) -> Tensor:
        """``[B, M, *grid]``: logits of every cell, before pooling; grid is (S, h, w), (h, w) for images."""
        with full_precision(x):
            z = self._features(x).to(self.head.weight.dtype)
            return self._from_parts(
                self.head(z) if self._is_pointwise else self._head_evidence(z) + self._bias_of_maps, x
            )

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, S, C, H, W]``, ``[B, C, H, W]`` or, with ``spatial_dims=3``, ``[B, C, D, H, W]``.
            attention: whether to return the maps too.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``: the
            heatmap without the head's bias, raw, signed and differentiable, what each cell adds to its own logit.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        heatmap = self.heatmap(x)
        logits = self.pool(heatmap)
        if not attention:
            return logits
        return {"logits": logits, "attention": heatmap - self._bias.view(-1, *(heatmap.ndim - 2) * (1,))}

    @property
    def _is_pointwise(self) -> bool:
        return self.head.kernel_size[0] == 1

    @property
    def _bias_of_maps(self) -> Tensor:
        return self._bias.view(-1, *self.spatial_dims * (1,))

    def _head_evidence(self, z: Tensor) -> Tensor:
        """What each cell of a head with neighbours adds, ``[rows, M, *cells]``."""
        convolve = nn.functional.conv2d if self.spatial_dims == 2 else nn.functional.conv3d
        evidence: Tensor = self.evidence(convolve(z, self.head.weight, padding=self.head.padding))
        return evidence

    def linear_head(self, x: Tensor) -> LinearHead | None:  # noqa: ARG002
        """None: the pooling of this network is not linear."""
        return None

    def pool(self, heatmap: Tensor) -> Tensor:
        """``[B, M, *grid] -> [B, M]``."""
        raise NotImplementedError

    def _cells(self, size: int) -> AxisCells:
        output_size(size, self.backbone.layers)  # refuses an axis that leaves the coarsest level nothing
        return self.decoder.cells(size)

    @property
    def _bias(self) -> Tensor:
        assert self.head.bias is not None
        return self.head.bias

    def _features(self, x: Tensor) -> Tensor:
        """Z as the decoder gives it: ``[B * S, F, h, w]``, ``[B, F, h, w]`` or ``[B, F, d, h, w]``."""
        images = self._validated(x)
        parts = (images,) if self.chunk is None or self.training else images.split(self.chunk)
        done = [self.decoder(self.backbone.pyramid(part)) for part in parts]
        return done[0] if len(done) == 1 else torch.cat(done)

    def _from_parts(self, maps: Tensor, x: Tensor) -> Tensor:
        """Slabs of one scan together again: ``[B * S, F, h, w] -> [B, F, S, h, w]``; other inputs as they are."""
        if self.spatial_dims == 2 and x.ndim == 5:
            return maps.unflatten(0, tuple(x.shape[:2])).transpose(1, 2)
        return maps

    def _validated(self, x: Tensor) -> Tensor:
        x = x.as_subclass(Tensor)
        slabs = self.spatial_dims == 2 and x.ndim == 5
        if x.ndim not in ({4, 5} if self.spatial_dims == 2 else {5}) or 0 in x.shape:
            wrong = True
        else:
            wrong = x.shape[2 if slabs else 1] != self.in_channels
        if wrong:
            C = self.in_channels
            legal = f"[B, S, {C}, H, W] or [B, {C}, H, W]" if self.spatial_dims == 2 else f"[B, {C}, D, H, W]"
            msg = f"expected input {legal}, got {list(x.shape)}"
            raise ValueError(msg)
        return x.flatten(0, 1) if slabs else x


class PooledHeatmapNetwork(HeatmapNetwork):
    """A heatmap network that pools by maximum or mean, whose maps therefore have a closed form.

    Args:
        pooling: "max" over all cells (PYLON: the logit is the heatmap's maximum), or "mean" (the cells' parts sum to
            the logit, HiResCAM is exact).
        num_labels, make_decoder, options: see ``HeatmapNetwork``.

    Raises:
        ValueError: as there, and for an unknown pooling.
    """

    def __init__(
        self, num_labels: int, make_decoder: Callable[[Backbone], Decoder], *, pooling: str = "max", **options: Any
    ) -> None:
        if pooling not in POOLINGS:
            msg = f"unknown pooling {pooling!r}: {did_you_mean(str(pooling), POOLINGS)}"
            raise ValueError(msg)
        super().__init__(num_labels, make_decoder, **options)
        self.pooling = pooling

    def pool(self, heatmap: Tensor) -> Tensor:
        """``[B, M, *grid] -> [B, M]``."""
        cells = heatmap.flatten(2)
        return cells.amax(-1) if self.pooling == "max" else cells.mean(-1)

    def linear_head(self, x: Tensor) -> LinearHead:
        """Features ``[B, F, *grid]`` and the 1 x 1 convolution on them, for attention in closed form.

        A 3 x 3 convolution looks at a cell's neighbours too: its outputs less the bias are then the features (and the
        attention layer), one per label, with the identity for weight.

        Raises:
            ValueError: as ``forward``.
        """
        with full_precision(x):
            z = self._features(x).to(self.head.weight.dtype)
            if self._is_pointwise:
                return LinearHead(self._from_parts(z, x), self.head.weight.flatten(1), self._bias, self.pooling)
            maps = self._head_evidence(z)
            return LinearHead(self._from_parts(maps, x), torch.eye(len(self._bias)).to(maps), self._bias, self.pooling)
