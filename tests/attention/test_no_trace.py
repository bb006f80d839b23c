"""Nothing of the network or the process is changed: every method, exceptions, threads, autocast, compiled, wrapped."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from organcam.attention import METHODS, attention_maps

NEEDS_LAYER = {"hirescam", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam", "guided_gradcam"}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.drop, self.pool, self.fc = nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Linear(3, 4)

    def forward(self, x):
        z = self.drop(self.act(self.norm(self.conv(x))))
        return self.fc(self.pool(z).flatten(1))


def make():
    torch.manual_seed(0)
    network = Network().double()
    network.norm.running_mean.uniform_()
    return network


def image(seed=1, batch=2):
    return torch.randn(batch, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def options_of(method):
    return {"method": method, "layer": "act" if method in NEEDS_LAYER else None}


def state_of(network):
    return [
        [p.grad.clone() for p in network.parameters()],
        [p.clone() for p in network.state_dict().values()],
        [p.requires_grad for p in network.parameters()],
        [m.training for m in network.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in network.modules()],
        [getattr(m, "inplace", None) for m in network.modules()],
        [type(m) for m in network.modules()],
        [torch.get_rng_state(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()],
    ]


def same(left, right):
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize("broken", [False, True])
def test_no_method_leaves_a_trace(method, broken):
    network = make().train()
    network.norm.eval()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    network.fc.bias.requires_grad_(False)
    before = state_of(network)
    if broken:
        x = image()
        x[1, 0, 0, 0] = 1e308
        words = "NaN or infinity, first in item 1"
        with pytest.raises(ValueError, match=words):
            attention_maps(network, x * 1e3, **options_of(method))
        with pytest.raises(ValueError, match="out of range"):
            attention_maps(network, image(), targets=9, **options_of(method))
    else:
        attention_maps(network, image(), **options_of(method))
    same(before, state_of(network))


@pytest.mark.parametrize("method", METHODS.names())
def test_surroundings_change_nothing(method):
    expected = attention_maps(make(), image(), **options_of(method)).values
    network = make()
    with torch.inference_mode():
        assert torch.equal(attention_maps(network, image() + 0, **options_of(method)).values, expected)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attention_maps(network.train(), image(), **options_of(method)).values, expected)
    frozen = make().requires_grad_(False)
    assert torch.equal(attention_maps(frozen, image(), **options_of(method)).values, expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("method", ["hirescam", "guided_backprop", "cam"])
def test_threads_with_one_network_get_each_their_own_maps(method):
    network = make().train()
    expected = [attention_maps(network, image(seed), **options_of(method)).values for seed in range(8)]
    wrong, plain = [], []
    everyone = threading.Barrier(9)

    def explain(seed):
        everyone.wait()
        for _ in range(5):
            found = attention_maps(network, image(seed), **options_of(method)).values
            if not torch.equal(found, expected[seed]):
                wrong.append(seed)

    def use():  # somebody else's forward passes through the same modules
        everyone.wait()
        for _ in range(30):
            with torch.no_grad():
                plain.append(network.conv(image(3)).requires_grad)

    threads = [threading.Thread(target=explain, args=(seed,)) for seed in range(8)] + [threading.Thread(target=use)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert plain == [False] * 30
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("method", ["hirescam", "guided_backprop", "gradcam"])
@pytest.mark.parametrize("how", ["whole", "in place", "part"])
def test_compiled_networks_that_have_run_already(how, method):
    """Compiled code ignores hooks that were put on later."""
    network, expected = make().eval(), attention_maps(make(), image(), **options_of(method)).values
    options, wrapped = options_of(method), network
    if how == "whole":
        wrapped = torch.compile(network, backend="eager")
    elif how == "in place":
        network.compile(backend="eager")
    else:
        network.act = torch.compile(network.act, backend="eager")
        network.conv.compile(backend="eager")
    with torch.no_grad():
        wrapped(image())
    if options["layer"] and how == "part":
        options["layer"] = "act._orig_mod"
    torch.testing.assert_close(attention_maps(wrapped, image(), **options).values, expected, rtol=0, atol=1e-14)


def test_a_closed_form_in_a_compiled_network():
    network = torch.compile(make().eval(), backend="eager")
    with torch.no_grad():
        network(image())
    found = attention_maps(network, image())
    assert found.closed_form
    assert torch.equal(found.values, attention_maps(make(), image()).values)


def test_one_rank_alone_explains_a_network_that_is_trained_by_two(tmp_path):
    """A hook on DistributedDataParallel would wait for the other rank for ever."""
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, torch, torch.distributed as dist
            from torch.nn.parallel import DistributedDataParallel
            from torch import nn
            from organcam.attention import attention_maps
            rank = int(sys.argv[1])
            dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
            torch.manual_seed(0)
            network = nn.Sequential(
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
            )
            wrapped = DistributedDataParallel(network)
            x = torch.randn(2, 1, 32, 32)
            wrapped(x).sum().backward()
            if rank == 0:
                for method in ("hirescam", "gradient", "guided_backprop"):
                    maps = attention_maps(wrapped, x, method=method)
                    assert torch.equal(maps.values, attention_maps(network, x, method=method).values)
            dist.barrier()
            dist.destroy_process_group()
            print("done")
            """
        )
    )
    ranks = [
        subprocess.Popen([sys.executable, str(script), str(rank)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    try:
        assert [rank.communicate(timeout=180)[0].strip() for rank in ranks] == ["done", "done"]
    finally:
        for rank in ranks:
            rank.kill()


class Twice(nn.Module):
    """In half precision, as a bundle may keep it."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(functional.relu(self.conv(x)).mean((2, 3)))


def test_half_precision_networks():
    torch.manual_seed(0)
    network, x = Twice(), image().float()
    expected = attention_maps(network, x, layer="conv").values
    found = attention_maps(network.bfloat16(), x.bfloat16(), layer="conv").values
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.01)


def test_no_chunk_of_slabs_keeps_a_graph_of_what_lies_before_the_layer():
    from organcam.networks import AxialNet

    torch.manual_seed(0)
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,), chunk=1).double().eval()
    x = torch.randn(2, 3, 3, 16, 16, dtype=torch.float64)
    recorded = []
    handle = network.backbone.register_forward_hook(lambda _m, _i, out: recorded.append(out.requires_grad))
    walked = attention_maps(network, x, layer="head")
    closed = attention_maps(network, x)
    handle.remove()
    assert recorded.count(True) == 0
    assert len(recorded) >= 6 + 6 + 3  # chunks of both, and of the check
    torch.testing.assert_close(walked.values, closed.values, rtol=0, atol=1e-13)


def test_a_module_that_runs_on_both_sides_of_the_layer_keeps_its_gradient():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.layer, self.fc = nn.Conv2d(1, 1, 3, padding=1), nn.Identity(), nn.Linear(36, 2)

        def forward(self, x):
            z = self.layer(self.conv(x))
            return self.fc((self.conv(z) + self.conv(x)).flatten(1)).tanh()

    torch.manual_seed(0)
    network, x = Shared().double(), image()
    found = attention_maps(network, x, layer="layer")
    z = network.conv(x).detach().requires_grad_()
    score = network.fc((network.conv(z) + network.conv(x)).flatten(1)).tanh()
    for label in range(2):
        gradient = torch.autograd.grad(score[:, label].sum(), z, retain_graph=True)[0]
        torch.testing.assert_close(found.values[:, label], (gradient * z).sum(1).detach(), rtol=0, atol=1e-14)
