"""What the modes of PyTorch's around an op change in it, which is nothing: autocast, transforms, fast products.

An op computes in a type of its own, which ``accumulator`` tells. Autocast would have its products done in half
precision, and a setting of the process (``torch.set_float32_matmul_precision``) those of fp32 in TensorFloat-32 or
bf16. Transforms of ``torch.func`` and forward-mode differentiation do not see an op's gradient, and the latter would
take it to be 0: where they are at work a function is its reference, which PyTorch transforms by itself.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from fsrcache.errors import FsrcacheError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def accumulator(*tensors: Tensor) -> torch.dtype:
    """Return the type of sums and results: float64 if all tensors are, else fp32."""
    return torch.float64 if all(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def multiplier(*tensors: Tensor) -> torch.dtype:
    """Return the type in which PyTorch's products are as exact as the accumulator.

    It is float64 where the process is set to multiply fp32 numbers with fewer bits than they have. The setting is read
    and not changed, since other threads have it too. What is compiled keeps to the setting.
    """
    dtype = accumulator(*tensors)
    if dtype == torch.float64 or torch.compiler.is_compiling():
        return dtype
    backend = torch.backends.cuda if tensors[0].is_cuda else torch.backends.mkldnn
    return torch.float64 if backend.matmul.fp32_precision in ("tf32", "bf16") else dtype


def without_autocast(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a function of tensors, all on one device, done as if there were no autocast."""

    @wraps(function)
    def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = (*args, *kwargs.values())
        device = next((argument.device.type for argument in given if isinstance(argument, Tensor)), "meta")
        if device == "meta" or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return plain


def transformed() -> bool:
    """Tell whether a transform of ``torch.func`` or forward-mode differentiation is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def op_body(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make of a function what an op does: without autocast, and an error in forward mode, whose derivative it lacks."""

    @wraps(function)
    def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if forward_ad._current_level >= 0:
            raise FsrcacheError(
                f"The op {function.__name__.strip('_')} has no forward-mode derivative.",
                "Within forward mode call the function of fsrcache.kernels, or differentiate in reverse.",
            )
        return without_autocast(function)(*args, **kwargs)

    return body
