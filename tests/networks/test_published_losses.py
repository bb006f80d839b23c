"""Mask loss against numbers of the published code (oracle item 4), values and gradients."""

import numpy as np
import pytest
import torch

from organcam.losses import ClassAndMaskLoss, MaskLoss


@pytest.fixture(scope="module")
def item(oracle):
    return oracle["4_losses"]


@pytest.fixture
def prediction(published):
    logits = published.sine(4001, (1, 5), 2.0)
    attention = published.sine(4002, (1, 5, 4, 6, 6), 3.0)
    return {"logits": logits.requires_grad_(), "attention": attention.requires_grad_()}


def _allowed(hexadecimal):
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(hexadecimal), dtype=np.uint8))[: 5 * 4 * 6 * 6]
    return torch.from_numpy(bits.reshape(1, 5, 4, 6, 6))


def _target(item, hexadecimal):
    return {"label": torch.tensor([item["labels"]], dtype=torch.float64), "allowed": _allowed(hexadecimal)}


def _published_loss(form, weight=1 / 3):
    return ClassAndMaskLoss(MaskLoss(form, "forbidden", "mean"), weight)


@pytest.mark.parametrize(("name", "form"), [("mask", "softplus"), ("l2", "l2")])
def test_loss_and_gradients_for_all_flips_and_rotations(item, published, prediction, name, form):
    assert len(item["cases"]) == 16
    for case in item["cases"]:
        for value in prediction.values():
            value.grad = None
        loss = _published_loss(form)(prediction, _target(item, case["G_output_hex"]))
        loss.backward()
        assert loss.item() == pytest.approx(case[name]["loss"], abs=1e-6)
        published.assert_agrees(prediction["attention"].grad[0], case[name]["grad_attention"])
        if "grad_logits" in case[name]:
            np.testing.assert_allclose(prediction["logits"].grad[0], case[name]["grad_logits"], atol=1e-6)
            stored = case[name]["grad_attention_values"]
            np.testing.assert_allclose(prediction["attention"].grad.flatten(), stored, atol=1e-8)


def test_flipping_the_volume_flips_the_allowed_cells(item):
    allowed = _allowed(item["G_input_hex"])
    for case in item["cases"]:
        flips = [axis + 2 for axis in range(3) if case["auglabel"][axis]]
        turns = sum((k + 1) * case["auglabel"][3 + k] for k in range(3))
        moved = torch.rot90(allowed.flip(flips), turns, (-2, -1))
        assert torch.equal(moved, _allowed(case["G_output_hex"]))


def test_weights_of_the_mask_loss(item, prediction):
    target = _target(item, item["G_input_hex"])
    assert ClassAndMaskLoss()(prediction, target).item() == pytest.approx(item["bce_only"], abs=1e-6)
    loss = _published_loss("softplus")
    for weight, value in item["mask_loss_identity_by_lambda"]:
        loss.weight = weight
        assert loss(prediction, target).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("name", "form"), [("mask", "softplus"), ("l2", "l2")])
def test_zero_prediction(item, prediction, name, form):
    zeros = {key: torch.zeros_like(value) for key, value in prediction.items()}
    loss = _published_loss(form)(zeros, _target(item, item["G_input_hex"]))
    assert loss.item() == pytest.approx(item["zero_case"][name], abs=1e-6)


def test_large_values(item, prediction):
    large = {"logits": prediction["logits"] * 50, "attention": prediction["attention"] * 100}
    loss = _published_loss("softplus")(large, _target(item, item["G_input_hex"]))
    assert loss.item() == pytest.approx(item["large_values_case"]["mask"], abs=1e-6)


@pytest.mark.parametrize("form", ["softplus", "l2"])
def test_everything_allowed_is_the_class_loss_instead_of_nan(item, prediction, form):
    # The published code takes an all-ones G for absent labels too, and gives NaN in its softplus form.
    assert item["everything_allowed_case"] == {"mask": "nan", "l2": item["bce_only"]}
    target = {**_target(item, item["G_input_hex"]), "allowed": torch.ones(1, 5, 4, 6, 6)}
    loss = ClassAndMaskLoss(MaskLoss(form, "ignored", "mean"))(prediction, target)
    assert loss.item() == pytest.approx(item["bce_only"], abs=1e-6)
