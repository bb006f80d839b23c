"""Grad-CAM and HiResCAM against numbers of the published code (oracle item 5), in closed form and by gradients."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from organcam.attention import attention_maps

ANY_INPUT = torch.zeros(1, 3, 3, 420, 420, dtype=torch.float64)


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
@pytest.mark.parametrize(("layer", "closed"), [(None, True), ("head", False)], ids=["closed form", "gradients"])
def test_axialnet(oracle, published, method, layer, closed):
    network = published.head_network("q", oracle["1_head"]["q"])
    maps = attention_maps(network, ANY_INPUT, method, target_layer=layer)
    assert maps.closed_form is closed
    scores = network.slab_scores(ANY_INPUT)
    for case in oracle["5_attention"]["gradcam_axialnet"]["maps"]:
        label = case["label"]
        found = maps.values[0, label].flatten().numpy()
        np.testing.assert_allclose(found, case[method], atol=1e-6, rtol=1e-8)
        np.testing.assert_allclose(scores[0, label].detach(), case["slab_scores"], atol=1e-6, rtol=1e-8)
        assert scores[0, label].argmax() == case["top_slab"]


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
@pytest.mark.parametrize(("layer", "closed"), [(None, True), ("backbone", False)], ids=["closed form", "gradients"])
def test_without_head(oracle, published, method, layer, closed):
    network = published.head_network("q", oracle["1_head"]["q"], head="none")
    maps = attention_maps(network, ANY_INPUT, method, labels=[2], target_layer=layer)
    assert maps.closed_form is closed
    published.assert_agrees(maps.values[0, 0], oracle["5_attention"]["gradcam_nocustomconv_label2"][method])


class BodyConv(nn.Module):
    """The published BodyConv behind its feature extractor: 3D convolutions and a classifier of three linear layers."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv3d(512, 64, 3, stride=(3, 1, 1)),
            nn.ReLU(),
            nn.Conv3d(64, 32, 3, stride=(3, 1, 1)),
            nn.ReLU(),
            nn.Conv3d(32, 16, (3, 2, 2), stride=(3, 2, 2)),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2000, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(128, 96),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(96, 5),
        )

    def forward(self, features):
        return self.classifier(self.convs(features.transpose(1, 2)))


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
def test_bodyconv_by_gradients(oracle, published, method):
    item = oracle["3_baselines"]["BodyConv"]
    network = BodyConv().double()
    with torch.no_grad():
        for (n, shape), parameter in zip(item["parameters_after_features"], network.parameters(), strict=True):
            assert list(parameter.shape) == shape
            fill = published.sine(2500 + n, shape, 0.1)
            if len(shape) > 1:
                fill = published.noise(2500 + n, shape, 1.7 / math.sqrt(math.prod(shape[1:])))
            parameter.copy_(fill)
    features = published.noise(3002, (1, 135, 512, 14, 14), off=0.5)
    maps = attention_maps(network, features, method, labels=[1], target_layer="convs.5")
    assert not maps.closed_form
    np.testing.assert_allclose(maps.logits[0], item["logits"]["values"][1:2], atol=1e-6, rtol=1e-8)
    published.assert_agrees(maps.values[0, 0], oracle["5_attention"]["gradcam_bodyconv_label1"][method])
