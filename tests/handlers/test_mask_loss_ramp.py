"""The mask loss's weight during a real training."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import nn

from organcam.handlers import MaskLossRamp
from organcam.inferers import LogitsAndAttentionInferer
from organcam.losses import ClassAndMaskLoss, MaskLoss


class OneConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv3d(1, 2, 1)

    def forward(self, x, attention=False):
        maps = self.maps(x)
        logits = maps.mean((2, 3, 4))
        return {"logits": logits, "attention": maps} if attention else logits


def trained(fraction: float, epochs: int = 4, start: int = 0) -> tuple[list[float], list[float], ClassAndMaskLoss]:
    """Weights seen by the loss at each iteration, those after each epoch, and the loss."""
    items = [
        {"image": torch.rand(1, 2, 2, 2), "label": torch.tensor([1.0, 0.0]), "allowed": torch.ones(2, 2, 2, 2)}
        for _ in range(5)
    ]
    network, loss = OneConvolution(), ClassAndMaskLoss(MaskLoss(), weight=8.0)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=loss,
        prepare_batch=lambda batch, *_, **__: (batch["image"], {k: batch[k] for k in ("label", "allowed")}),
        inferer=LogitsAndAttentionInferer(),
        train_handlers=[MaskLossRamp(loss, fraction)],
        decollate=False,
    )
    seen: list[float] = []
    between: list[float] = []
    trainer.add_event_handler(IterationEvents.LOSS_COMPLETED, lambda _: seen.append(loss.weight))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: between.append(loss.weight))
    if start:
        trainer.load_state_dict({"epoch_length": 5, "max_epochs": epochs, "iteration": start})
    trainer.run()
    return seen, between, loss


def test_weight_rises_linearly_over_the_fraction_and_stays():
    seen, between, loss = trained(fraction=0.5)
    assert seen[:11] == pytest.approx([0.8 * i for i in range(11)])
    assert seen[10:] == [8.0] * 10
    assert between == [8.0] * 4  # validation between epochs sees the final loss
    assert loss.weight == 8.0


def test_without_fraction_there_is_no_ramp():
    assert trained(fraction=0)[0] == [8.0] * 20


def test_resumed_training_goes_on_where_it_was():
    whole, resumed = trained(fraction=0.5)[0], trained(fraction=0.5, start=5)[0]
    assert resumed == pytest.approx(whole[5:])


def test_validation_in_the_middle_of_an_epoch_sees_the_final_weight():
    loss = ClassAndMaskLoss(MaskLoss(), weight=8.0)
    engine, seen = Engine(lambda *_: None), []
    MaskLossRamp(loss, 1.0).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda _: seen.append(loss.weight))
    engine.run([0] * 4, max_epochs=1)
    assert seen == [8.0, 8.0]


def test_a_loss_without_weight_is_refused():
    with pytest.raises(ValueError, match="BCEWithLogitsLoss has no weight"):
        MaskLossRamp(nn.BCEWithLogitsLoss())


def test_fraction_outside_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 30"):
        MaskLossRamp(ClassAndMaskLoss(MaskLoss()), fraction=30)
