"""The networks that PYLON is compared with: the backbone alone, Li 2018, FPN, PAN, DeepLabV3+ and U-Net.

All take slabs, images or volumes, give a heatmap of logits and pool it, by maximum unless said otherwise; arguments
that they share are described at ``CAMNetwork``. As the PYLON papers built them (segmentation_models_pytorch 0.1.3),
without a last enlargement to the input's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .axialnet import NETWORKS
from .backbones import Backbone
from .decoders import DeepLabDecoder, FPNDecoder, LastLevel, Li2018Decoder, PylonDecoder, UNetDecoder, dilate
from .heatmaps import HeatmapNetwork, PooledHeatmapNetwork

__all__ = ["FPN", "PAN", "CAMNetwork", "DeepLabV3Plus", "Li2018", "UNet", "log_space_pooling"]


@NETWORKS.register("cam")
class CAMNetwork(PooledHeatmapNetwork):
    """A 1 x 1 convolution on the backbone's last level: the original class activation map, the papers' "Backbone".

    Args:
        num_labels: M.
        spatial_dims: 2 for slabs and images, 3 for volumes.
        in_channels: slices per slab, channels of image or volume; None for 3 in two dimensions and 1 in three.
        input_shape: voxels (D, H, W) that the network is meant for, or None.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        pooling: "max" as in PYLON's comparison, or "mean" (global average pooling and one linear layer, for which
            HiResCAM, Grad-CAM and CAM agree).
        initial_bias: first value of the head's biases; None for 0.
        chunk: slabs at a time in evaluation; None for all at once.

    Raises:
        ValueError: if an argument is not legal.
        ConfigError: for an unknown backbone or an unfit weights file.
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__(
            num_labels,
            lambda base: LastLevel(base.taps),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            pooling=pooling,
            initial_bias=initial_bias,
            chunk=chunk,
        )


@NETWORKS.register("li2018")
class Li2018(HeatmapNetwork):
    """Li et al., "Thoracic disease identification and localization with limited supervision" (2018).

    The last level resampled to 20 x 20 cells, a 3 x 3 block, a 1 x 1 convolution, and ``log_space_pooling``, trained by
    cross-entropy on the image's logit. The score is not linear in a feature map; attention comes by gradients, or is
    the heatmap itself. Difference: a scan of many slabs, or planes of a volume, has the logit of its highest one:
    pooled together, 8 slabs of 400 cells already put every logit above 30 before anything is learned.

    Args:
        num_labels, spatial_dims, in_channels, input_shape, backbone, weights, initial_bias, chunk: see ``CAMNetwork``.
        cells: of the heatmap per axis.
        floor: lowest factor of a cell, see ``log_space_pooling``.
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        cells: int = 20,
        floor: float = 0.98,
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        if not 0 <= floor < 1:
            msg = f"floor must be 0 or more and less than 1, got {floor}"
            raise ValueError(msg)
        super().__init__(
            num_labels,
            lambda base: Li2018Decoder(base.taps, spatial_dims, cells=cells),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            initial_bias=initial_bias,
            chunk=chunk,
        )
        self.floor = floor

    def pool(self, heatmap: Tensor) -> Tensor:
        """``[B, M, *grid] -> [B, M]``: every slab or plane by itself, then the highest."""
        planes = heatmap.flatten(2, -3) if heatmap.ndim > 4 else heatmap[:, :, None]
        return log_space_pooling(planes.flatten(1, 2), self.floor).unflatten(1, planes.shape[1:3]).amax(-1)


@NETWORKS.register("fpn")
class FPN(PooledHeatmapNetwork):
    """Panoptic feature pyramid network, see ``FPNDecoder``.

    Args:
        num_labels, spatial_dims, in_channels, input_shape, backbone, weights, initial_bias, chunk: see ``CAMNetwork``.
        norm: "batch" (the papers' "FPN BN") or "group" (the original).
        pooling: "max" or "mean".
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        norm: str = "batch",
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__(
            num_labels,
            lambda base: FPNDecoder(base.taps, spatial_dims, norm=norm),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            pooling=pooling,
            initial_bias=initial_bias,
            chunk=chunk,
        )


@NETWORKS.register("pan")
class PAN(PooledHeatmapNetwork):
    """Li et al., "Pyramid attention network for semantic segmentation" (2018), from which PYLON comes.

    PYLON's decoder with one 3 x 3 layer in the upsampling modules, global averages and a 3 x 3 head.

    Args:
        num_labels, spatial_dims, in_channels, input_shape, backbone, weights, initial_bias, chunk: see ``CAMNetwork``.
        average: global average branch and gates; False for the papers' "No GAP".
        pooling: "max" or "mean".
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        average: bool = True,
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        def decoder(base: Backbone) -> PylonDecoder:
            return PylonDecoder(base.taps, spatial_dims, up_layers=1, up_kernel=3, average=average, gate=average)

        super().__init__(
            num_labels,
            decoder,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            pooling=pooling,
            head_kernel=3,
            initial_bias=initial_bias,
            chunk=chunk,
        )


@NETWORKS.register("deeplabv3plus")
class DeepLabV3Plus(PooledHeatmapNetwork):
    """DeepLabV3+ at output stride 16, see ``DeepLabDecoder``.

    Args:
        num_labels, spatial_dims, in_channels, input_shape, backbone, weights, initial_bias, chunk: see ``CAMNetwork``.
        average: global average branch; False for the papers' "No GAP".
        pooling: "max" or "mean".
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        average: bool = True,
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        def decoder(base: Backbone) -> DeepLabDecoder:
            dilate(base)
            return DeepLabDecoder(base.taps, spatial_dims, average=average)

        super().__init__(
            num_labels,
            decoder,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            pooling=pooling,
            initial_bias=initial_bias,
            chunk=chunk,
        )


@NETWORKS.register("unet")
class UNet(PooledHeatmapNetwork):
    """U-Net with a heatmap of the input's size, see ``UNetDecoder``.

    Args:
        num_labels, spatial_dims, in_channels, input_shape, backbone, weights, initial_bias, chunk: see ``CAMNetwork``.
        widths: channels of the decoder's blocks, coarsest first.
        pooling: "max" or "mean".
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet50",
        weights: str | Path | None = None,
        widths: Sequence[int] = (256, 128, 64, 64, 64),
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__(
            num_labels,
            lambda base: UNetDecoder(base.taps, spatial_dims, widths=widths),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            pooling=pooling,
            head_kernel=3,
            initial_bias=initial_bias,
            chunk=chunk,
        )


def log_space_pooling(heatmap: Tensor, floor: float = 0.98) -> Tensor:
    """Multiple-instance pooling of Li et al. 2018: one minus the product over cells of "not here", as a logit.

    With ``p`` a cell's probability and ``q = b + (1 - b)(1 - p)`` in [b, 1], the probability is ``1 - prod q``. The
    squeeze keeps the product from vanishing: b ``** cells`` is its lower bound, so that 400 cells at .98 reach a logit
    of 8.08 at most. Computed with sums of logarithms: the published product gives minus infinity for confident
    negatives. Cells below a logit of -60, whose probability float32 cannot tell from 0, count as -60.

    Args:
        heatmap: logits ``[B, M, *grid]``.
        floor: b.

    Returns:
        Logits ``[B, M]``, to train by cross-entropy.
    """
    share = (1 - floor) * torch.sigmoid(heatmap.flatten(2).clamp_min(-60))
    log_none = torch.log1p(-share).sum(-1)
    return torch.log(-torch.expm1(log_none)) - log_none
