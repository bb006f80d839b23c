"""Training on a few made-up scans: it learns, resumes to the same weights, stops when told to."""

import pytest
import torch
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.networks.nets import Classifier
from monai.transforms import Compose
from torch import nn

from organcam.config import TrainConfig
from organcam.engines import choose_device, train_model
from organcam.errors import ConfigError, OrganCamError
from organcam.losses import ClassAndMaskLoss, MaskLoss


class StopNow(Exception):
    pass


def stop_at(last):
    def stop(epoch, figures):
        if epoch == last:
            raise StopNow

    return stop


def equal(weights, others) -> bool:
    return all(torch.equal(value, others[name]) for name, value in weights.items())


class Scaled(nn.Module):
    """logit = w * x, with w = 1 at first."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.line.weight)

    def forward(self, x):
        return self.line(x)


def loader_of(*values: float, labels: tuple[float, ...] = ()) -> DataLoader:
    rows = [
        {"scan_id": f"scan{i}", "image": torch.tensor([v]), "label": torch.tensor([*labels[i : i + 1], 1.0][:1])}
        for i, v in enumerate(values)
    ]
    data = Dataset(rows, Compose([]))
    return DataLoader(data, batch_size=1, sampler=DistributedSampler(data, num_replicas=1, rank=0, shuffle=False))


def square(prediction, target):
    return prediction["logits"].square().mean()


def test_it_learns_what_can_be_seen(train, tmp_path):
    settings = TrainConfig(epochs=15, batch_size=4, learning_rate=1e-2, device="cpu")
    loss = ClassAndMaskLoss(MaskLoss(), weight=1.0)
    done = train(tmp_path / "m", settings, loss, ramp=0.3, organ_iou=True)
    assert done.log.rows[-1]["train_loss"] < 0.5 * done.log.rows[0]["train_loss"]
    assert done.epoch == 15
    assert done.figures["valid_auroc_median"] == 1.0
    assert done.figures["valid_organ_iou"] > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augment": True},
        {"keep": "best", "validate_every": 2},
        {"amp": "bfloat16"},
        {"optimizer": "sgd", "cache_gb": 0.0},
    ],
    ids=str,
)
def test_stopped_after_two_epochs_it_ends_at_the_same_weights(train, tmp_path, options):
    settings = TrainConfig(epochs=4, batch_size=3, device="cpu", **options)
    whole = train(tmp_path / "whole", settings)
    with pytest.raises(StopNow):
        train(tmp_path / "parts", settings, on_epoch=stop_at(3))
    resumed = train(tmp_path / "parts", settings)
    assert [row["epoch"] for row in resumed.log.rows] == [1, 2, 3, 4]
    assert resumed.log.rows == whole.log.rows
    assert resumed.epoch == whole.epoch
    assert equal(whole.weights, resumed.weights)


def test_a_finished_training_is_not_trained_further(train, tmp_path):
    settings = TrainConfig(epochs=2, batch_size=4, device="cpu")
    first = train(tmp_path / "m", settings)
    told = []
    second = train(tmp_path / "m", settings, on_epoch=lambda epoch, figures: told.append(epoch))
    assert told == []
    assert equal(first.weights, second.weights)
    assert second.figures == first.figures


def test_weights_of_the_best_epoch_are_kept(build, tmp_path):
    settings = TrainConfig(epochs=30, batch_size=8, learning_rate=0.5, schedule="constant", keep="best", patience=3)
    network, loaders = build(settings)
    after = {}

    def remember(epoch, figures):
        after[epoch] = {name: value.clone() for name, value in network.state_dict().items()}

    done = train_model(network, ClassAndMaskLoss(), loaders, settings, folder=tmp_path / "m", on_epoch=remember)
    losses = {row["epoch"]: row["valid_loss"] for row in done.log.rows}
    best = min(losses, key=losses.get)
    assert best < max(after)  # this training gets worse after it
    assert done.epoch == best
    assert done.figures["valid_loss"] == losses[best]
    assert equal(done.weights, after[best])
    assert not equal(done.weights, after[max(after)])
    assert len(losses) == min(best + 3, 30)


def test_patience_looks_only_where_the_validation_split_was_looked_at(train, tmp_path):
    settings = TrainConfig(
        epochs=30, batch_size=8, learning_rate=0.5, schedule="constant", patience=2, validate_every=3, device="cpu"
    )
    rows = train(tmp_path / "m", settings).log.rows
    seen = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert "valid_loss" in rows[-1]
    assert seen[-1] > min(seen)


def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(train, tmp_path):
    done = train(tmp_path / "m", TrainConfig(epochs=5, batch_size=4, device="cpu", validate_every=3))
    assert [row["epoch"] for row in done.log.rows if "valid_loss" in row] == [3, 5]


class Told(Scaled):
    """Validation passes give logits of two scans, the second of which is the positive one, in a told order or not."""

    def __init__(self, *right: bool):
        super().__init__()
        self.right, self.passes = right, 0

    def forward(self, x):
        if self.training:
            return super().forward(x)
        self.passes += 1
        scan, epoch = (self.passes - 1) % 2, (self.passes - 1) // 2
        return x * 0 + (scan if self.right[epoch] else -scan)


@pytest.mark.parametrize(("monitor", "epoch", "epochs"), [("auroc_median", 2, 4), ("loss", 1, 3)])
def test_the_monitored_figure_decides_what_is_best_and_when_to_stop(tmp_path, monitor, epoch, epochs):
    """AUROC is 1 in the second epoch alone, the loss is the same in all."""
    batches = loader_of(1.0, 1.0, labels=(0.0, 1.0))
    settings = TrainConfig(epochs=9, schedule="constant", monitor=monitor, keep="best", patience=2)
    network = Told(False, True, *9 * [False])
    done = train_model(network, lambda p, t: p["logits"].square().mean(), (batches, batches), settings, folder=tmp_path)
    assert [row["valid_auroc_median"] for row in done.log.rows] == [0.0, 1.0, 0.0, 0.0][:epochs]
    assert done.epoch == epoch


def test_a_monitored_figure_that_is_never_defined_is_told(tmp_path):
    batches = loader_of(1.0)
    settings = TrainConfig(epochs=1, monitor="auroc_median", keep="best")
    with pytest.raises(OrganCamError, match=r"train\.monitor: auroc_median had no value in any epoch"):
        train_model(Scaled(), square, (batches, batches), settings, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "organ_iou"}, r"train\.monitor: organ_iou is not measured here"),
        ({"batch_size": 4, "accumulation_steps": 3}, r"train\.accumulation_steps: 4 scans a step .* 3 even parts"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, options, message):
    batches = loader_of(1.0)
    with pytest.raises(ConfigError, match=message):
        train_model(Scaled(), square, (batches, batches), TrainConfig(**options), folder=tmp_path)


def test_a_plateau_ends_the_training_and_goes_on_after_a_stop(tmp_path):
    """The loss is that of the first epoch for ever; cuts after epochs 3, 5 and 7."""
    batches = loader_of(1.0)
    settings = TrainConfig(epochs=30, optimizer="adam", learning_rate=1e-4, schedule="plateau")

    def constant(prediction, target):
        return 0 * prediction["logits"].mean() + 1

    def rates(folder):
        done = train_model(Scaled(), constant, (batches, batches), settings, folder=folder)
        return [row["learning_rate"] for row in done.log.rows]

    expected = [1e-4, 1e-4, 1e-4, 2e-5, 2e-5, 4e-6, 4e-6]
    assert rates(tmp_path / "whole") == pytest.approx(expected)
    with pytest.raises(StopNow):
        train_model(Scaled(), constant, (batches, batches), settings, folder=tmp_path / "parts", on_epoch=stop_at(4))
    assert rates(tmp_path / "parts") == pytest.approx(expected)
    assert rates(tmp_path / "parts") == pytest.approx(expected)  # over is over


class Recording(ClassAndMaskLoss):
    """Remembers the weight of each training iteration and of each validation."""

    def forward(self, prediction, target):
        self.seen = [*getattr(self, "seen", []), (torch.is_grad_enabled(), self.weight)]
        return super().forward(prediction, target)


def test_the_mask_loss_rises_over_its_share_of_the_training(train, tmp_path):
    loss = Recording(MaskLoss(), weight=8.0)
    train(tmp_path / "m", TrainConfig(epochs=4, batch_size=4, device="cpu"), loss, ramp=0.5)
    assert [weight for training, weight in loss.seen if training] == [0.0, 2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0]
    assert {weight for training, weight in loss.seen if not training} == {8.0}


def test_a_ramp_of_a_loss_without_weight_is_refused(train, tmp_path):
    with pytest.raises(ValueError, match="no weight"):
        train(tmp_path / "m", TrainConfig(device="cpu"), lambda p, t: p["logits"].mean(), ramp=0.3)


def test_any_network_and_any_loss_of_prediction_and_target(build, tmp_path):
    """A MONAI network on whole volumes, which knows nothing of attention, with a loss of PyTorch."""
    settings = TrainConfig(epochs=2, batch_size=4, device="cpu")
    _, loaders = build(settings, layout="volume")
    network = Classifier(in_shape=(1, 6, 16, 16), classes=2, channels=(4, 8), strides=(2, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}

    def loss(prediction, target):
        assert set(prediction) == {"logits"}
        return nn.functional.mse_loss(prediction["logits"], target["label"])

    done = train_model(network, loss, loaders, settings, folder=tmp_path / "m")
    assert not equal(before, done.weights)
    assert done.figures["valid_loss"] > 0


@pytest.mark.parametrize("mask", [False, True])
def test_attention_is_asked_for_where_the_loss_needs_it(build, tmp_path, mask):
    settings = TrainConfig(epochs=1, batch_size=8, device="cpu")
    network, loaders = build(settings)
    asked = []

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x, attention=False):
            asked.append((self.training, attention))
            return self.inner(x, attention)

    loss = ClassAndMaskLoss(MaskLoss()) if mask else ClassAndMaskLoss()
    train_model(Told(), loss, loaders, settings, folder=tmp_path / "a")
    assert asked == [(True, mask), (False, mask)]
    asked.clear()
    train_model(Told(), loss, loaders, settings, folder=tmp_path / "b", organ_iou=True)
    assert asked == [(True, mask), (False, True)]


def test_a_training_loss_that_is_not_finite_ends_the_training_and_says_where(tmp_path):
    """w is 1, about -2e15, about 4e30 and more, and its square is too large for float32 in the third iteration."""
    settings = TrainConfig(epochs=5, optimizer="sgd", schedule="constant", learning_rate=1e15, gradient_clip=None)
    batches = loader_of(1.0, 1.0)
    for _ in range(2):  # a second call comes to the same place
        with pytest.raises(OrganCamError, match=r"inf in epoch 2, iteration 1 of 2 \(scans scan0\)"):
            train_model(Scaled(), square, (batches, batches), settings, folder=tmp_path / "m")
        assert [path.name for path in (tmp_path / "m").iterdir()] == ["checkpoint_1.pt"]


class FailsAtTimes(Scaled):
    """NaN in the validation passes that are named."""

    def __init__(self, *nan_passes: int):
        super().__init__()
        self.nan_passes = nan_passes
        self.passes = 0

    def forward(self, x):
        self.passes += not self.training
        return super().forward(x) * (float("nan") if self.passes in self.nan_passes and not self.training else 1.0)


def test_a_validation_loss_that_is_nan_counts_as_worst(tmp_path):
    settings = TrainConfig(epochs=4, schedule="constant", learning_rate=0.1, keep="best", patience=2)
    batches = loader_of(1.0)
    done = train_model(FailsAtTimes(1, 3), square, (batches, batches), settings, folder=tmp_path / "m")
    assert [row["valid_loss"] == row["valid_loss"] for row in done.log.rows] == [False, True, False, True]
    assert done.epoch == 4


@pytest.mark.parametrize(("keep", "passes"), [("last", (2,)), ("best", (1, 2))])
def test_no_model_is_made_of_weights_without_a_validation_loss(tmp_path, keep, passes):
    settings = TrainConfig(epochs=2, schedule="constant", keep=keep)
    batches = loader_of(1.0)
    with pytest.raises(OrganCamError, match="validation loss of .* is not finite"):
        train_model(FailsAtTimes(*passes), square, (batches, batches), settings, folder=tmp_path / "m")


def test_patience_runs_out_where_no_validation_loss_is_finite(tmp_path):
    settings = TrainConfig(epochs=50, schedule="constant", patience=3)
    batches, network = loader_of(1.0), FailsAtTimes(*range(1, 51))
    with pytest.raises(OrganCamError, match="the last epoch, 3 is not finite"):
        train_model(network, square, (batches, batches), settings, folder=tmp_path / "m")
    assert network.passes == 3


def test_loss_of_an_epoch_is_the_mean_over_its_scans(tmp_path):
    """Batches of two and one scan with losses (1 + 4) / 2 and 9; the network hardly moves."""
    rows = [{"image": torch.tensor([v]), "label": torch.ones(1)} for v in (1.0, 2.0, 3.0)]
    data = Dataset(rows, Compose([]))
    batches = DataLoader(data, batch_size=2)
    settings = TrainConfig(epochs=1, schedule="constant", learning_rate=1e-9)
    done = train_model(Scaled(), square, (batches, batches), settings, folder=tmp_path / "m")
    assert done.log.rows[0]["train_loss"] == pytest.approx(14 / 3)
    assert done.log.rows[0]["valid_loss"] == pytest.approx(14 / 3)


def test_a_gpu_that_is_not_there_is_told():
    if torch.cuda.device_count() < 8:
        with pytest.raises(ConfigError, match="this machine has"):
            choose_device("cuda:7")
    assert choose_device("cpu").type == "cpu"
