"""The inferer that asks for attention."""

from __future__ import annotations

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.networks.nets import DenseNet

from organcam.attention import attention_maps
from organcam.handlers import OrganIoUHandler
from organcam.inferers import LogitsAndAttentionInferer
from organcam.losses import ClassAndMaskLoss, MaskLoss


def test_network_is_called_once_with_attention_and_without_metadata():
    calls = []

    def network(x, scale, attention=False):
        calls.append((type(x), scale, attention))
        return {"logits": x.sum((1, 2)), "attention": x * scale}

    out = LogitsAndAttentionInferer()(MetaTensor(torch.ones(2, 1, 3)), network, scale=2)
    assert calls == [(torch.Tensor, 2, True)]
    assert out["attention"].tolist() == torch.full((2, 1, 3), 2.0).tolist()


def test_attention_keeps_its_gradient():
    weight = torch.ones(3, requires_grad=True)
    out = LogitsAndAttentionInferer()(
        torch.ones(1, 3), lambda x, attention: {"logits": x @ weight, "attention": x * weight}
    )
    out["attention"].sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("output", "words"), [(torch.ones(1), "got Tensor"), ({"logits": 1}, r"got \['logits'\]")])
def test_other_outputs_are_refused(output, words):
    with pytest.raises(TypeError, match=words):
        LogitsAndAttentionInferer()(torch.ones(1), lambda x, attention: output)


LAYER = "class_layers.relu"


def densenet() -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(3, 1, 2, init_features=4, growth_rate=4, block_config=(1, 1))


def test_any_networks_layer_gives_attention_that_a_loss_goes_through():
    network, x = densenet().eval(), torch.randn(2, 1, 32, 32, 32)
    out = LogitsAndAttentionInferer(layer=LAYER, times_cells=True)(MetaTensor(x), network)
    expected = attention_maps(network, x, layer=LAYER)
    torch.testing.assert_close(out["logits"], expected.logits)
    torch.testing.assert_close(out["attention"].detach(), expected.values * 4**3, rtol=1e-3, atol=1e-5)
    out["attention"].abs().sum().backward()
    assert network.features.conv0.weight.grad.abs().sum() > 0
    assert network.class_layers.out.weight.grad.abs().sum() > 0
    with torch.no_grad():
        again = LogitsAndAttentionInferer(layer=LAYER)(x, network)
    assert not again["attention"].requires_grad
    with pytest.raises(TypeError, match="must be a module, got function"):
        LogitsAndAttentionInferer(layer=LAYER)(x, lambda x: x)


def test_monais_trainer_and_evaluator_with_mask_loss_and_organ_iou():
    """The mask loss on somebody's network, without a loop of one's own."""
    generator = torch.Generator().manual_seed(0)
    allowed = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    allowed[:, :2] = True
    items = [
        {
            "image": torch.randn(1, 32, 32, 32, generator=generator),
            "label": torch.tensor([float(n % 2), 1.0]),
            "allowed": allowed,
        }
        for n in range(4)
    ]

    def prepare(batch, device, non_blocking=False, **_):
        return batch["image"], {"label": batch["label"], "allowed": batch["allowed"]}

    network = densenet()
    inferer = LogitsAndAttentionInferer(layer=LAYER, times_cells=True)

    def organ_iou() -> float:
        evaluator = SupervisedEvaluator(
            device="cpu",
            val_data_loader=DataLoader(Dataset(items), batch_size=2),
            network=network,
            prepare_batch=prepare,
            inferer=inferer,
            key_val_metric={"organ_iou": OrganIoUHandler(threshold=0.3)},
        )
        evaluator.run()
        return evaluator.state.metrics["organ_iou"]

    before = organ_iou()
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=15,
        train_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        loss_function=ClassAndMaskLoss(MaskLoss(absent="outside"), weight=1.0),
        prepare_batch=prepare,
        inferer=inferer,
        decollate=False,
    )
    trainer.run()
    assert organ_iou() > before + 0.1
