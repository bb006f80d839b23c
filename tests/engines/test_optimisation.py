"""The optimisers as they are described."""

import pytest
import torch
from torch import nn

from organcam.config import TrainConfig
from organcam.engines.optimisation import make_optimizer, make_schedule


def over_training(**options) -> list[dict]:
    """The optimiser's settings at each of 20 iterations."""
    settings = TrainConfig(epochs=4, learning_rate=0.1, **options)
    optimizer = make_optimizer(nn.Linear(1, 1), settings)
    schedule = make_schedule(optimizer, settings, steps=5)
    seen = []
    for _ in range(20):
        seen.append({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("schedule", ["one_cycle", "constant"])
def test_momentum_of_sgd_is_the_published_one_throughout(schedule):
    assert {group["momentum"] for group in over_training(optimizer="sgd", schedule=schedule)} == {0.99}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_cycle_rises_to_the_peak_and_falls(optimizer):
    rates = [group["lr"] for group in over_training(optimizer=optimizer)]
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 1e-5


def test_one_cycle_moves_the_first_beta_of_adamw_against_the_rate():
    groups = over_training(optimizer="adamw")
    betas = [group["betas"][0] for group in groups]
    rates = [group["lr"] for group in groups]
    assert betas[0] == pytest.approx(0.95)
    assert betas[rates.index(max(rates))] == pytest.approx(0.85)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_constant_rate_and_the_weight_decay_that_was_asked(optimizer):
    groups = over_training(optimizer=optimizer, schedule="constant", weight_decay=0.02)
    assert {group["lr"] for group in groups} == {0.1}
    assert {group["weight_decay"] for group in groups} == {0.02}


def test_training_of_a_single_iteration_is_possible():
    settings = TrainConfig(epochs=1)
    optimizer = make_optimizer(nn.Linear(1, 1), settings)
    schedule = make_schedule(optimizer, settings, steps=1)
    optimizer.step()
    schedule.step()
    assert isinstance(optimizer, torch.optim.AdamW)
