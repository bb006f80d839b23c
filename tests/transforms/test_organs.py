"""Organs and allowed cells inside a MONAI pipeline, for a network that knows nothing of organcam."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DenseNet121
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRanged,
    Spacingd,
)
from torch import nn

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.errors import DataError
from organcam.geometry import FeatureGrid
from organcam.segmentation import segment_organs
from organcam.transforms import AllowedFromOrgans, AllowedRegions, AllowedRegionsd, SegmentOrgans, SegmentOrgansd


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    settings = PhantomSettings(shape=(24, 96, 96))
    made = render_scan(settings, plan_dataset(settings)[0])
    path = tmp_path_factory.mktemp("scan") / "ct.nii.gz"
    nib.save(nib.Nifti1Image(made.hu.astype(np.int16), made.affine), path)
    return path, made


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def test_organs_are_those_of_the_segmentation_and_follow_the_image(scan):
    path, made = scan
    chain = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            SegmentOrgansd(),
            Orientationd(("image", "organs"), "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacingd(("image", "organs"), (4.0, 4.0, 8.0), mode=("bilinear", "nearest")),
            ScaleIntensityRanged("image", -1000, 600, 0, 1),
            ResizeWithPadOrCropd(("image", "organs"), (64, 64, 32)),
            AllowedRegionsd(
                network=small(), layer="1", input_shape=[1, 64, 64, 32], labels=["lung_nodule", "heart_stent"]
            ),
        ]
    )
    item = chain({"image": str(path)})
    image = Compose(chain.transforms[:2])({"image": str(path)})["image"]
    np.testing.assert_array_equal(image[0], made.hu.astype(np.int16))
    expected = segment_organs(image[0].numpy(), affine=image.affine.numpy()).labels
    np.testing.assert_array_equal(SegmentOrgans()(image)[0], expected)
    assert torch.equal(item["organs"].affine, item["image"].affine)
    air = item["image"][0][(item["organs"][0] == 1) | (item["organs"][0] == 2)]
    rest = item["image"][0][item["organs"][0] == 3]
    assert air.mean() < rest.mean() - 0.3
    assert item["allowed"].shape == (2, 8, 8, 4)
    assert item["allowed"].dtype == torch.bool
    assert item["allowed"].flatten(1).any(1).all()
    assert not torch.equal(item["allowed"][0], item["allowed"][1])


def test_cells_are_where_the_layer_looks():
    organs = np.zeros((64, 64, 32), np.uint8)
    organs[8:24, :16] = 2
    allowed = AllowedRegions(small(), "1", (1, 64, 64, 32), [["left_lung"], ["right_lung", "heart_mediastinum"]])
    assert allowed.grid == FeatureGrid((8, 8, 4), (8,) * 3, (3.5,) * 3, (8,) * 3, (64, 64, 32))
    found = allowed(organs[None])
    expected = torch.zeros(2, 8, 8, 4, dtype=torch.bool)
    expected[0, 1:3, :2] = True
    assert torch.equal(found, expected)
    bits = torch.tensor([[0, 1, 0], [1, 0, 1]])
    assert torch.equal(AllowedFromOrgans(allowed.grid)(torch.from_numpy(organs), bits), expected)


def test_a_real_network_from_yaml_scalars():
    config = {
        "network": {
            "_target_": "monai.networks.nets.DenseNet121",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 1,
        },
        "allowed": {
            "_target_": "organcam.transforms.AllowedRegionsd",
            "network": "@network",
            "layer": "features.denseblock3",
            "input_shape": [1, 64, 64, 64],
            "labels": ["lung_mass"],
        },
    }
    transform = ConfigParser(config).get_parsed_content("allowed")
    assert isinstance(ConfigParser(config).get_parsed_content("network"), DenseNet121)
    organs = torch.ones(1, 64, 64, 64, dtype=torch.uint8)
    assert transform({"organs": organs})["allowed"].shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("labels", "words"),
    [(["lung_nodul"], "did you mean 'lung_nodule'"), ([["left_lugn"]], "did you mean 'left_lung'")],
)
def test_unknown_labels_and_organs_are_refused(labels, words):
    with pytest.raises(ValueError, match=words):
        AllowedRegions(small(), "1", (1, 64, 64, 32), labels)


def test_another_layer_shape_or_size_is_refused():
    with pytest.raises(ValueError, match="no feature grid"):
        AllowedRegions(small(), "3", (1, 64, 64, 32), ["lung_mass"])
    with pytest.raises(ValueError, match=r"\[C, D, H, W\]"):
        AllowedRegions(small(), "1", (64, 64, 32), ["lung_mass"])
    allowed = AllowedRegions(small(), "1", (1, 64, 64, 32), ["lung_mass"])
    with pytest.raises(ValueError, match="behind all spatial transforms"):
        allowed(torch.zeros(1, 32, 64, 64, dtype=torch.uint8))


def test_scaled_intensities_are_told_with_the_file(scan):
    path, _ = scan
    chain = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            ScaleIntensityRanged("image", -1000, 600, 0, 1),
            SegmentOrgansd(),
        ]
    )
    with pytest.raises(RuntimeError) as told:
        chain({"image": str(path)})
    assert isinstance(told.value.__cause__, DataError)
    assert "ct.nii.gz" in str(told.value.__cause__)
    assert "before intensities are scaled" in str(told.value.__cause__)
    with pytest.raises(ValueError, match="needs a MetaTensor"):
        SegmentOrgans()(np.zeros((1, 8, 8, 8)))
