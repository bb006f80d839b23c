"""What does not fit together is told in one sentence with the key or file to mend, and trains nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from organcam.errors import ConfigError, OrganCamError
from organcam.networks import NETWORKS, AxialNet
from organcam.runner import read_failures
from organcam.stages.explain import load_model
from organcam.stages.readiness import unready
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SHAPE = (24, 64, 64)
SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.interventions=0",
    "input.shape=[24,64,64]",
    "labels.names=[lung_nodule, lung_mass, heart_cardiomegaly]",
    "labels.min_positives=0",
    "train.epochs=1",
    "train.parallel=false",
    "models={m: {}}",
    "explain.splits=[valid]",
)
SMALL = {"backbone": "small", "head_channels": [4], "head_kernel": 1}


class OneTooMany(AxialNet):
    """Has an output more than it was asked for."""

    def __init__(self, num_labels: int = 80, *, input_shape=SHAPE):
        super().__init__(num_labels + 1, input_shape=input_shape, **SMALL)


class ColumnShort(AxialNet):
    """Its maps lack a column of the grid that it tells of."""

    def __init__(self, num_labels: int = 80, *, input_shape=SHAPE):
        super().__init__(num_labels, input_shape=input_shape, **SMALL)

    def forward(self, x, attention=False):
        out = super().forward(x, attention)
        return {**out, "attention": out["attention"][..., 1:]} if attention else out


class OfAnotherSize(AxialNet):
    """Takes volumes of one size, whatever it is asked for."""

    def __init__(self, num_labels: int = 80, *, input_shape=SHAPE):
        super().__init__(num_labels, input_shape=(24, 96, 96), **SMALL)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to the stored volumes: two training scans, two validation scans."""
    out = tmp_path_factory.mktemp("run")
    workflow = load_workflow("phantom", [*SETTINGS, "phantom.scans={train: 2, valid: 2}"])
    run_workflow(workflow, out, executor="serial", stages=("phantom", "ingest", "parse", "segment", "store"))
    return out


def trained(prepared: Path, *settings: str) -> list[str]:
    """Notes and reasons of the train stage."""
    workflow = load_workflow("phantom", [*SETTINGS, "phantom.scans={train: 2, valid: 2}", *settings])
    outcome = run_workflow(workflow, prepared, executor="serial", stages=("regions", "train"))
    train = outcome.summaries[-1]
    assert [failure.reason for failure in train.failures] == [
        failure.reason for failure in read_failures(prepared) if failure.stage == "train"
    ]
    return [*train.notes, *(failure.reason for failure in train.failures)]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OneTooMany, "network: OneTooMany gives 4 outputs for the 3 labels of this training: take num_labels for it"),
        (
            ColumnShort,
            "network: ColumnShort gives attention of 8 x 8 x 7 cells, but the regions were laid on 8 x 8 x 8: its "
            "feature_grid and its maps must agree",
        ),
    ],
)
def test_a_network_that_does_not_fit_labels_or_regions(prepared, monkeypatch, kind, words):
    monkeypatch.setitem(NETWORKS._builders, "odd", kind)
    told = trained(prepared, "network={name: odd}", "models={m: {mask_loss: {weight: 1}}}")
    assert words in told
    assert not any("Traceback" in line or "ValueError" in line for line in told)


def test_a_network_for_volumes_of_another_size_is_refused_before_anything_runs(prepared, monkeypatch):
    monkeypatch.setitem(NETWORKS._builders, "odd", OfAnotherSize)
    workflow = load_workflow("phantom", [*SETTINGS, "phantom.scans={train: 2, valid: 2}", "network={name: odd}"])
    words = "input.shape: odd is built for 24 x 96 x 96 voxels, the workflow gives 24 x 64 x 64"
    assert list(unready(workflow, ("regions",))) == [words]
    with pytest.raises(ConfigError, match=words):
        run_workflow(workflow, prepared, executor="serial", stages=("regions",))


def test_labels_that_validation_cannot_judge_are_named(prepared):
    told = trained(prepared, "network={name: axialnet, backbone: small}", "labels.names=[lung_nodule, heart_stent]")
    [note] = [line for line in told if "validation scan" in line]
    assert "heart_stent" in note
    assert note.startswith("no validation scan has, or every one has, ")
    assert note.endswith("(data.splits, data.fractions)")


def test_an_empty_split_names_file_and_key(prepared, tmp_path):
    manifest = pd.read_csv(prepared / "manifest.csv")
    splits = tmp_path / "splits.csv"
    manifest.assign(split="train")[["scan_id", "split"]].to_csv(splits, index=False)
    folder = prepared / "phantom"
    settings = [setting for setting in SETTINGS if not setting.startswith("phantom.")]
    settings += [f"data.images={folder / 'images'}", f"data.reports={folder / 'reports.csv'}", "phantom=null"]
    workflow = load_workflow("phantom", [*settings, f"data.splits={splits}"])
    with pytest.raises(OrganCamError, match=rf"the split valid is empty \(train 4, valid 0 scans\): mend {splits} \("):
        run_workflow(workflow, tmp_path / "run", executor="serial")
    workflow = load_workflow("phantom", [*settings, "data.fractions={train: 0.7, valid: 0.3}", "data.only_listed=true"])
    with pytest.raises(ConfigError, match="data.only_listed: not one of 4 scans has a split"):
        run_workflow(workflow, tmp_path / "none", executor="serial")


def test_a_model_of_another_network_or_other_labels_is_refused_in_words(tmp_path):
    torch.manual_seed(0)
    network = AxialNet(3, input_shape=SHAPE, **SMALL)
    options = {"name": "axialnet", **SMALL}
    state = {
        "weights": network.state_dict(),
        "labels": ["a", "b", "c"],
        "network": options,
        "input": {"shape": list(SHAPE)},
        "grid": network.feature_grid(SHAPE).to_dict(),
    }
    path = tmp_path / "model.pt"

    def told(**changed):
        torch.save({key: value for key, value in {**state, **changed}.items() if value is not None}, path)
        load_model.cache_clear()
        try:
            load_model(path, "cpu")
        except OrganCamError as error:
            return str(error)
        return ""

    assert told() == ""
    other = "its weights are not those of the network"
    assert told(labels=["a", "b"]) == (
        f"{path}: {other} axialnet with 2 labels that it names: fc.weight is missing or of another shape"
    )
    assert f"{other} pylon with 3 labels" in told(network={"name": "pylon", "backbone": "small"})
    assert told(weights={**state["weights"], "more": torch.zeros(1)}).endswith("that it names: more is unknown")
    assert told(labels=None) == f"{path}: not a model of organcam train: it has no 'labels'"
    path.write_bytes(b"PK")
    load_model.cache_clear()
    with pytest.raises(OrganCamError, match="not a readable model"):
        load_model(path, "cpu")
