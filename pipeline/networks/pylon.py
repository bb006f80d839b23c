"""PYLON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .axialnet import NETWORKS
from .backbones import Backbone
from .decoders import PylonDecoder
from .heatmaps import PooledHeatmapNetwork

__all__ = ["Pylon"]


@NETWORKS.register("pylon")
class Pylon(PooledHeatmapNetwork):
    """PYLON of Preechakul et al., "Improved image classification explainability with high-accuracy heatmaps" (2022).

    Pyramid attention and upsampling modules bring a ResNet's features to stride 4; one 1 x 1 convolution makes the
    heatmap, whose maximum is the logit. The map is the head's own output: no other method is needed to explain it. The
    defaults are the paper's headline network (2-layer); its ablations and the ISBI version are ``up_layers=1``.

    Differences: any input size (the published code needs multiples of 256) and number of upsampling modules; slabs of
    a CT, pooled over all of them; volumes (``spatial_dims=3``, cubes for squares, trilinear for bilinear), for which
    there is no published network; one value per channel at the pyramid's top (small volumes, batch 1) does not stop
    training.

    Args:
        num_labels: M.
        spatial_dims: 2 for slabs and images, 3 for volumes.
        in_channels: slices per slab, channels of image or volume; None for 3 in two dimensions and 1 in three.
        input_shape: voxels (D, H, W) that the network is meant for, or None.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        channels: of the decoder.
        ups: upsampling modules, 0 to 3 with a ResNet (output stride 32 to 4); None for all.
        up_layers: 1 or 2.
        up_kernel: 1 or 3.
        pyramid: False for the network without pyramid attention.
        average: global average branch in the pyramid (GAP).
        gate: global average gates in the upsampling modules (with ``up_layers=1``: PYLON-ATT).
        norm: "batch" or "group".
        head_kernel: 1 or 3.
        pooling: "max", or "mean", with which HiResCAM is exact.
        initial_bias: first value of the head's biases; None for 0.
        chunk: slabs at a time in evaluation; None for all at once.

    Raises:
        ValueError: if an argument is not legal.
        ConfigError: for an unknown backbone or an unfit weights file.

    Example:
        >>> import torch
        >>> network = Pylon(4, backbone="small")
        >>> out = network(torch.zeros(2, 5, 3, 32, 48), attention=True)
        >>> out["logits"].shape, out["attention"].shape
        (torch.Size([2, 4]), torch.Size([2, 4, 5, 8, 12]))
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
        channels: int = 128,
        ups: int | None = None,
        up_layers: int = 2,
        up_kernel: int = 1,
        pyramid: bool = True,
        average: bool = False,
        gate: bool = False,
        norm: str = "batch",
        head_kernel: int = 1,
        pooling: str = "max",
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        def decoder(base: Backbone) -> PylonDecoder:
            return PylonDecoder(
                base.taps,
                spatial_dims,
                channels=channels,
                ups=ups,
                up_layers=up_layers,
                up_kernel=up_kernel,
                pyramid=pyramid,
                average=average,
                gate=gate,
                norm=norm,
            )

        super().__init__(
            num_labels,
            decoder,
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            head_kernel=head_kernel,
            pooling=pooling,
            initial_bias=initial_bias,
            chunk=chunk,
        )
