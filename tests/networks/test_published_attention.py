"""Grad-CAM and HiResCAM against numbers of the published code (oracle item 5), in closed form and by gradients."""

import numpy as np
import pytest
import torch

from organcam.attention import attention_maps

ANY_INPUT = torch.zeros(1, 3, 3, 420, 420, dtype=torch.float64)


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
@pytest.mark.parametrize(("layer", "closed"), [(None, True), ("head", False)], ids=["closed form", "gradients"])
def test_axialnet(oracle, published, method, layer, closed):
    network = published.head_network("q", oracle["1_head"]["q"])
    maps = attention_maps(network, ANY_INPUT, method=method, layer=layer)
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
    maps = attention_maps(network, ANY_INPUT, method=method, targets=[2], layer=layer)
    assert maps.closed_form is closed
    published.assert_agrees(maps.values[0, 0], oracle["5_attention"]["gradcam_nocustomconv_label2"][method])
