"""Networks that end in convolutions and one linear layer: the published BodyCAM, ResNet-34v and DenseNet-121v."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from ..attention.linear_head import LinearHead, contributions
from ..contract import CallOrder, Layout
from ..geometry import FeatureGrid, Layer, grid_of_layers, output_size
from .axialnet import NETWORKS, PUBLISHED_CHANNELS
from .backbones import build_backbone
from .heatmaps import full_precision

__all__ = ["BodyCAM", "DenseNet121v", "LinearNetwork", "ResNet34v"]

SLICES = 3


class LinearNetwork(nn.Module):
    """Backbone -> convolutions without padding -> Z -> one linear layer, shared by places or over all of them.

    Takes slabs ``[B, S, 3, H, W]``, whose scores are averaged, or images ``[B, 3, H, W]``. The score is linear in Z, so
    that HiResCAM has a closed form; one to derive from.

    Args:
        num_labels: M.
        input_shape: (D, H, W) in voxels with D = 3 S; any other number of slabs is taken too.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        widths: outputs of the convolutions.
        kernel: of the convolutions.
        relu: after each of them.
        everywhere: one weight per feature, shared by all places (global average pooling), instead of one per place.

    Raises:
        ValueError: if an argument is not legal or the input too small.
        ConfigError: for an unknown backbone or an unfit weights file.
    """

    input_layout: Layout = "slabs"
    """``[B, S, 3, H, W]``."""
    call_order: CallOrder = "items"
    """All slabs of the first scan, then those of the second."""

    attention_layer = "convs"
    """The module whose output is Z."""

    def __init__(
        self,
        num_labels: int,
        input_shape: Sequence[int],
        *,
        backbone: str,
        weights: str | Path | None,
        widths: Sequence[int],
        kernel: int,
        relu: bool,
        everywhere: bool,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape) < 1 or input_shape[0] % SLICES:
            msg = f"input_shape must be (D, H, W) in voxels with D a multiple of {SLICES}, got {tuple(input_shape)}"
            raise ValueError(msg)
        if num_labels < 1:
            msg = f"num_labels must be 1 or more, got {num_labels}"
            raise ValueError(msg)
        self.num_labels = num_labels
        self.input_shape: tuple[int, ...] = tuple(int(size) for size in input_shape)
        self.backbone = build_backbone(backbone, weights=weights)
        self.layers = (*self.backbone.layers, *len(widths) * (Layer(kernel),))
        self.convs = nn.Sequential()
        for before, after in zip((self.backbone.channels, *widths), widths, strict=False):
            self.convs.append(nn.Conv2d(before, after, kernel))
            if relu:
                self.convs.append(nn.ReLU())
        cells = [output_size(size, self.layers) for size in self.input_shape[1:]]
        self.fc = nn.Conv2d(widths[-1], num_labels, 1 if everywhere else (cells[0], cells[1]))

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of Z lie.

        Args:
            input_shape: voxels (D, H, W) with D = 3 S.

        Raises:
            ValueError: if D is not a multiple of 3 or (H, W) is not the network's.
        """
        D, H, W = input_shape
        if D < 1 or D % SLICES or self.input_shape[1:] != (H, W):
            _, H, W = self.input_shape
            msg = f"expected input of (3 S, {H}, {W}) voxels, got {tuple(input_shape)}"
            raise ValueError(msg)
        return grid_of_layers((D, H, W), ((Layer(SLICES, SLICES),), self.layers, self.layers))

    def linear_head(self, x: Tensor) -> LinearHead:
        """Z as ``[B, F, S, h, w]`` (images ``[B, F, h, w]``) and the linear layer on it.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        _, H, W = self.input_shape
        if x.ndim not in {4, 5} or tuple(x.shape[-3:]) != (SLICES, H, W) or 0 in x.shape:
            msg = f"expected input [B, S, {SLICES}, {H}, {W}] or [B, {SLICES}, {H}, {W}], got {list(x.shape)}"
            raise ValueError(msg)
        plain = x.as_subclass(Tensor)
        z = self.convs(self.backbone(plain.flatten(0, 1) if x.ndim == 5 else plain)).to(self.fc.weight.dtype)
        if x.ndim == 5:
            z = z.unflatten(0, tuple(x.shape[:2])).transpose(1, 2)
        weight = self.fc.weight.flatten(1) if self.fc.kernel_size == (1, 1) else self.fc.weight
        assert self.fc.bias is not None
        return LinearHead(z, weight, self.fc.bias)

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, S, 3, H, W]`` or ``[B, 3, H, W]``.
            attention: whether to return the maps too.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``, raw,
            signed and differentiable: what each cell adds to its own score, before the mean over scores.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        head = self.linear_head(x)
        with full_precision(x):
            logits = head.logits()
            return {"logits": logits, "attention": contributions(head.features, head.weight)} if attention else logits


@NETWORKS.register("bodycam")
class BodyCAM(LinearNetwork):
    """AxialNet with global average pooling of Z over all slabs and cells before its linear layer.

    An alternative in the code of Draelos and Carin, "Explainable multiple abnormality classification of chest CT
    volumes" (2021): the four unpadded convolutions of AxialNet, then one weight per feature and label.

    Args:
        num_labels: M.
        input_shape: (D, H, W) in voxels with D = 3 S; any other number of slabs is taken too.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = (405, 420, 420),
        backbone: str = "resnet18",
        weights: str | Path | None = None,
    ) -> None:
        super().__init__(
            num_labels,
            input_shape,
            backbone=backbone,
            weights=weights,
            widths=PUBLISHED_CHANNELS,
            kernel=3,
            relu=True,
            everywhere=True,
        )


@NETWORKS.register("resnet34v")
class ResNet34v(LinearNetwork):
    """ResNet-34v of Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations" (2020).

    All convolutions of ResNet-34, one of 512 filters of 2 x 2 without padding, and one linear layer over its flattened
    output, so that HiResCAM at the last convolution shows exactly what the score is made of and Grad-CAM does not.

    Differences: slabs are taken too, by the mean of their scores. Whether a ReLU follows the last convolution is not
    written in the paper; it does here by default, as in the authors' other networks.

    Args:
        num_labels: M.
        input_shape: (D, H, W) in voxels with D = 3 S. The linear layer's weights belong to cells, so H and W are
            fixed; any other number of slabs is taken too.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        relu: after the last convolution.
        backbone: another one in its place, by name in ``organcam.networks.BACKBONES``.
    """

    def __init__(
        self,
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = (405, 420, 420),
        weights: str | Path | None = None,
        relu: bool = True,
        backbone: str = "resnet34",
    ) -> None:
        super().__init__(
            num_labels,
            input_shape,
            backbone=backbone,
            weights=weights,
            widths=(512,),
            kernel=2,
            relu=relu,
            everywhere=False,
        )


@NETWORKS.register("densenet121v")
class DenseNet121v(ResNet34v):
    """DenseNet-121v of the same paper: DenseNet-121 in ResNet-34's place. Arguments as for ``ResNet34v``."""

    def __init__(
        self,
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = (405, 420, 420),
        weights: str | Path | None = None,
        relu: bool = True,
        backbone: str = "densenet121",
    ) -> None:
        super().__init__(num_labels, input_shape=input_shape, weights=weights, relu=relu, backbone=backbone)
