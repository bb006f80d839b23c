"""The inferer that asks for attention."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor

from organcam.inferers import LogitsAndAttentionInferer


def test_network_is_called_once_with_attention_and_without_metadata():
    calls = []

    def network(x, scale, attention=False):
        calls.append((type(x), scale, attention))
        return {"logits": x.sum((1, 2)), "attention": x * scale}

    out = LogitsAndAttentionInferer()(MetaTensor(torch.ones(2, 1, 3)), network, scale=2)
    assert calls == [(torch.Tensor, 2, True)]
    assert out["attention"].tolist() == torch.full((2, 1, 3), 2.0).tolist()


def test_attention_keeps_its_gradient():
    weight = torch.ones(3, requires_grad=True)
    out = LogitsAndAttentionInferer()(
        torch.ones(1, 3), lambda x, attention: {"logits": x @ weight, "attention": x * weight}
    )
    out["attention"].sum().backward()
    assert weight.grad.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(("output", "words"), [(torch.ones(1), "got Tensor"), ({"logits": 1}, r"got \['logits'\]")])
def test_other_outputs_are_refused(output, words):
    with pytest.raises(TypeError, match=words):
        LogitsAndAttentionInferer()(torch.ones(1), lambda x, attention: output)
