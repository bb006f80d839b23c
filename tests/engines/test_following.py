"""What a training tells while it runs: lines, TensorBoard's files, MLflow's runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

from organcam.config import TrainConfig
from organcam.engines import TrainingReport, trackers
from organcam.engines.tracking import require_trackers
from organcam.errors import ConfigError

SETTINGS = TrainConfig(epochs=3, batch_size=4, device="cpu")


class StopNow(Exception):
    pass


def stop_in_third(epoch, figures):
    if epoch == 3:
        raise StopNow


def test_lines_tell_loss_pace_time_left_and_memory():
    """Ten steps of 20 s an epoch, two epochs; a line where half a minute is over, and one at the end of each epoch."""
    now, lines = [100.0], []

    def step(engine, batch):
        now[0] += 20
        return {"loss": torch.tensor(0.5)}

    trainer = Engine(step)
    trainer.state.device = torch.device("cpu")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda e: setattr(e.state, "metrics", {"train_loss": 0.25}))
    TrainingReport("masked", lines.append, lambda: now[0]).attach(trainer)
    trainer.run(range(10), max_epochs=2)
    assert len(lines) == 12
    assert lines[0].startswith("masked  epoch 1/2  step 2/10  loss 0.5000  20 s a step, 6 min 00 s left, ")
    assert lines[5].startswith("masked  epoch 1/2  train_loss 0.2500  20 s a step, 3 min 20 s left, ")
    assert lines[-1].startswith("masked  epoch 2/2  train_loss 0.2500  20 s a step, 0 s left, ")
    assert float(lines[-1].split()[-2]) > 0.05
    assert lines[-1].endswith(" GB")


def test_time_left_of_a_training_that_goes_on_is_at_its_own_pace():
    now, lines = [0.0], []

    def step(engine, batch):
        now[0] += 60
        return {"loss": torch.tensor(1.0)}

    trainer = Engine(step)
    trainer.load_state_dict({"epoch": 1, "max_epochs": 3, "epoch_length": 100})
    trainer.state.device, trainer.state.metrics = torch.device("cpu"), {}
    TrainingReport("m", lines.append, lambda: now[0]).attach(trainer)
    trainer.run(range(100))
    assert "epoch 2/3  step 1/100  loss 1.0000  60 s a step, 3 h 19 min left" in lines[0]


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("organcam.engines.tracking.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"train\.trackers: mlflow is not installed; pip install 'organcam\[mlflow\]'"
    ):
        require_trackers(["mlflow"])
    require_trackers([])


def scalars_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_gets_every_step_once_and_every_epoch_s_figures(train, tmp_path):
    """Also where the training was stopped in between: steps beyond the checkpoint are taken back."""
    pytest.importorskip("tensorboard")
    with pytest.raises(StopNow), trackers(["tensorboard"], tmp_path, "m") as handlers:
        train(tmp_path / "m", SETTINGS, on_epoch=stop_in_third, handlers=handlers)
    with trackers(["tensorboard"], tmp_path, "m") as handlers:
        done = train(tmp_path / "m", SETTINGS, handlers=handlers)
    found = scalars_of(tmp_path / "m.tensorboard")
    assert [step for step, _ in found["step_loss"]] == [1, 2, 3, 4, 5, 6]
    for name in ("train_loss", "valid_loss"):
        assert [step for step, _ in found[name]] == [1, 2, 3]
        assert [value for _, value in found[name]] == pytest.approx([row[name] for row in done.log.rows])
    means = [sum(value for _, value in found["step_loss"][i : i + 2]) / 2 for i in (0, 2, 4)]
    assert means == pytest.approx([row["train_loss"] for row in done.log.rows])


def test_mlflow_gets_settings_and_figures_in_one_run(train, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chosen = {"epochs": 3, "learning_rate": 1e-3}
    with pytest.raises(StopNow), trackers(["mlflow"], tmp_path, "m", chosen) as handlers:
        train(tmp_path / "m", SETTINGS, on_epoch=stop_in_third, handlers=handlers)
    with trackers(["mlflow"], tmp_path, "m", chosen) as handlers:
        done = train(tmp_path / "m", SETTINGS, handlers=handlers)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [run] = client.search_runs([client.get_experiment_by_name("organcam").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.001"
    history = client.get_metric_history(run.info.run_id, "valid_loss")
    assert {metric.step: metric.value for metric in history} == {
        int(row["epoch"]): pytest.approx(row["valid_loss"]) for row in done.log.rows
    }
