"""PYLON's parts against numbers of the published code, from inputs and weights given by formulas."""

import json
import math

import numpy as np
import pytest
import torch

from organcam.geometry import Layer
from organcam.networks.backbones import Tap
from organcam.networks.decoders import PylonDecoder, PyramidAttention, Up
from organcam.networks.heatmap_baselines import log_space_pooling

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def oracle(shared_spec):
    return json.loads((shared_spec / "pylon_oracle.json").read_text())


def fill(tag, shape, amp=1.0, off=0.0):
    i = np.arange(math.prod(shape), dtype=np.float64)
    return torch.from_numpy((off + amp * np.sin(0.7 * i + 1.3 * tag)).astype(np.float32)).reshape(tuple(shape))


@torch.no_grad()
def fill_block(block, k):
    conv, norm = block[0], block[1]
    conv.weight.copy_(fill(10 * k + 1, conv.weight.shape, 0.3))
    conv.bias.copy_(fill(10 * k + 2, conv.bias.shape, 0.1))
    norm.weight.copy_(fill(10 * k + 3, norm.weight.shape, 0.2, 1.0))
    norm.bias.copy_(fill(10 * k + 4, norm.bias.shape, 0.1, 0.3))
    norm.running_mean.copy_(fill(10 * k + 5, norm.running_mean.shape, 0.05))
    norm.running_var.copy_(fill(10 * k + 6, norm.running_var.shape, 0.3, 1.0))


def fill_pyramid(module):
    if isinstance(module, PyramidAttention):
        for k, name in enumerate(("mid", "down1", "down2", "down3", "conv3", "conv2", "conv1")):
            fill_block(getattr(module, name), k)
    else:
        fill_block(module, 0)


def assert_agrees(module, inputs, stored):
    """Evaluation and training outputs, and the gradients of a weighted sum with respect to the inputs."""
    inputs = [x.requires_grad_() for x in inputs]
    out = module.eval()(*inputs)
    assert list(out.shape) == stored["shape"]
    np.testing.assert_allclose(out.detach().flatten(), stored["eval"], **TOLERANCE)
    gradients = torch.autograd.grad((out * fill(110, out.shape)).sum(), inputs)
    wanted = stored["eval_grad_inputs_for_loss_sum_o_times_fill(tag110,amp1)"]
    for gradient, values in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(gradient.flatten(), values, **TOLERANCE)
    np.testing.assert_allclose(module.train()(*inputs).detach().flatten(), stored["train"], **TOLERANCE)


@pytest.mark.parametrize("pyramid", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (16, 8)])
def test_pyramid_attention(oracle, pyramid, size):
    stored = oracle["pa_numeric"][f"use_pa={pyramid},2x4x{size[0]}x{size[1]}"]
    module = PylonDecoder([Tap(4, (Layer(4, 4),))], channels=3, pyramid=pyramid).pyramid
    fill_pyramid(module)
    assert sum(p.numel() for p in module.parameters()) == stored["config"]["params"]
    assert_agrees(module, [fill(101, (2, 4, *size))], stored)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("fine", "coarse"), [((8, 8), (4, 4)), ((7, 5), (4, 3))])
def test_upsampling_module(oracle, layers, kernel, fine, coarse):
    stored = oracle["up_numeric"][f"{layers}layer,k{kernel},x{(2, 4, *fine)},y{(2, 3, *coarse)}"]
    module = Up(2, 4, 3, layers=layers, kernel=kernel)
    for k, block in enumerate(module.lateral):
        fill_block(block, k)
    assert sum(p.numel() for p in module.parameters()) == stored["config"]["params"]
    assert_agrees(module, [fill(102, (2, 4, *fine)), fill(103, (2, 3, *coarse))], stored)


def test_upsampling_module_with_gate(oracle):
    stored = oracle["up_att_numeric"]
    module = Up(2, 4, 3, layers=1, gate=True).eval()
    fill_block(module.lateral[0], 0)
    fill_block(module.gate, 1)
    assert sum(p.numel() for p in module.parameters()) == stored["params"]
    with torch.no_grad():
        out = module(fill(102, (2, 4, 8, 8)), fill(103, (2, 3, 4, 4)))
    assert list(out.shape) == stored["shape"]
    np.testing.assert_allclose(out.flatten(), stored["eval"], **TOLERANCE)


def test_whole_decoder_with_head_and_maximum(oracle):
    stored = oracle["decoder_numeric"]
    taps = [Tap(channels, (Layer(2**level, 2**level),)) for level, channels in enumerate((2, 3, 4, 5, 6), start=1)]
    decoder = PylonDecoder(taps, channels=4).eval()
    fill_pyramid(decoder.pyramid)
    for number, up in enumerate(decoder.ups):
        for k, block in enumerate(up.lateral):
            fill_block(block, 10 + 2 * number + k)
    assert sum(p.numel() for p in decoder.parameters()) == stored["params_decoder"]
    with torch.no_grad():
        features = decoder([fill(200 + j, (1, j + 1, 256 >> j, 256 >> j)) for j in range(1, 6)])
        head = torch.nn.Conv2d(4, 2, 1)
        head.weight.copy_(fill(91, head.weight.shape, 0.3))
        head.bias.copy_(fill(92, head.bias.shape, 0.1))
        heatmap = head(features)
    assert list(features.shape) == stored["decoder_out_shape"]
    assert features.double().sum().item() == pytest.approx(stored["decoder_out_sum"], rel=1e-6)
    np.testing.assert_allclose(heatmap[0, :, :4, :4].flatten(), stored["heatmap_[0,:,0:4,0:4]"], **TOLERANCE)
    np.testing.assert_allclose(heatmap[0, :, 30:34, 30:34].flatten(), stored["heatmap_[0,:,30:34,30:34]"], **TOLERANCE)
    np.testing.assert_allclose(heatmap.amax((2, 3))[0], stored["pred_logits"], **TOLERANCE)
    places = [list(divmod(int(row.argmax()), 64)) for row in heatmap[0].flatten(1)]
    assert places == stored["argmax_rowcol"]


def test_log_space_pooling(oracle):
    stored = oracle["mil_numeric"]
    heatmap = fill(300, (1, 2, 3, 3), 2.0)
    logits = log_space_pooling(heatmap)[0]
    np.testing.assert_allclose(torch.sigmoid(heatmap).flatten(), stored["p"], **TOLERANCE)
    np.testing.assert_allclose(torch.sigmoid(logits), stored["prob"], **TOLERANCE)
    np.testing.assert_allclose(logits, stored["logit"], **TOLERANCE)
    for value in (0, 20):
        found = log_space_pooling(torch.full((1, 1, 20, 20), float(value)))[0]
        np.testing.assert_allclose(found, stored[f"logit_20x20_all_{'+20' if value else '0'}"], **TOLERANCE)


def test_log_space_pooling_keeps_confident_negatives_and_their_gradient():
    # The published float32 product is minus infinity here, see "logit_20x20_all_-20" of the oracle.
    heatmap = torch.full((1, 1, 20, 20), -20.0, requires_grad=True)
    logit = log_space_pooling(heatmap)
    logit.sum().backward()
    exact = math.log(400 * 0.02 / (1 + math.exp(20)))  # to first order: 400 cells of 2 % of a tiny probability
    assert logit.item() == pytest.approx(exact, abs=1e-4)
    torch.testing.assert_close(heatmap.grad, torch.full_like(heatmap, 1 / 400), rtol=1e-4, atol=0)
    assert log_space_pooling(torch.full((1, 1, 20, 20), -1e4)).isfinite().all()
