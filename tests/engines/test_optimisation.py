"""The optimisers as they are described."""

import pytest
import torch
from torch import nn

from organcam.config import TrainConfig
from organcam.engines.optimisation import Plateau, make_optimizer, make_schedule


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


def test_adam_is_pytorchs_with_the_decay_that_was_asked():
    optimizer = make_optimizer(nn.Linear(1, 1), TrainConfig(optimizer="adam", learning_rate=1e-4, weight_decay=0.0))
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (1e-4, 0.0)


PYLON = TrainConfig(optimizer="adam", learning_rate=1e-4, schedule="plateau", weight_decay=0.0)


def test_pylon_s_plateau_cuts_at_the_second_look_that_is_no_better_and_ends_with_the_third_cut():
    """1e-4, 2e-5, 4e-6 and 8e-7, which is below 1e-6."""
    optimizer = make_optimizer(nn.Linear(1, 1), PYLON)
    plateau, rates, ends = Plateau(optimizer, PYLON), [], []
    for figure in (1.0, 0.9, 0.95, 0.899999, 0.8, 0.85, float("nan"), 0.9, 0.9):
        plateau.look(figure)
        rates.append(optimizer.param_groups[0]["lr"])
        ends.append(plateau.is_over)
    # .899999 is better by less than a ten-thousandth, and counts as no better
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 2e-5, 2e-5, 2e-5, 4e-6, 4e-6, 8e-7])
    assert ends == [False] * 8 + [True]


def test_a_plateau_of_a_figure_that_is_to_rise():
    settings = PYLON.model_copy(update={"monitor": "auroc_median", "plateau_patience": 0, "plateau_factor": 0.5})
    optimizer = make_optimizer(nn.Linear(1, 1), settings)
    plateau = Plateau(optimizer, settings)
    for figure in (0.5, 0.6, 0.7, 0.7):
        plateau.look(figure)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-5)


def test_a_plateau_goes_on_from_its_state():
    def after(figures, state=None):
        optimizer = make_optimizer(nn.Linear(1, 1), PYLON)
        plateau = Plateau(optimizer, PYLON)
        if state is not None:
            plateau.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for figure in figures:
            plateau.look(figure)
        return plateau.state_dict(), optimizer.state_dict()

    whole = after([1.0, 1.1, 1.2, 1.3, 1.4])
    assert after([1.3, 1.4], after([1.0, 1.1, 1.2])) == whole
    assert whole[1]["param_groups"][0]["lr"] == pytest.approx(4e-6)


def test_other_schedules_have_no_plateau():
    optimizer = make_optimizer(nn.Linear(1, 1), TrainConfig())
    plateau = Plateau(optimizer, TrainConfig())
    for _ in range(9):
        plateau.look(1.0)
    assert not plateau.is_over
    assert optimizer.param_groups[0]["lr"] == 1e-3
