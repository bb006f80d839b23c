import pytest
import torch

from organcam.attention import METHODS, cam, gradcam, gradient_x_input, hirescam, xgradcam

# Two features on three places.
ACTIVATION = torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 3.0]])
GRADIENT = torch.tensor([[3.0, -3.0, 3.0], [1.0, 1.0, -5.0]])


def test_hirescam_multiplies_place_by_place():
    assert hirescam(ACTIVATION, GRADIENT, 1).tolist() == [3 + 4, -6 + 0, 0 - 15]


def test_gradcam_averages_the_gradient_first():
    assert gradcam(ACTIVATION, GRADIENT, 1).tolist() == [1 - 4, 2 - 0, 0 - 3]  # feature weights 1 and -1


def test_nothing_is_clipped_or_scaled():
    for method in (hirescam, gradcam, xgradcam, cam, gradient_x_input):
        assert method(ACTIVATION, GRADIENT, 1).min() < 0
        torch.testing.assert_close(method(ACTIVATION, 7 * GRADIENT, 1), 7 * method(ACTIVATION, GRADIENT, 1))


def test_equal_gradients_make_the_methods_equal():
    activation, weight = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 1, 1, 1)
    gradient = weight.expand_as(activation)
    torch.testing.assert_close(gradcam(activation, gradient, 3), hirescam(activation, gradient, 3))


def test_leading_axes_broadcast():
    activation, gradients = torch.randn(2, 1, 3, 5), torch.randn(2, 4, 3, 5)  # [B, 1, F, places] and [B, M, F, places]
    maps = hirescam(activation, gradients, 1)
    assert maps.shape == (2, 4, 5)
    torch.testing.assert_close(maps[1, 2], hirescam(activation[1, 0], gradients[1, 2], 1))


def test_unknown_method_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown attention method 'hirescan': did you mean 'hirescam'\?"):
        METHODS.get("hirescan")
