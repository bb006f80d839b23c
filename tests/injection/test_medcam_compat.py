"""Scripts written for medcam, with one changed line."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import openpyxl
import pytest
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.utils.data import DataLoader

import organcam.medcam_compat as medcam
from organcam.attention import read_attention


class MyCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def dataset(count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(3, 16, 20, generator=generator) for _ in range(count)]


def test_the_example_of_medcams_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Init your model and dataloader
    model = MyCNN()
    data_loader = DataLoader(dataset(), batch_size=1, shuffle=False)

    # Inject model with M3d-CAM
    model = medcam.inject(model, output_dir="attention_maps", save_maps=True)

    # Continue to do what you're doing...
    model.eval()
    for batch in data_loader:
        output = model(batch)

    assert output.shape == (1, 4)
    names = sorted(path.name for path in (tmp_path / "attention_maps" / "features").iterdir())
    assert [name.rsplit("_", 1)[0] for name in names] == [f"attention_map_{call}_0" for call in range(3)]


def test_either_import_is_the_module():
    from organcam.medcam_compat import medcam as other

    assert other.inject is medcam.inject


def test_maps_are_scaled_each_by_itself():
    """medcam gives the second item the first one's range, and NaN beside an empty map."""
    torch.manual_seed(1)
    model = medcam.inject(MyCNN(), layer="features", label=0, replace=True)
    model.eval()
    batch = torch.stack(dataset()) * torch.tensor([1.0, 100.0, 0.0])[:, None, None, None]
    with torch.no_grad():
        model.network.features[0].bias.zero_()
        maps = model(batch)
    assert maps.shape == (3, 1, 16, 20)
    for found in maps[:2]:
        assert found.min() >= 0
        assert found.max() == pytest.approx(1) or found.max() == 0
    assert maps[2].abs().max() == 0


def test_positional_label_and_mask_and_the_workbook(tmp_path):
    model = medcam.inject(MyCNN(), str(tmp_path), layer="features", evaluate=True, metric="ioa", return_score=True)
    model.eval()
    mask = torch.zeros(1, 1, 16, 20)
    mask[..., :10] = 1
    output, scores = model(torch.stack(dataset(1)), 2, mask)
    assert output.shape == (1, 4)
    assert 0 <= scores["features"][0][0] <= 1
    model(torch.stack(dataset(1)))  # without a mask nothing is scored
    model.dump()
    rows = list(openpyxl.load_workbook(tmp_path / "scores.xlsx")["Scores"].values)
    assert rows[1][1:4] == ("features", "2", "ioa")
    assert len(rows) == 2


def test_a_list_of_labels_is_their_sum():
    torch.manual_seed(0)
    network = MyCNN().eval()
    batch = torch.stack(dataset(1))
    options = {"layer": "features", "replace": True}
    with torch.no_grad():
        both = medcam.inject(network, label=[1, 3], **options)(batch)
        network.fc.weight[0] = network.fc.weight[1] + network.fc.weight[3]
        summed = medcam.inject(network, label=0, **options)(batch)
    torch.testing.assert_close(both, summed)


def test_switches_and_words_of_medcam(tmp_path):
    network = MyCNN()
    with pytest.warns(UserWarning, match="no effect|npz files") as told:
        model = medcam.inject(
            network, str(tmp_path), layer="features", save_pickle=True, data_shape=[1], retain_graph=True, cudnn=False
        )
    assert [str(one.message).split()[0] for one in told] == ["data_shape", "retain_graph", "cudnn", "save_pickle:"]
    model.eval()
    model.disable_medcam()
    assert torch.equal(model(torch.stack(dataset(1))), network(torch.stack(dataset(1))))
    model.enable_medcam()
    model.replace_output(True)
    assert model(torch.stack(dataset(1))).shape == (1, 1, 16, 20)
    assert model.get_attention_map().shape == (1, 1, 16, 20)
    assert medcam.get_layers(model) == ["features", "features.0", "features.1", "fc"]
    assert read_attention(tmp_path / "features" / "attention_map_0_0.npz").maps["gradcam"].shape == (1, 8, 10)


def test_volumes_of_a_segmentation_have_the_inputs_size(tmp_path):
    """medcam saves them at the size of the feature map, as bytes, axes turned."""
    torch.manual_seed(0)
    model = medcam.inject(UNet(3, 1, 2, (4, 8), (2,)), str(tmp_path), save_maps=True)
    model.eval()
    with torch.no_grad():
        model(torch.rand(1, 1, 8, 12, 16))
    (path,) = tmp_path.rglob("*.nii.gz")
    image = nib.load(path)
    assert image.shape == (8, 12, 16)
    assert image.get_data_dtype() == np.float32


def test_single_maps_are_scored_and_saved_by_hand(tmp_path):
    evaluator = medcam.Evaluator(str(tmp_path), metric="ioa", threshold=0.5)
    assert evaluator.comp_score(np.array([[1.0, 0.9], [0, 0]]), np.array([[1, 0], [0, 0]]), "conv", 1, "cat") == 0.5
    assert medcam.compute_score(np.array([1.0, 0.9]), np.array([1, 0]), metric="iou", threshold=0.5) == 0.5
    assert (tmp_path / "scores.xlsx") in evaluator.dump()
    assert medcam.save(np.random.rand(5, 6), tmp_path / "one") == tmp_path / "one.png"
    assert nib.load(medcam.save(np.random.rand(1, 4, 5, 6), tmp_path / "two")).shape == (4, 5, 6)
