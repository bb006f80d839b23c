import pytest
import torch

from organcam.losses import classification_loss, positive_weights


def _table(present, rows):
    labels = torch.zeros(rows, len(present))
    for label, count in enumerate(present):
        labels[:count, label] = 1
    return labels


# The published code's own numbers (oracle item 4): 16 scans, clipped to 1 and 10
def test_published_weights():
    found = positive_weights(_table((1, 6, 4, 2), 16))
    torch.testing.assert_close(found, torch.tensor([10.0, 10 / 6, 3.0, 7.0]))


def test_bounds_hold_for_labels_of_every_or_no_scan():
    found = positive_weights(_table((0, 8, 4), 8))
    assert found.tolist() == [10, 1, 1]
    assert positive_weights(_table((0, 8, 4), 8), 0.5, 50).tolist() == [50, 0.5, 1]


def test_weighted_loss_by_hand():
    logits, labels = torch.tensor([[0.7, -0.2], [1.5, 0.3]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    p = torch.sigmoid(logits)
    expected = -(3 * p[0, 0].log() + (1 - p[0, 1]).log() + (1 - p[1, 0]).log() + 5 * p[1, 1].log()) / 4
    torch.testing.assert_close(classification_loss(logits, labels, torch.tensor([3.0, 5.0])), expected)
    plain = -(p[0, 0].log() + (1 - p[0, 1]).log() + (1 - p[1, 0]).log() + p[1, 1].log()) / 4
    torch.testing.assert_close(classification_loss(logits, labels), plain)
    assert classification_loss(logits.half(), labels, torch.ones(2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: positive_weights(torch.zeros(0, 3)), r"at least one scan, got \[0, 3\]"),
        (lambda: positive_weights(torch.tensor([[1.0], [float("nan")]])), r"labels hold NaN \(1 of 2\)"),
        (lambda: positive_weights(torch.zeros(2, 3), 3, 2), "0 < lowest <= highest, got 3 and 2"),
        (lambda: classification_loss(torch.zeros(1, 2), torch.zeros(1, 3)), r"got \[1, 2\], \[1, 3\] and None"),
        (lambda: classification_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(3)), r"and \[3\]"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
