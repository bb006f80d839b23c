"""One iteration: clipping by hand, in every precision; the scaler over a resume."""

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose
from torch import nn

from organcam.config import TrainConfig
from organcam.engines import train_model
from organcam.engines.device import mixed_precision

X = torch.tensor([0.4, 0.4, 0.2])
GRADIENT = X / 2  # norm 0.3


class Line(nn.Module):
    """logit = w . x with w = 0 at first, so that the gradient of half the mean logit is x / 2."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 1, bias=False)
        nn.init.zeros_(self.line.weight)

    def forward(self, x):
        return self.line(x)


def half_logit(prediction, target):
    return prediction["logits"].float().mean() / 2  # float16 cannot hold the first scale itself, 65536


def batches(x: torch.Tensor = X, count: int = 1) -> DataLoader:
    data = Dataset([{"image": x, "label": torch.ones(1)}] * count, Compose([]))
    return DataLoader(data, batch_size=1)


def trained(folder, *, x=X, count=1, loss=half_logit, on_epoch=None, epochs=1, **options) -> torch.Tensor:
    settings = TrainConfig(
        epochs=epochs,
        optimizer="sgd",
        schedule="constant",
        learning_rate=1.0,
        weight_decay=0.0,
        device="cpu",
        **options,
    )
    loaders = (batches(x, count), batches(x, 1))
    done = train_model(Line(), loss, loaders, settings, folder=folder, on_epoch=on_epoch)
    return done.weights["line.weight"][0]


@pytest.mark.parametrize("amp", [False, "bfloat16", "float16"])
def test_gradients_are_clipped_to_the_norm_that_is_asked(tmp_path, amp):
    """A step of SGD from 0 is the gradient: itself, or brought to a norm of 0.1."""
    precision = {"rtol": 1e-2, "atol": 1e-4} if amp else {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(trained(tmp_path / "a", amp=amp, gradient_clip=None), -GRADIENT, **precision)
    torch.testing.assert_close(trained(tmp_path / "b", amp=amp, gradient_clip=0.1), -GRADIENT / 3, **precision)
    torch.testing.assert_close(trained(tmp_path / "c", amp=amp, gradient_clip=5.0), -GRADIENT, **precision)


@pytest.mark.parametrize(
    ("amp", "dtype"), [(False, torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_forward_passes_of_training_are_in_the_precision_that_is_asked(tmp_path, amp, dtype):
    seen = []

    def loss(prediction, target):
        seen.append(prediction["logits"].dtype)
        return half_logit(prediction, target)

    trained(tmp_path, loss=loss, amp=amp)
    assert seen == [dtype, torch.float32]  # validation is in float32


def test_precision_by_device():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [mixed_precision(amp, cpu) for amp in (False, True)] == [None, None]
    assert [mixed_precision(amp, gpu) for amp in (False, True)] == [None, torch.float16]
    assert [mixed_precision("bfloat16", device) for device in (cpu, gpu)] == [torch.bfloat16] * 2
    assert [mixed_precision("float16", device) for device in (cpu, gpu)] == [torch.float16] * 2


def test_steps_whose_gradients_overflow_are_left_out(tmp_path):
    """At a scale of 65536 a gradient of 4 is too large for float16; at 32768, 16384 too; at 8192 it is not."""
    eight = torch.tensor([8.0, 0.0, 0.0])
    moved = trained(tmp_path, x=eight, count=4, amp="float16", gradient_clip=1.0)
    torch.testing.assert_close(moved, torch.tensor([-1.0, 0.0, 0.0]), rtol=1e-3, atol=1e-3)
    state = torch.load(tmp_path / "checkpoint_1.pt", weights_only=True)
    assert state["scaler"]["scale"] == 8192.0
    assert state["schedule"]["last_epoch"] == 1  # the learning rate waits for them


def test_the_scaler_goes_on_over_a_resume(tmp_path):
    class StopNow(Exception):
        pass

    def stop(epoch, figures):
        if epoch == 2:
            raise StopNow

    options = {"x": torch.tensor([8.0, 0.0, 0.0]), "count": 4, "amp": "float16", "epochs": 2}
    whole = trained(tmp_path / "whole", **options)
    with pytest.raises(StopNow):
        trained(tmp_path / "parts", **options, on_epoch=stop)
    resumed = trained(tmp_path / "parts", **options)
    assert torch.equal(whole, resumed)
    scalers = [
        torch.load(tmp_path / name / "checkpoint_2.pt", weights_only=True)["scaler"] for name in ("whole", "parts")
    ]
    assert scalers[0] == scalers[1]
    assert scalers[0]["scale"] == 8192.0


def rows(count: int) -> DataLoader:
    """Different scans, the last batch of two smaller than the first."""
    drawn = torch.Generator().manual_seed(0)
    items = [
        {"scan_id": str(i), "image": torch.rand(3, generator=drawn), "label": torch.tensor([float(i % 2)])}
        for i in range(count)
    ]
    return DataLoader(Dataset(items, Compose([])), batch_size=4)


def cross_entropy(prediction, target):
    return nn.functional.binary_cross_entropy_with_logits(prediction["logits"].float(), target["label"])


@pytest.mark.parametrize("amp", [False, "float16"])
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(tmp_path, parts, amp):
    """Momentum and clipping included; seven scans make a step of four and one of three, of unequal parts."""
    found = {}
    for steps in (1, parts):
        settings = TrainConfig(
            epochs=3, batch_size=4, accumulation_steps=steps, optimizer="sgd", gradient_clip=0.05, device="cpu", amp=amp
        )
        batches = rows(7)
        done = train_model(Line(), cross_entropy, (batches, batches), settings, folder=tmp_path / str(steps))
        found[steps] = done
    accuracy = {"rtol": 1e-2, "atol": 1e-4} if amp else {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(found[parts].weights, found[1].weights, **accuracy)
    assert found[1].weights["line.weight"].abs().max() > 1e-5
    for one, other in zip(found[1].log.rows, found[parts].log.rows, strict=True):
        assert other == pytest.approx(one, rel=1e-3 if amp else 1e-5, nan_ok=True)


def test_only_a_part_goes_through_the_network_at_a_time(tmp_path):
    sizes = []

    class Seen(Line):
        def forward(self, x):
            if self.training:
                sizes.append(len(x))
            return super().forward(x)

    batches = rows(7)
    settings = TrainConfig(epochs=1, batch_size=4, accumulation_steps=2, device="cpu")
    train_model(Seen(), cross_entropy, (batches, batches), settings, folder=tmp_path)
    assert sizes == [2, 2, 2, 1]


@pytest.mark.parametrize(("kind", "order"), [(nn.Conv2d, "channels_last"), (nn.Conv3d, "channels_last_3d")])
def test_channels_last_lays_out_weights_and_outputs_and_changes_no_result(tmp_path, kind, order):
    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = kind(2, 3, 3)

        def forward(self, x):
            y = self.convolution(x)
            seen.append(y.is_contiguous(memory_format=getattr(torch, order)))
            return y.flatten(2).mean(2)[:, :1]

    drawn = torch.Generator().manual_seed(0)
    shape = (2, 6, 6) if kind is nn.Conv2d else (2, 6, 6, 6)
    items = [{"image": torch.rand(shape, generator=drawn), "label": torch.ones(1)} for _ in range(4)]
    batches = DataLoader(Dataset(items, Compose([])), batch_size=2)
    found = {}
    for wanted in (False, True):
        seen: list[bool] = []
        torch.manual_seed(0)
        settings = TrainConfig(epochs=2, device="cpu", channels_last=wanted)
        done = train_model(Convolution(), cross_entropy, (batches, batches), settings, folder=tmp_path / str(wanted))
        assert set(seen) == {wanted}
        found[wanted] = done.weights
    torch.testing.assert_close(found[True], found[False], rtol=1e-5, atol=1e-7)
