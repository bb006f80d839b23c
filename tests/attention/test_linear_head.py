import pytest
import torch

from organcam.attention import LinearHead, closed_form_maps, contributions, gradcam, hirescam

# One scan, two features, two slabs of two places; one label.
FEATURES = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [2.0, 0.0]]]])  # [B, F, S, places]
WEIGHT = torch.tensor([[[1.0, -1.0], [10.0, 20.0]]])  # [M, F, places]
BIAS = torch.tensor([0.5])


def test_hand_computed_scores_and_maps():
    head = LinearHead(FEATURES, WEIGHT, BIAS)
    assert contributions(FEATURES, WEIGHT)[0, 0].tolist() == [[1 + 0, -2 + 20], [3 + 20, -4 + 0]]
    assert head.scores()[0, 0].tolist() == [19.5, 19.5]
    assert head.logits().item() == 19.5
    assert closed_form_maps(head, "hirescam")[0, 0].tolist() == [[0.5, 9.0], [11.5, -2.0]]
    # Feature weights: mean of (1, -1) = 0 and of (10, 20) = 15, both halved for the mean over two slabs.
    assert closed_form_maps(head, "gradcam")[0, 0].tolist() == [[0.0, 7.5], [15.0, 0.0]]


def _random_head(places, grid, pooling="mean"):
    torch.manual_seed(len(places))
    features = torch.randn(2, 3, *grid, dtype=torch.float64)
    return LinearHead(features, torch.randn(4, 3, *places).double(), torch.randn(4).double(), pooling)


SHAPES = [((3, 2), (5, 3, 2)), ((), (5, 3, 2)), ((5, 3, 2), (5, 3, 2)), ((), (7,)), ((), (4, 4))]


@pytest.mark.parametrize(("places", "grid"), SHAPES)
@pytest.mark.parametrize(("name", "method"), [("hirescam", hirescam), ("gradcam", gradcam)])
def test_closed_form_is_the_method_on_the_gradient(places, grid, name, method):
    head = _random_head(places, grid)
    features = head.features.clone().requires_grad_()
    logits = LinearHead(features, head.weight, head.bias).logits()
    maps = closed_form_maps(head, name)
    for label in range(4):
        gradient = torch.autograd.grad(logits[:, label].sum(), features, retain_graph=True)[0]
        torch.testing.assert_close(maps[:, label], method(head.features, gradient, len(grid)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("places", "grid"), SHAPES)
def test_hirescam_and_bias_sum_to_the_logit(places, grid):
    head = _random_head(places, grid)
    total = closed_form_maps(head, "hirescam").flatten(2).sum(-1) + head.bias
    torch.testing.assert_close(total, head.logits(), rtol=0, atol=1e-12)


def test_all_methods_agree_behind_global_average_pooling():
    head = _random_head((), (5, 3, 2))
    torch.testing.assert_close(closed_form_maps(head, "gradcam"), closed_form_maps(head, "hirescam"))


def test_some_labels_are_those_of_all():
    head = _random_head((3, 2), (5, 3, 2))
    assert torch.equal(closed_form_maps(head.select([2, 0]), "hirescam"), closed_form_maps(head, "hirescam")[:, [2, 0]])


def test_max_pooling_by_hand():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])  # one item, one feature, two slabs of two cells
    head = LinearHead(features, torch.tensor([[[2.0, 1.0]], [[1.0, 1.0]]]), torch.tensor([10.0, 20.0]), "max")
    assert head.scores().tolist() == [[[14.0, 16.0], [23.0, 23.0]]]
    assert head.logits().tolist() == [[16.0, 23.0]]
    # the first output has its second slab, the second both alike
    assert closed_form_maps(head, "hirescam").tolist() == [[[[0, 0], [6, 0]], [[0.5, 1], [1.5, 0]]]]
    # gradients (0, 0, 2, 1) and (.5, .5, .5, .5) have the means .75 and .5
    assert closed_form_maps(head, "gradcam").tolist() == [[[[0.75, 1.5], [2.25, 0]], [[0.5, 1], [1.5, 0]]]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FEATURES, WEIGHT[:, :1], BIAS), r"weight \[M, F, \*last axes of grid\]"),
        ((FEATURES, WEIGHT[..., :1], BIAS), r"\(1, 2, 2, 2\), \(1, 2, 1\) and \(1,\)"),
        ((FEATURES, WEIGHT, torch.zeros(3)), r"bias \[M\]"),
        ((FEATURES, WEIGHT, BIAS, "median"), "unknown pooling 'median'"),
    ],
)
def test_unfit_parts_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        LinearHead(*arguments)


def test_unknown_method():
    with pytest.raises(ValueError, match="no closed form for 'scorecam'"):
        closed_form_maps(LinearHead(FEATURES, WEIGHT, BIAS), "scorecam")


def test_some_labels_keep_the_pooling_and_features():
    head = LinearHead(FEATURES, torch.cat([WEIGHT, 2 * WEIGHT]), torch.tensor([0.5, 7.0]), "max")
    one = head.select([1])
    assert (one.pooling, one.bias.tolist()) == ("max", [7.0])
    assert one.logits().tolist() == [[2 * 19 + 7]]
    assert one.features is FEATURES


@pytest.mark.parametrize(
    ("features", "weight"), [((4,), (2, 4)), ((2, 4), (2,)), ((2, 4, 3), (2, 4, 2)), ((2, 4), (2, 5))]
)
def test_shapes_that_do_not_fit_are_told(features, weight):
    with pytest.raises(ValueError, match=r"^a linear head needs features \[B, F, \*grid\], weight \[M, F, .* got \("):
        LinearHead(torch.zeros(features), torch.zeros(weight), torch.zeros(2))
