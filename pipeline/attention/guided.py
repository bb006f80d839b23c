"""ReLUs that let only positive gradients through, for as long as a block lasts; no module is touched.

PyTorch's function mode sees every call of this thread above autograd, so that ``nn.ReLU``, ``F.relu``, ``torch.relu``
and a tensor's own methods are all the same to it, under whatever name and however often a module runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["GuidedReLUs", "check_guidable"]


class _GuidedReLU(torch.autograd.Function):
    """ReLU, whose gradient is guided while the mode lasts; a loss that goes through the same graph later is not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mode: GuidedReLUs) -> Tensor:
        y = x.clamp_min(0)
        ctx.save_for_backward(y)
        ctx.mode = mode
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        gradient = gradients[0].clamp_min(0) if ctx.mode.active else gradients[0]
        return gradient * (y > 0), None


RELUS = {functional.relu, torch.relu, Tensor.relu}
RELUS_IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_}
CLAMPS = {torch.clamp, Tensor.clamp, torch.clip, Tensor.clip, torch.clamp_min, Tensor.clamp_min}
CLAMPS_IN_PLACE = {torch.clamp_, Tensor.clamp_, torch.clip_, Tensor.clip_, torch.clamp_min_, Tensor.clamp_min_}


class GuidedReLUs(TorchFunctionMode):
    """Inside it ReLUs are guided, also those that are written as ``clamp(min=0)``.

    Attributes:
        met: how many there were.
        active: whether the block still lasts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self.active = False

    def __enter__(self) -> GuidedReLUs:
        self.active = True
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.active = False
        super().__exit__(*raised)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        in_place = func in RELUS_IN_PLACE or func in CLAMPS_IN_PLACE or _flag(func, args, kwargs)
        is_relu = func in RELUS or func in RELUS_IN_PLACE
        if not is_relu and not ((func in CLAMPS or func in CLAMPS_IN_PLACE) and _clamps_at_zero(args, kwargs)):
            return func(*args, **kwargs)
        self.met += 1
        x = args[0] if args else kwargs["input"]
        found = _GuidedReLU.apply(x, self)
        if not in_place:
            return found
        return x.copy_(found) if _may_be_written(x) else found


def check_guidable(network: nn.Module) -> None:
    """Raise where ReLUs could run unseen.

    Raises:
        ValueError: for a network with TorchScript in it.
    """
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            where = f"its part {name!r}" if name else "it"
            msg = (
                f"guided methods cannot reach the ReLUs of {type(network).__name__}: {where} is TorchScript; give the "
                "Python network, or use another method, such as gradient_x_input"
            )
            raise ValueError(msg)


def _may_be_written(x: Tensor) -> bool:
    return not (x.is_leaf and x.requires_grad)


def _flag(func: Any, args: Any, kwargs: Any) -> bool:
    return func is functional.relu and bool(kwargs.get("inplace", args[1] if len(args) > 1 else False))


def _clamps_at_zero(args: Any, kwargs: Any) -> bool:
    lower = kwargs.get("min", args[1] if len(args) > 1 else None)
    upper = kwargs.get("max", args[2] if len(args) > 2 else None)
    return isinstance(lower, (int, float)) and lower == 0 and upper is None
