"""Training of one candidate as the stage runs it: what the workflow says reaches the training, and what is written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from organcam.candidates import Candidate
from organcam.config import InputConfig
from organcam.contract import contract_of
from organcam.data.network_input import grid_key
from organcam.data.region_store import write_regions
from organcam.data.volume_store import read_stored, write_stored
from organcam.errors import ConfigError
from organcam.geometry import FeatureGrid
from organcam.plugins import ATTENTION_LOSSES
from organcam.runner import StageSpec, Unit, make_executor, run_stage
from organcam.stages.grids import build_model
from organcam.stages.train import TrainingData, _control, _judged, train_candidate

SHAPE = (6, 16, 16)
NETWORK = {"name": "axialnet", "backbone": "small", "head": "registered", "head_channels": [4], "head_kernel": 1}
SHOWN = InputConfig(shape=SHAPE)


@pytest.fixture
def payload(tmp_path: Path) -> dict[str, Any]:
    """Four scans in each split; every second one has label 0, in the right lung, with a bright block to see.

    The right lung is the left half of the cells, the left lung the other half; label 1 is never present.
    """
    grid = contract_of(build_model(NETWORK, SHOWN, 2)).feature_grid(SHAPE)
    regions = np.zeros((7, *grid.shape), dtype=bool)
    half = grid.shape[2] // 2
    regions[0, ..., :half], regions[1, ..., half:], regions[2] = True, True, True
    with (tmp_path / "regions.npz").open("wb") as stream:
        write_regions(stream, {grid_key(grid): regions})
    rng, items = np.random.default_rng(0), []
    for number in range(8):
        present = number % 2
        volume = rng.normal(-800, 20, SHAPE).astype(np.int16)
        if present:
            volume[2:4, 4:8, 2:6] = 300
        write_stored(tmp_path / f"{number}.b2nd", volume)
        items.append(
            {
                "scan_id": str(number),
                "split": "train" if number < 4 else "valid",
                "label": [present, 0],
                "places": [[present, 0, 0], [0, 0, 0]],
                "image": str(tmp_path / f"{number}.b2nd"),
                "regions": str(tmp_path / "regions.npz"),
            }
        )
    return {
        "items": items,
        "labels": ["seen", "never"],
        "weight": None,
        "network": NETWORK,
        "mask_loss": None,
        "train": {"epochs": 4, "batch_size": 4, "schedule": "constant", "learning_rate": 1e-12},
        "runtime": {"device": "cpu"},
        "input": SHOWN.model_dump(mode="json"),
        "seed": 3,
        "grid": grid.to_dict(),
        "made_for": "key",
    }


def trained(folder: Path, payload: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Details and training curve."""
    result = run_stage(
        StageSpec("train", 1, folder, train_candidate), [Unit("c", {}, payload)], make_executor("serial")
    )
    assert not result.failed, result.failed
    return result.done["c"]["details"], pd.read_csv(folder / "c.csv")


class One(nn.Module):
    """1, whatever the attention; keeps what it was asked with."""

    def __init__(self, seen: list) -> None:
        super().__init__()
        self.seen = seen

    def forward(self, attention, allowed, labels):
        self.seen.append((allowed.bool().clone(), labels.clone()))
        return 1.0 + 0.0 * attention.sum()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list:
    found: list = []
    monkeypatch.setitem(ATTENTION_LOSSES._builders, "one", lambda **_: One(found))
    return found


def test_weight_and_ramp_of_the_workflow_reach_the_loss(tmp_path, payload, seen):
    """The network hardly moves, and the loss on attention is 1: what changes from epoch to epoch is its weight.

    A ramp over half of four epochs of one iteration: 0, 1/2, 1, 1 of the weight; validation has the whole of it.
    """
    asked = {**payload, "weight": 8.0, "mask_loss": {"form": "one", "ramp": 0.5}}
    _, curve = trained(tmp_path / "m", asked)
    steps = curve["train_loss"] - curve["train_loss"][0]
    np.testing.assert_allclose(steps, [0, 4, 8, 8], atol=1e-4)
    _, plain = trained(tmp_path / "plain", payload)
    np.testing.assert_allclose(curve["valid_loss"] - plain["valid_loss"], 8, atol=1e-4)
    np.testing.assert_allclose(curve["train_loss"][0], plain["train_loss"][0], atol=1e-4)


def test_absent_labels_are_allowed_where_they_could_lie(tmp_path, payload, seen):
    """Where the loss asks for it: label 1, which is never present, could lie in the left lung only."""
    asked = {
        **payload,
        "weight": 1.0,
        "mask_loss": {"form": "one"},
        "possible_places": [[1, 1, 0], [0, 1, 0]],
    }
    asked["train"] = {**payload["train"], "epochs": 1}
    trained(tmp_path / "m", asked)
    allowed, labels = seen[-1]  # validation, in the order of the scans
    assert labels.tolist() == [[0, 0], [1, 0], [0, 0], [1, 0]]
    half = allowed.shape[-1] // 2
    assert allowed[1, 0, ..., :half].all()
    assert not allowed[1, 0, ..., half:].any()  # present in the right lung: nowhere else
    assert allowed[0, 0].all()  # absent: both lungs are possible
    assert allowed[:, 1, ..., half:].all()
    assert not allowed[:, 1, ..., :half].any()
    seen.clear()
    del asked["possible_places"]
    trained(tmp_path / "without", asked)
    assert not seen[-1][0][:, 1].any()


def class_loss(
    weights: dict[str, torch.Tensor], payload: dict[str, Any], split: str = "valid", of_present_alone: bool = False
) -> float:
    """Cross-entropy of the scans of a split, read, windowed and stacked by hand; of all labels or the present ones."""
    network = build_model(NETWORK, SHOWN, 2).train(split == "train")
    network.load_state_dict(weights)
    items = [item for item in payload["items"] if item["split"] == split]
    hu = np.stack([read_stored(Path(item["image"])) for item in items]).astype(np.float64)
    x = torch.from_numpy((np.clip(hu, -1000, 800) + 1000) / 1800 - 0.449).float().reshape(4, 2, 3, 16, 16)
    with torch.no_grad():
        logits = network(x)
    labels = torch.tensor([item["label"] for item in items], dtype=torch.float32)
    terms = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (terms * labels if of_present_alone else terms).mean().item()


FIGURES = ["valid_auroc_median", "valid_organ_iou"]


@pytest.fixture
def wavering(tmp_path, payload) -> dict[str, Any]:
    """A training with a learning rate far too high, whose best epoch is another than the last, with other figures."""
    payload["train"] = {**payload["train"], "epochs": 8, "learning_rate": 0.3}
    for seed in (3, 5, 8, 2, 1):
        _, curve = trained(tmp_path / f"seed{seed}", {**payload, "seed": seed})
        best = curve.loc[curve["valid_loss"].idxmin()]
        if (best[FIGURES] != curve.iloc[-1][FIGURES]).all():
            return {**payload, "seed": seed}
    pytest.fail("every seed's last epoch is as good as its best")


@pytest.mark.parametrize("keep", ["best", "last"])
def test_weights_figures_and_curve_are_of_the_same_epoch(tmp_path, wavering, keep):
    wavering["train"] = {**wavering["train"], "keep": keep}
    details, curve = trained(tmp_path / "m", wavering)
    row = curve.loc[curve["valid_loss"].idxmin()] if keep == "best" else curve.iloc[-1]
    assert details["epochs"] == len(curve) == 8
    assert details["organ_iou"] == pytest.approx(row["valid_organ_iou"])
    assert details["auroc_median"] == pytest.approx(row["valid_auroc_median"])
    state = torch.load(tmp_path / "m" / "c.pt", weights_only=True)
    assert state["labels"] == ["seen", "never"]
    assert class_loss(state["weights"], wavering) == pytest.approx(row["valid_loss"], rel=1e-4)


def test_a_candidate_is_judged_under_its_own_weight_and_settings():
    details = {"labels": ["a"], "epochs": 3, "auroc_median": 0.75, "organ_iou": 0.5}
    assert _judged(Candidate("m", 5.0, (("weight_decay", 0.01),)), {"details": details}) == {
        "id": "m-weight-5-weight_decay-0.01",
        "weight": 5.0,
        "weight_decay": 0.01,
        "auroc_median": 0.75,
        "organ_iou": 0.5,
    }


def test_only_the_training_scans_are_turned(tmp_path, payload, seen):
    """In validation the right lung stays in the left half; in training it is sometimes elsewhere."""
    asked = {**payload, "weight": 1.0, "mask_loss": {"form": "one"}, "train": {**payload["train"], "augment": True}}
    trained(tmp_path / "m", asked)
    training, validation = ([allowed for allowed, _ in calls] for calls in (seen[::2], seen[1::2]))
    half = validation[0].shape[-1] // 2
    for allowed in validation:
        assert torch.equal(allowed, validation[0])
        assert allowed[[1, 3], 0, ..., :half].all()
        assert not allowed[[1, 3], 0, ..., half:].any()
    assert len({tuple(allowed.flatten().tolist()) for allowed in training}) > 1


def test_rare_labels_weigh_more_where_asked(tmp_path, payload):
    """Label 0 is in one of four training scans: a present one counts three times."""
    for item in payload["items"][:3]:
        item["label"] = [0, 0]
    payload["train"] = {**payload["train"], "epochs": 1}
    _, plain = trained(tmp_path / "plain", payload)
    payload["train"]["positive_weights"] = True
    _, curve = trained(tmp_path / "m", payload)
    weights = torch.load(tmp_path / "m" / "c.pt", weights_only=True)["weights"]
    present = class_loss(weights, payload, of_present_alone=True)
    assert present > 0.1
    assert curve["valid_loss"][0] - plain["valid_loss"][0] == pytest.approx(2 * present, rel=1e-4)


def test_two_phases_train_the_head_and_then_everything_from_its_best_weights(tmp_path, payload):
    torch.manual_seed(payload["seed"])
    start = build_model(NETWORK, SHOWN, 2).state_dict()
    payload["train"] = {**payload["train"], "epochs": 2, "head_epochs": 8, "learning_rate": 0.1}
    details, curve = trained(tmp_path / "m", payload)
    assert curve["phase"].tolist() == 8 * ["head"] + 2 * ["all"]
    assert details["epochs"] == 10
    folder = tmp_path / "m" / "c.checkpoints"
    head = torch.load(folder / "head" / "checkpoint_8.pt", weights_only=True)
    frozen = [name for name, value in start.items() if name.startswith("backbone") and "running" not in name]
    for name in [name for name in frozen if not name.endswith("tracked")]:
        assert torch.equal(head["network"][name], start[name]), name
    assert not torch.equal(head["network"]["backbone.bn1.running_mean"], start["backbone.bn1.running_mean"])
    assert not torch.equal(head["network"]["fc.weight"], start["fc.weight"])
    best = head["progress"]["best"]
    assert not torch.equal(best["fc.weight"], head["network"]["fc.weight"])  # the rate is too high: another epoch
    assert curve["train_loss"][8] == pytest.approx(class_loss(best, payload, "train"), rel=1e-4)
    state = torch.load(tmp_path / "m" / "c.pt", weights_only=True)["weights"]
    assert not torch.equal(state["backbone.conv1.weight"], start["backbone.conv1.weight"])


def test_a_training_starts_from_another_model(tmp_path, payload):
    payload["train"] = {**payload["train"], "epochs": 1, "learning_rate": 1e-2}
    trained(tmp_path / "source", payload)
    source = tmp_path / "source" / "c.pt"
    state = torch.load(source, weights_only=True)["weights"]
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    payload["train"] |= {"learning_rate": 1e-12, "start_from": f"{source}#sha256={digest}"}
    payload["seed"] = 4
    details, _ = trained(tmp_path / "same", payload)
    assert details["fresh"] == []
    found = torch.load(tmp_path / "same" / "c.pt", weights_only=True)["weights"]
    torch.testing.assert_close(found["fc.weight"], state["fc.weight"])
    torch.testing.assert_close(found["backbone.conv1.weight"], state["backbone.conv1.weight"])
    # as many labels, but others: their outputs say nothing of ours
    details, _ = trained(tmp_path / "other", {**payload, "labels": ["seen", "elsewhere"]})
    assert details["fresh"] == ["fc.weight", "fc.bias"]
    payload["train"]["start_from"] = f"{source}#sha256={'0' * 64}"
    result = run_stage(
        StageSpec("train", 1, tmp_path / "bad", train_candidate), [Unit("c", {}, payload)], make_executor("serial")
    )
    [failure] = result.failed
    assert "c.pt' are damaged or another file: their SHA-256 is not 000" in failure.reason


@pytest.fixture
def own_regions(tmp_path, payload) -> dict[str, Any]:
    """Every scan's right lung is another column of cells: of scan n column n modulo 4; label 0 lies there."""
    payload["input"] = InputConfig(shape=(6, 16, 64)).model_dump(mode="json")
    grid = contract_of(build_model(NETWORK, InputConfig(shape=(6, 16, 64)), 2)).feature_grid((6, 16, 64))
    assert grid.shape[2] >= 4
    for number, item in enumerate(payload["items"]):
        regions = np.zeros((7, *grid.shape), dtype=bool)
        regions[0, ..., number % 4] = True
        regions[3] = ~regions[0]  # heart and mediastinum
        item["regions"] = str(tmp_path / f"own{number}.npz")
        with Path(item["regions"]).open("wb") as stream:
            write_regions(stream, {grid_key(grid): regions})
        write_stored(Path(item["image"]), np.full((6, 16, 64), number, np.int16))
        item["label"], item["places"] = [1, 0], [[1, 0, 0], [0, 0, 0]]
    return {
        **payload,
        "grid": grid.to_dict(),
        "weight": 1.0,
        "mask_loss": {"form": "one"},
        "train": {**payload["train"], "epochs": 1},
    }


def allowed_columns(seen: list, call: int) -> list[list[int]]:
    """Columns of cells that each scan's label 0 is allowed in, which must be whole ones."""
    columns = []
    for cells in seen[call][0][:, 0]:
        assert torch.equal(cells.any(dim=(0, 1)), cells.all(dim=0).all(dim=0))
        columns.append(cells[0, 0].nonzero().flatten().tolist())
    return columns


@pytest.mark.parametrize(
    ("control", "columns"),
    [
        (None, [[0], [1], [2], [3]]),
        ({"name": "permuted", "lenders": {"0": "2", "1": "3", "2": "1", "3": "0"}}, [[2], [3], [1], [0]]),
        ({"name": "atlas"}, [[0]] * 4),
    ],
)
def test_a_control_takes_the_place_of_own_masks_in_training_alone(tmp_path, own_regions, seen, control, columns):
    """Where two of four scans share a column, that one is the atlas: as many cells as a scan has."""
    if control == {"name": "atlas"}:
        own_regions["items"][1]["regions"] = own_regions["items"][0]["regions"]
    asked = own_regions if control is None else {**own_regions, "control": control}
    trained(tmp_path / "m", asked)
    assert sorted(allowed_columns(seen, 0)) == sorted(columns)
    assert allowed_columns(seen, 1) == [[0], [1], [2], [3]]  # validation


def test_shuffled_masks_have_as_many_cells_elsewhere(tmp_path, own_regions, seen):
    trained(tmp_path / "m", {**own_regions, "control": {"name": "shuffled"}})
    training, validation = (seen[call][0][:, 0].flatten(1) for call in (0, 1))
    assert training.sum(1).tolist() == validation.sum(1).tolist()
    assert len({tuple(cells.tolist()) for cells in training}) == 4
    grid = validation[0].reshape(seen[1][0].shape[2:])
    assert not torch.equal(training[0].reshape(grid.shape).any(dim=(0, 1)), grid.any(dim=(0, 1)))
    assert allowed_columns(seen, 1) == [[0], [1], [2], [3]]


def test_swapped_masks_are_of_the_other_organs(tmp_path, own_regions, seen):
    for item in own_regions["items"]:
        item["places"] = [[1, 1, 0], [0, 0, 0]]
        regions = np.zeros((7, *own_regions["grid"]["shape"]), dtype=bool)
        regions[[0, 2], ..., 0], regions[3, ..., 3] = True, True
        with Path(item["regions"]).open("wb") as stream:
            write_regions(stream, {grid_key(FeatureGrid.from_dict(own_regions["grid"])): regions})
    trained(tmp_path / "m", {**own_regions, "control": {"name": "swapped"}})
    assert allowed_columns(seen, 0) == [[3]] * 4
    assert allowed_columns(seen, 1) == [[0]] * 4
    assert not seen[0][0][:, 1].any()  # absent, and allowed nowhere


def test_lenders_are_training_scans_of_other_patients():
    items = [{"scan_id": name, "split": split} for name, split in zip("abcdv", [*["train"] * 4, "valid"], strict=True)]
    data = TrainingData(items, [], {}, [], {"a": "one", "b": "one", "c": "two", "d": "three", "v": "four"})
    found = _control("m", "permuted", data, seed=0)
    assert sorted(found["lenders"]) == sorted(found["lenders"].values()) == ["a", "b", "c", "d"]
    assert {found["lenders"]["a"], found["lenders"]["b"]} == {"c", "d"}
    assert _control("m", "atlas", data, seed=0) == {"name": "atlas"}
    data.patients["c"] = "one"
    with pytest.raises(ConfigError, match=r"models\.m\.mask_loss\.control: permuted: .* one has 3 of 4"):
        _control("m", "permuted", data, seed=0)
