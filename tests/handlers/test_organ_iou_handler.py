"""OrganIoU inside MONAI's evaluators: with and without decollation, attention from the inferer or computed here."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from torch import Tensor, nn

from organcam.geometry import Layer, grid_of_layers
from organcam.handlers import OrganIoUHandler, PairMetricHandler
from organcam.inferers import LogitsAndAttentionInferer
from organcam.metrics import EnergyPointing, PointingAccuracy, pointing_accuracy


class TinySlabs(nn.Module):
    """One convolution per slab, one linear layer over its cells, mean over slabs."""

    input_layout, input_shape, attention_layer, call_order = "slabs", (9, 8, 8), "features", "items"

    def __init__(self, labels: int = 2) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU())
        self.fc = nn.Conv2d(4, labels, 2)

    def linear_head(self, x: Tensor) -> None:
        """Left out, so that the gradients are walked."""

    def feature_grid(self, input_shape):
        return grid_of_layers(input_shape, ([Layer(3, 3)], [Layer(4, 4)], [Layer(4, 4)]))

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        z = self.features(x.flatten(0, 1))
        logits = self.fc(z).flatten(1).unflatten(0, x.shape[:2]).mean(1)
        if not attention:
            return logits
        maps = torch.einsum("nfhw,mfhw->nmhw", z, self.fc.weight).unflatten(0, x.shape[:2]).transpose(1, 2)
        return {"logits": logits, "attention": maps}


def scans(count: int = 5) -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.rand(3, 3, 8, 8, generator=generator),
            "label": torch.tensor([1.0, float(i % 2)]),
            "allowed": torch.rand(2, 3, 2, 2, generator=generator) < 0.5,
        }
        for i in range(count)
    ]


def prepare_batch(batch, device, non_blocking=False, **_):
    return batch["image"], {"label": batch["label"], "allowed": batch["allowed"]}


def expected(network: nn.Module, threshold: float, slabs: int = 1) -> float:
    """Counted cell by cell: the allowed share of the lit cells, over all present labels."""
    scores = []
    for scan in scans():
        with torch.no_grad():
            attention = network(scan["image"][None], attention=True)["attention"][0] / slabs
        for label in (0, 1):
            if scan["label"][label]:
                positive = [max(value, 0.0) for value in attention[label].flatten().tolist()]
                low, high = min(positive), max(positive)
                lit = [high > low and (value - low) / (high - low) > threshold for value in positive]
                inside = [on and bool(ok) for on, ok in zip(lit, scan["allowed"][label].flatten(), strict=True)]
                scores.append(sum(inside) / sum(lit) if any(lit) else 0.0)
    return sum(scores) / len(scores)


@pytest.mark.parametrize("decollate", [True, False])
def test_maps_of_the_inferer_are_scored(decollate):
    torch.manual_seed(0)
    network = TinySlabs()
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(scans()), batch_size=2),
        network=network,
        prepare_batch=prepare_batch,
        inferer=LogitsAndAttentionInferer(),
        key_val_metric={"organ_iou": OrganIoUHandler(threshold=0.3)},
        decollate=decollate,
    )
    for _ in range(2):  # a second run starts anew
        evaluator.run()
        assert evaluator.state.metrics["organ_iou"] == pytest.approx(expected(network, 0.3))
    details = evaluator.state.metric_details["organ_iou"]
    assert details.shape == (5, 2)
    assert details[:, 1].isnan().tolist() == [True, False, True, False, True]


def test_maps_are_computed_where_the_evaluator_gives_none():
    torch.manual_seed(0)
    network = TinySlabs()
    network.train()
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(scans()), batch_size=2),
        network=network,
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        key_val_metric={"organ_iou": OrganIoUHandler(threshold=0.3, network=network)},
    )
    evaluator.run()
    assert evaluator.state.metrics["organ_iou"] == pytest.approx(expected(network, 0.3, slabs=3))
    assert network.training


def test_yaml_scalars_are_enough():
    config = {
        "metric": {
            "_target_": "organcam.handlers.OrganIoUHandler",
            "threshold": [0.1, 0.2],
            "fidelity": "reference",
            "reduction": "mean_batch",
        }
    }
    handler = ConfigParser(config).get_parsed_content("metric")
    assert isinstance(handler, OrganIoUHandler)
    metric = handler.metric_fn
    assert (metric.fidelity, metric.reduction) == ("reference", "mean_batch")
    # half of the maximum is above both thresholds; one of two lit cells is allowed, then both, which counts 0
    maps = torch.tensor([[[4.0, 2.0, 0.0], [4.0, 0.6, 0.0]]])
    scores = metric(maps, torch.tensor([[[1, 0, 0], [1, 0, 0]]]), labels=torch.ones(1, 2))
    assert scores.tolist() == [[0.5, 0.0]]  # 0.6 is lit above 0.1 and not above 0.2 of 4


def test_missing_entry_is_named():
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(scans()), batch_size=2),
        network=TinySlabs(),
        key_val_metric={"organ_iou": OrganIoUHandler()},
    )
    with pytest.raises(KeyError, match=r"'attention'.*LogitsAndAttentionInferer"):
        evaluator.run()


def test_unknown_rule_is_refused_at_once():
    with pytest.raises(ValueError, match="fidelity='two'"):
        OrganIoUHandler(fidelity="two")


def test_any_metric_of_maps_runs_beside_it():
    torch.manual_seed(0)
    network = TinySlabs()
    pointing = PairMetricHandler(PointingAccuracy(), mask_key="allowed")
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(scans()), batch_size=2),
        network=network,
        prepare_batch=prepare_batch,
        inferer=LogitsAndAttentionInferer(),
        key_val_metric={"pointing": pointing},
        additional_metrics={"energy": PairMetricHandler(EnergyPointing(), mask_key="allowed", save_details=False)},
    )
    evaluator.run()
    hits = []
    for scan in scans():
        attention = network(scan["image"][None], attention=True)["attention"].detach()
        hit = pointing_accuracy(attention, scan["allowed"][None])[0]
        hits += [hit[label].item() for label in (0, 1) if scan["label"][label]]
    assert evaluator.state.metrics["pointing"] == pytest.approx(sum(hits) / len(hits))
    assert 0 < evaluator.state.metrics["energy"] < 1
