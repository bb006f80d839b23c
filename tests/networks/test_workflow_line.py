"""Every registered network is built from one line of a workflow, tells its grid, and trains with the mask loss."""

import pytest
import torch

from organcam.config import InputConfig
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import NETWORKS
from organcam.stages.grids import build_model

SHAPE = (24, 80, 96)
LINES = {
    "axialnet": {"backbone": "small", "head_channels": [8]},
    "bodycam": {"backbone": "small"},
    "bodyconv": {"backbone": "small", "depth_stride": 1},
    "cam": {"backbone": "small"},
    "conv3d": {"strides": [[2, 3, 3], [1, 3, 3], [1, 2, 2], [1, 1, 1]]},
    "ctnet": {"backbone": "small"},
    "deeplabv3plus": {"backbone": "small"},
    "densenet121v": {"backbone": "small"},
    "fpn": {"backbone": "small"},
    "li2018": {"backbone": "small"},
    "masked_pooling": {"backbone": "small"},
    "pan": {"backbone": "small"},
    "pylon": {"backbone": "small"},
    "resnet34v": {"backbone": "small"},
    "unet": {"backbone": "small", "widths": [16, 16, 16]},
}


def test_every_network_has_its_line():
    assert set(LINES) == {name for name in NETWORKS.names() if not name.startswith("monai.")}


@pytest.mark.parametrize("name", LINES)
def test_line(name):
    torch.manual_seed(0)
    network = build_model({"name": name, **LINES[name]}, InputConfig(shape=SHAPE), 2).train()
    grid = network.feature_grid(SHAPE)
    volumes = network.input_layout == "volume"
    x = torch.randn(2, 1, *SHAPE) if volumes else torch.randn(2, 8, 3, *SHAPE[1:])
    allowed = torch.rand(2, 2, *grid.shape) < 0.5
    given = {"allowed": allowed} if getattr(network, "takes_allowed", False) else {}
    target = {"label": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "allowed": allowed}
    prediction = network(x, attention=True, **given)
    assert prediction["attention"].shape == allowed.shape
    ClassAndMaskLoss(MaskLoss(), weight=1.0)(prediction, target).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
