"""Numbers of the published implementation, and the formulas that filled its inputs and weights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from organcam.networks import AxialNet


class Published:
    """Fill rules S and Q, comparison with stored values or checksums, and the network with the published weights."""

    @staticmethod
    def sine(tag: int, shape: Sequence[int], amp: float = 1.0, off: float = 0.0) -> Tensor:
        i = np.arange(math.prod(shape), dtype=np.float64)
        values = off + amp * np.sin(0.7 * i + 1.3 * tag)
        return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(tuple(shape))

    @staticmethod
    def noise(tag: int, shape: Sequence[int], amp: float = 1.0, off: float = 0.0) -> Tensor:
        i = np.arange(math.prod(shape), dtype=np.int64)
        r = (17 * i * i + 31 * i + 101 * tag) % 9973
        values = off + amp * (2 * r / 9972 - 1)
        return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(tuple(shape))

    @staticmethod
    def assert_agrees(found: Tensor, stored: dict[str, Any], atol: float = 1e-6, rtol: float = 1e-8) -> None:
        """All values, or their permutation-sensitive checksum, within the published tolerance."""
        assert list(found.shape) == stored["shape"]
        flat = found.detach().double().flatten().numpy()
        if "values" in stored:
            np.testing.assert_allclose(flat, stored["values"], atol=atol, rtol=rtol)
            return
        order = np.sin(0.7 * np.arange(flat.size, dtype=np.float64) + 1.3 * 999)
        sums = {"sum": flat.sum(), "abs_sum": np.abs(flat).sum(), "dot999": flat @ order}
        for name, value in sums.items():
            np.testing.assert_allclose(value, stored[name], atol=atol * math.sqrt(flat.size), rtol=1e-8, err_msg=name)
        for name, value in {"min": flat.min(), "max": flat.max()}.items():
            np.testing.assert_allclose(value, stored[name], atol=atol, rtol=rtol, err_msg=name)
        places, values = zip(*stored["at"], strict=True)
        np.testing.assert_allclose(flat[list(places)], values, atol=atol, rtol=rtol)

    def fill_head(self, network: AxialNet, case: dict[str, Any]) -> None:
        """Head and linear layer of oracle item 1."""
        convolutions = [module for module in network.head if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            for n, (conv, amp) in enumerate(zip(convolutions, case["conv_weight_amps"], strict=True)):
                conv.weight.copy_(self.sine(2001 + 10 * n, conv.weight.shape, amp))
                conv.bias.copy_(self.sine(2002 + 10 * n, conv.bias.shape, 0.1))
            network.fc.weight.copy_(self.sine(2101, network.fc.weight.shape, case["fc_weight_amp"]))
            network.fc.bias.copy_(self.sine(2102, network.fc.bias.shape, 0.1))

    def head_network(self, kind: str, case: dict[str, Any], head: str = "reference", **options: Any) -> AxialNet:
        """The network of oracle item 1: its backbone returns the stored features, whatever the input."""
        network = AxialNet(5, head=head, **options).double().eval()
        fill = self.sine if kind == "sine" else self.noise
        network.backbone = _Given(fill(3001, (3, 512, 14, 14), off=0.0 if kind == "sine" else 0.5))
        if head == "reference":
            self.fill_head(network, case)
        else:
            with torch.no_grad():
                network.fc.weight.copy_(self.sine(2111, network.fc.weight.shape, case["nocustomconv_fc_weight_amp"]))
                network.fc.bias.copy_(self.sine(2112, network.fc.bias.shape, 0.1))
        return network


class _Given(nn.Module):
    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("features", features)

    def forward(self, slabs: Tensor) -> Tensor:
        return self.features


@pytest.fixture(scope="session")
def published() -> Published:
    return Published()


@pytest.fixture(scope="session")
def oracle(shared_spec) -> dict[str, Any]:
    return json.loads((shared_spec / "axialnet_oracle.json").read_text())
