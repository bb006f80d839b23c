import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from organcam.losses import ClassAndMaskLoss, MaskLoss, mask_loss

# One scan, label 0 present and allowed in its first two cells, label 1 absent.
ATTENTION = torch.tensor([[[5.0, -7.0, 2.0, -4.0], [1.0, -1.0, 0.5, 0.0]]])
ALLOWED = torch.tensor([[[1, 1, 0, 0], [1, 1, 1, 1]]])
LABELS = torch.tensor([[1, 0]])
FORBIDDEN = torch.tensor([2.0, -4.0, 1.0, -1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (6 / 2 + 2.5 / 4) / 2),
        ({"absent": "ignored"}, 6 / 2),
        ({"reduction": "mean"}, 8.5 / 6),
        ({"reduction": "sum"}, 8.5),
        ({"reduction": "mean", "absent": "ignored"}, 6 / 2),
        ({"form": "softplus", "reduction": "mean"}, functional.softplus(FORBIDDEN).mean().item()),
        ({"form": "softplus", "reduction": "sum"}, functional.softplus(FORBIDDEN).sum().item()),
        ({"smoothing": 3.0, "absent": "ignored"}, (math.sqrt(13) - 3 + 5 - 3) / 2),
        ({"form": "l2", "reduction": "mean"}, math.sqrt(4 + 16 + 1 + 1 + 0.25)),
        ({"form": "l2", "reduction": "balanced"}, (math.sqrt(20) + math.sqrt(2.25)) / 2),
        ({"form": "l2", "absent": "ignored", "reduction": "sum"}, math.sqrt(20)),
    ],
    ids=str,
)
def test_hand_computed(options, expected):
    assert MaskLoss(**options)(ATTENTION, ALLOWED, LABELS).item() == pytest.approx(expected, rel=1e-6)


def test_sum_is_per_scan_so_that_batch_size_does_not_scale_it():
    twice = [torch.cat([tensor, tensor]) for tensor in (ATTENTION, ALLOWED, LABELS)]
    for form in ("absolute", "softplus", "l2"):
        for reduction in ("balanced", "mean", "sum"):
            options = {"form": form, "reduction": reduction}
            assert mask_loss(*twice, **options).item() == pytest.approx(
                mask_loss(ATTENTION, ALLOWED, LABELS, **options).item(), rel=1e-6
            )


def test_mean_pools_the_cells_of_the_batch():
    attention = torch.tensor([[[1.0, 1.0]], [[10.0, 10.0]]])
    allowed = torch.tensor([[[0, 0]], [[0, 1]]])
    loss = mask_loss(attention, allowed, torch.ones(2, 1), reduction="mean")
    assert loss.item() == pytest.approx((1 + 1 + 10) / 3)


def test_balanced_half_without_cells_is_zero():
    only_absent = mask_loss(ATTENTION, ALLOWED, torch.tensor([[0, 0]]))
    assert only_absent.item() == pytest.approx((18 + 2.5) / 8 / 2)


@pytest.mark.parametrize("form", ["absolute", "softplus", "l2"])
@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum"])
def test_nothing_forbidden_gives_zero_with_gradient(form, reduction):
    attention = ATTENTION.clone().requires_grad_()
    loss = mask_loss(attention, torch.ones_like(ALLOWED), torch.ones(1, 2), form=form, reduction=reduction)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(attention.grad, torch.zeros_like(attention))


@pytest.mark.parametrize("form", ["absolute", "softplus", "l2"])
@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum"])
def test_gradient_reaches_forbidden_cells_only(form, reduction):
    attention = ATTENTION.clone().requires_grad_()
    mask_loss(attention, ALLOWED, LABELS, form=form, reduction=reduction).backward()
    assert attention.grad[0, 0, :2].tolist() == [0, 0]
    assert (attention.grad[0, 0, 2:] != 0).all()
    assert (attention.grad[0, 1, :3] != 0).all()


@pytest.mark.parametrize("form", ["absolute", "softplus", "l2"])
@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum"])
def test_gradient_is_the_derivative(form, reduction):
    attention = torch.randn(2, 2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    allowed, labels = torch.randint(0, 2, (2, 2, 1, 2, 2)), torch.tensor([[1, 0], [1, 1]])
    assert torch.autograd.gradcheck(
        lambda a: mask_loss(a, allowed, labels, form=form, reduction=reduction), attention, raise_exception=True
    )


@given(st.integers(0, 2**16), st.sampled_from(["absolute", "softplus", "l2"]))
def test_allowed_cells_never_matter_and_scale_is_kept(seed, form):
    generator = torch.Generator().manual_seed(seed)
    attention = torch.randn(2, 3, 2, 2, 2, generator=generator, dtype=torch.float64)
    allowed = torch.randint(0, 2, attention.shape, generator=generator)
    labels = torch.randint(0, 2, (2, 3), generator=generator)
    loss = mask_loss(attention, allowed, labels, form=form)
    changed = torch.where(allowed.bool() & labels.bool()[..., None, None, None], attention + 100, attention)
    assert torch.equal(mask_loss(changed, allowed, labels, form=form), loss)
    if form != "softplus":
        torch.testing.assert_close(mask_loss(3 * attention, allowed, labels, form=form), 3 * loss)


@pytest.mark.parametrize("form", ["absolute", "softplus", "l2"])
def test_infinite_value_in_an_allowed_cell_does_no_harm(form):
    attention = ATTENTION.clone()
    attention[0, 0, 0] = math.inf
    attention.requires_grad_()
    loss = mask_loss(attention, ALLOWED, LABELS, form=form)
    loss.backward()
    assert loss.isfinite()
    assert attention.grad.isfinite().all()


@pytest.mark.parametrize("form", ["absolute", "softplus", "l2"])
@pytest.mark.parametrize("reduction", ["balanced", "mean", "sum"])
def test_half_precision_is_computed_in_float32(form, reduction):
    attention = torch.full((1, 1, 135, 14, 14), 30.0)
    allowed, labels = torch.zeros_like(attention), torch.ones(1, 1)
    expected = mask_loss(attention, allowed, labels, form=form, reduction=reduction)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mask_loss(attention.half(), allowed, labels, form=form, reduction=reduction)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item())  # the sum of 793,800 would overflow float16


def test_bool_and_number_labels_and_cells_are_alike():
    expected = mask_loss(ATTENTION, ALLOWED, LABELS)
    assert torch.equal(mask_loss(ATTENTION, ALLOWED.bool(), LABELS.bool()), expected)
    assert torch.equal(mask_loss(ATTENTION, ALLOWED.float(), LABELS.float()), expected)


def test_class_loss_alone_needs_no_attention():
    logits, label = torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 0]])
    loss = ClassAndMaskLoss()({"logits": logits}, {"label": label})
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert loss.item() == pytest.approx(expected)


def test_weight_can_be_changed_between_calls():
    loss = ClassAndMaskLoss(MaskLoss(), weight=0.0)
    prediction = {"logits": torch.zeros(1, 2), "attention": ATTENTION}
    target = {"label": LABELS, "allowed": ALLOWED}
    assert loss(prediction, target).item() == pytest.approx(math.log(2))
    loss.weight = 10.0
    assert loss(prediction, target).item() == pytest.approx(math.log(2) + 10 * 1.8125)
    parts = loss.parts(prediction, target)
    assert {name: round(part.item(), 4) for name, part in parts.items()} == {"class": 0.6931, "mask": 1.8125}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MaskLoss(form="abs"), "unknown form 'abs' of the mask loss: .*Legal: absolute, l2, softplus"),
        (lambda: MaskLoss(absent="forbiden"), "did you mean 'forbidden'"),
        (lambda: MaskLoss(reduction="none"), "Legal: balanced, mean, sum"),
        (lambda: MaskLoss(smoothing=-0.1), "smoothing must be 0 or more"),
        (lambda: MaskLoss(form="l2", smoothing=0.1), "0 with any form but 'absolute', got 0.1 with 'l2'"),
        (lambda: ClassAndMaskLoss(weight=-1), "0 or more, got -1"),
        (lambda: mask_loss(ATTENTION, ALLOWED[:, :1], LABELS), r"\[1, 2, 4\], \[1, 1, 4\] and \[1, 2\]"),
        (lambda: mask_loss(ATTENTION, ALLOWED, LABELS[:, :1]), r"labels \[B, M\]"),
    ],
)
def test_what_is_wrong_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_absent_labels_may_look_inside_the_organ_they_could_lie_in():
    """One scan, an absent label, three cells of which the first is its organ: by hand, |-2| and |4| over two cells."""
    attention = torch.tensor([[[7.0, -2.0, 4.0]]])
    allowed, absent = torch.tensor([[[1, 0, 0]]]), torch.tensor([[0]])
    assert mask_loss(attention, allowed, absent, reduction="mean", absent="outside").item() == pytest.approx(3)
    assert mask_loss(attention, allowed, absent, reduction="mean", absent="forbidden").item() == pytest.approx(13 / 3)
    assert mask_loss(attention, allowed, absent, reduction="mean", absent="ignored").item() == 0


def test_smoothing_lets_small_attention_go_and_keeps_the_slope_of_large():
    small = torch.full((1, 1, 4), 1e-4, requires_grad=True)
    large = torch.full((1, 1, 4), -5.0, requires_grad=True)
    for attention in (small, large):
        mask_loss(attention, torch.zeros(1, 1, 4), torch.ones(1, 1), reduction="sum", smoothing=0.05).backward()
    assert small.grad.abs().max() < 0.01
    torch.testing.assert_close(large.grad, torch.full((1, 1, 4), -1.0), rtol=1e-3, atol=0)
    cells = torch.zeros(1, 1, 4, requires_grad=True)
    nothing = mask_loss(cells, torch.zeros(1, 1, 4), torch.ones(1, 1), smoothing=0.05)
    nothing.backward()
    assert nothing.item() == 0
    assert torch.equal(cells.grad, torch.zeros(1, 1, 4))
