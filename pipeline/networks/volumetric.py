"""The published alternatives to AxialNet whose last layers see the whole scan: CTNet, BodyConv and Conv3DNet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from ..contract import CallOrder, Layout
from ..geometry import FeatureGrid, Layer, grid_of_layers, output_size
from .axialnet import NETWORKS
from .backbones import build_backbone
from .own_attention import with_attention

__all__ = ["BodyConv", "CTNet", "Conv3DNet"]

PUBLISHED_SHAPE = (405, 420, 420)
SLICES = 3
HIDDEN = (128, 96)


class _SlabConvolutions(nn.Module):
    """A backbone on every slab, three convolutions over all of its features at once, three linear layers.

    Args:
        num_labels: M.
        input_shape: voxels (D, H, W) with D = 3 S; linear layers belong to places, so it is fixed.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        depth_stride: of the three convolutions along their first axis.
        dropout: after the first two linear layers.
    """

    over_slabs: bool
    """Whether the convolutions run over the slabs, with the features for channels, or the other way round."""

    input_layout: Layout = "slabs"
    """``[B, S, 3, H, W]``."""
    call_order: CallOrder = "items"
    """The backbone sees all slabs of the first scan, then those of the second."""

    def __init__(
        self,
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = PUBLISHED_SHAPE,
        backbone: str = "resnet18",
        weights: str | Path | None = None,
        depth_stride: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        D, H, W = _shape(input_shape)
        if D % SLICES:
            msg = f"input_shape must be (3 S, H, W) voxels for slabs of three slices, got {tuple(input_shape)}"
            raise ValueError(msg)
        if depth_stride < 1:
            msg = f"depth_stride must be 1 or more, got {depth_stride}"
            raise ValueError(msg)
        self.num_labels = num_labels
        self.input_shape = (D, H, W)
        self.backbone = build_backbone(backbone, weights=weights)
        self.layers = self.backbone.layers
        self.depth_layers = (Layer(3, depth_stride),) * 3
        self.plane_layers = (Layer(3), Layer(3), Layer(2, 2))
        slabs, features = D // SLICES, self.backbone.channels
        channels, depth = (features, slabs) if self.over_slabs else (slabs, features)
        rows, columns = (output_size(size, (*self.layers, *self.plane_layers)) for size in (H, W))
        self.convs = _convolutions(channels, (64, 32, 16), self.depth_layers, self.plane_layers)
        cells = output_size(depth, self.depth_layers) * rows * columns
        self.classifier = _classifier(16 * cells, num_labels, dropout)

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, S, 3, H, W]``.
            attention: whether to return HiResCAM of the attention layer too: one backward pass per label.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``, raw,
            signed and, where gradients are recorded, differentiable.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        if attention:
            return with_attention(self, x)
        D, H, W = self.input_shape
        if x.ndim != 5 or tuple(x.shape[1:]) != (D // SLICES, SLICES, H, W) or not len(x):
            msg = f"expected input [B, {D // SLICES}, {SLICES}, {H}, {W}] (slabs of three slices), got {list(x.shape)}"
            raise ValueError(msg)
        features = self.backbone(x.as_subclass(Tensor).flatten(0, 1)).unflatten(0, tuple(x.shape[:2]))
        return self.classifier(self.convs(features.transpose(1, 2) if self.over_slabs else features))

    def linear_head(self, x: Tensor) -> None:
        """None: three layers follow the convolutions."""

    def _checked(self, input_shape: Sequence[int]) -> tuple[int, int, int]:
        if tuple(input_shape) != self.input_shape:
            msg = f"expected input of {self.input_shape} voxels, got {tuple(input_shape)}"
            raise ValueError(msg)
        return self.input_shape


@NETWORKS.register("ctnet")
class CTNet(_SlabConvolutions):
    """CTNet of Draelos et al., "Machine-learning-based multiple abnormality prediction with large-scale CT" (2021).

    The slabs are the channels of three convolutions over (features, rows, columns), so that their output has no axis
    from top to bottom and no map of theirs can be laid over the scan. The attention layer is therefore the backbone,
    whose output still has its place: ``[S, h, w]`` cells. The published code has no attention for this network.

    Args:
        num_labels: M.
        input_shape: voxels (D, H, W) with D = 3 S; linear layers belong to places, so it is fixed.
        backbone: name in ``organcam.networks.BACKBONES``; its number of features is an axis here.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        depth_stride: of the three convolutions along the features, 3 as published.
        dropout: after the first two linear layers.

    Raises:
        ValueError: if an argument is not legal or the input too small for the convolutions.
        ConfigError: for an unknown backbone or an unfit weights file.

    Example:
        >>> import torch
        >>> CTNet(4, input_shape=(15, 64, 64), backbone="small")(torch.zeros(2, 5, 3, 64, 64)).shape
        torch.Size([2, 4])
    """

    attention_layer = "backbone"
    over_slabs = False

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the backbone's features lie.

        Raises:
            ValueError: if the shape is another one than the network was built for.
        """
        slabs = (Layer(SLICES, SLICES),)
        return grid_of_layers(self._checked(input_shape), (slabs, self.layers, self.layers))


@NETWORKS.register("bodyconv")
class BodyConv(_SlabConvolutions):
    """BodyConv, an alternative to AxialNet in Draelos and Carin, "Explainable multiple abnormality ..." (2021).

    The backbone's features are the channels of three convolutions over (slabs, rows, columns). Attention is that of the
    last convolution's ReLU, as published: 5 x 5 x 5 cells for 135 slabs of 420 x 420.

    Args:
        num_labels: M.
        input_shape: voxels (D, H, W) with D = 3 S; linear layers belong to places, so it is fixed.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        depth_stride: of the three convolutions along the slabs, 3 as published (which needs 27 slabs).
        dropout: after the first two linear layers.

    Raises:
        ValueError: if an argument is not legal or the input too small for the convolutions.
        ConfigError: for an unknown backbone or an unfit weights file.
    """

    attention_layer = "convs"
    over_slabs = True

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the last convolution lie.

        Raises:
            ValueError: if the shape is another one than the network was built for.
        """
        plane = (*self.layers, *self.plane_layers)
        depth = (Layer(SLICES, SLICES), *self.depth_layers)
        return grid_of_layers(self._checked(input_shape), (depth, plane, plane))


@NETWORKS.register("conv3d")
class Conv3DNet(nn.Module):
    """3DConv, an alternative to AxialNet in Draelos and Carin, "Explainable multiple abnormality ..." (2021).

    Four convolutions of 3 x 3 x 3 with stride 3 over the volume, two of 1 x 1 x 1, ReLU after each, then three linear
    layers. Attention is that of the last ReLU, as published: 5 x 5 x 5 cells for 405 x 420 x 420 voxels.

    Args:
        num_labels: M.
        input_shape: voxels (D, H, W); linear layers belong to places, so it is fixed.
        strides: (D, H, W) of the four convolutions; 3 everywhere as published (which needs 81 voxels per axis).
        dropout: after the first two linear layers.

    Raises:
        ValueError: if an argument is not legal or the input too small for the convolutions.

    Example:
        >>> import torch
        >>> network = Conv3DNet(4, input_shape=(24, 81, 90), strides=[[2, 3, 3], [1, 3, 3], [1, 3, 3], [1, 3, 3]])
        >>> network(torch.zeros(2, 1, 24, 81, 90)).shape, network.feature_grid((24, 81, 90)).shape
        (torch.Size([2, 4]), (5, 1, 1))
    """

    input_layout: Layout = "volume"
    """``[B, 1, D, H, W]``."""
    call_order: CallOrder = "items"

    attention_layer = "convs"

    def __init__(
        self,
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = PUBLISHED_SHAPE,
        strides: Sequence[Sequence[int]] = 4 * ((3, 3, 3),),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(strides) != 4 or any(len(step) != 3 or min(step) < 1 for step in strides):
            msg = f"strides must be four times (D, H, W) of 1 or more, got {[list(step) for step in strides]}"
            raise ValueError(msg)
        self.num_labels = num_labels
        self.input_shape = _shape(input_shape)
        self.layers = tuple(tuple(Layer(3, step[axis]) for step in strides) for axis in range(3))
        grid = grid_of_layers(self.input_shape, self.layers)
        self.convs = nn.Sequential()
        channels = (1, 64, 128, 256, 512, 128, 64)
        for number, (before, after) in enumerate(pairwise(channels)):
            wide = number < len(strides)
            D, H, W = strides[number] if wide else (1, 1, 1)
            self.convs.append(nn.Conv3d(before, after, 3 if wide else 1, (D, H, W)))
            self.convs.append(nn.ReLU())
        cells = grid.shape[0] * grid.shape[1] * grid.shape[2]
        self.classifier = _classifier(channels[-1] * cells, num_labels, dropout)

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the last convolution lie.

        Raises:
            ValueError: if the shape is another one than the network was built for.
        """
        if tuple(input_shape) != self.input_shape:
            msg = f"expected input of {self.input_shape} voxels, got {tuple(input_shape)}"
            raise ValueError(msg)
        return grid_of_layers(self.input_shape, self.layers)

    def linear_head(self, x: Tensor) -> None:
        """None: three layers follow the convolutions."""

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, 1, D, H, W]``.
            attention: whether to return HiResCAM of the attention layer too: one backward pass per label.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``, raw,
            signed and, where gradients are recorded, differentiable.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        if attention:
            return with_attention(self, x)
        if x.ndim != 5 or tuple(x.shape[1:]) != (1, *self.input_shape) or not len(x):
            msg = f"expected input [B, 1, {', '.join(map(str, self.input_shape))}] (volumes), got {list(x.shape)}"
            raise ValueError(msg)
        return self.classifier(self.convs(x.as_subclass(Tensor)))


def _convolutions(
    channels: int, widths: Sequence[int], depth: Sequence[Layer], plane: Sequence[Layer]
) -> nn.Sequential:
    convs = nn.Sequential()
    for before, after, deep, flat in zip((channels, *widths), widths, depth, plane, strict=False):
        kernel, stride = (deep.kernel, flat.kernel, flat.kernel), (deep.stride, flat.stride, flat.stride)
        convs.append(nn.Conv3d(before, after, kernel, stride))
        convs.append(nn.ReLU())
    return convs


def _classifier(inputs: int, num_labels: int, dropout: float) -> nn.Sequential:
    if num_labels < 1 or not 0 <= dropout < 1:
        msg = f"num_labels must be 1 or more and dropout in [0, 1), got {num_labels} and {dropout}"
        raise ValueError(msg)
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((inputs, *HIDDEN), HIDDEN, strict=False):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], num_labels))


def _shape(input_shape: Sequence[int]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1:
        msg = f"input_shape must be (D, H, W) in voxels, got {tuple(input_shape)}"
        raise ValueError(msg)
    return int(input_shape[0]), int(input_shape[1]), int(input_shape[2])
