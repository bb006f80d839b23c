"""Numbers of parameters and heatmap shapes of PYLON and its rivals against those of the published code."""

import json

import pytest
import torch

from organcam.networks import FPN, PAN, CAMNetwork, DeepLabV3Plus, Li2018, Pylon, UNet

GREY = {"num_labels": 14, "in_channels": 1}

VARIANTS = {
    "pylon_2layer": {},
    "pylon_1layer": {"up_layers": 1},
    "nopa_2layer": {"pyramid": False},
    "nopa_1layer": {"pyramid": False, "up_layers": 1},
    "1up_1layer": {"ups": 1, "up_layers": 1},
    "2up_1layer": {"ups": 2, "up_layers": 1},
    "0up_1layer": {"ups": 0, "up_layers": 1},
    "1up_2layer": {"ups": 1},
    "2up_2layer": {"ups": 2},
    "0up": {"ups": 0},
    "upkern3_1layer": {"up_layers": 1, "up_kernel": 3},
    "segkern3_1layer": {"up_layers": 1, "head_kernel": 3},
    "upkern3_2layer": {"up_kernel": 3},
    "segkern3_2layer": {"head_kernel": 3},
    "pylon_2layer_voc": {"in_channels": 3, "num_labels": 21},
    "pylon_2layer_vin": {"num_labels": 15},
}
HISTORICAL = {
    "v1_upGAP(=PYLON_ATT, ISBI)": {"up_layers": 1, "gate": True},
    "v1_paGAP": {"up_layers": 1, "average": True},
    "v1_paGAP_upGAP": {"up_layers": 1, "average": True, "gate": True},
    "v3_upGAP": {"gate": True},
    "v3_paGAP": {"average": True},
    "v3_groupnorm32": {"norm": "group"},
}
BASELINES = {
    "backbone": (CAMNetwork, {}),
    "li2018": (Li2018, {}),
    "fpn_original_gn32": (FPN, {"norm": "group"}),
    "fpn_custom_bn": (FPN, {}),
    "pan_gap": (PAN, {}),
    "pan_nogap": (PAN, {"average": False}),
    "deeplabv3plus": (DeepLabV3Plus, {}),
    "deeplabv3plus_custom_nogap": (DeepLabV3Plus, {"average": False}),
    "unet_256_128_64_64_64": (UNet, {}),
}


@pytest.fixture(scope="module")
def oracle(shared_spec):
    return json.loads((shared_spec / "pylon_oracle.json").read_text())


def _build(network, options):
    with torch.device("meta"):
        return network(**{**GREY, **options})


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def _shape(network, size=256):
    return list(network.heatmap(torch.zeros(1, network.in_channels, size, size, device="meta")).shape)


@pytest.mark.parametrize("name", VARIANTS)
def test_pylon_variants(oracle, name):
    stored = oracle["pylon_variants"][name]
    network = _build(Pylon, VARIANTS[name])
    assert _count(network) == stored["total"]
    assert _count(network.backbone) == stored["encoder"]
    assert _count(network.decoder) == stored["decoder"]
    assert _count(network.decoder.pyramid) == stored["pa"]
    assert _count(network.head) == stored["head"]
    assert [_count(up) for up in network.decoder.ups] == [stored[f"up{n}"] for n in (3, 2, 1) if f"up{n}" in stored]
    assert _shape(network) == stored["heatmap_256"]


@pytest.mark.parametrize("name", HISTORICAL)
def test_pylon_of_the_first_paper(oracle, name):
    stored = oracle["historical_variants_commit_19eda18"][name]
    network = _build(Pylon, HISTORICAL[name])
    assert _count(network) == stored["total"]
    assert _count(network.decoder.pyramid) == stored["pa"]
    assert [_count(up) for up in network.decoder.ups] == [stored[f"up{n}"] for n in (3, 2, 1)]


@pytest.mark.parametrize("name", BASELINES)
def test_baselines(oracle, name):
    network, options = BASELINES[name]
    stored = oracle["baselines"][name]
    built = _build(network, options)
    assert _count(built) == stored["total"]
    assert _count(built) - _count(built.backbone) == stored["rest"]
    assert _shape(built) == stored["heatmap_256"]


def test_shapes_on_the_way(oracle):
    network = _build(Pylon, {})
    for size in (256, 512):
        levels = network.backbone.pyramid(torch.zeros(1, 1, size, size, device="meta"))
        assert [list(level.shape) for level in levels] == oracle[f"encoder_features_{size}"][1:]
        features = network.decoder.pyramid(levels[-1])
        stored = oracle[f"decoder_shapes_{size}"]
        assert list(features.shape) == stored["pa"]
        for name, up, level in zip(("up3", "up2", "up1"), network.decoder.ups, levels[-2::-1], strict=False):
            features = up(level, features)
            assert list(features.shape) == stored[name]


# The specification's derived numbers for volumes (7 x 7 x 7 kernels dominate the pyramid)
@pytest.mark.parametrize(("layers", "decoder"), [(2, 2_577_817), (1, 1_196_185)])
def test_volume_decoder(layers, decoder):
    network = _build(Pylon, {"spatial_dims": 3, "up_layers": layers})
    assert _count(network.backbone) == 46_155_072
    assert _count(network.decoder.pyramid) == 965_657
    assert _count(network.decoder) == decoder
    assert _count(network.head) == 1806
