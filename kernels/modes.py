"""An op in every mode of PyTorch, with the same result: autocast, transforms, fast products, second derivatives.

An op computes in a dtype of its own, see ``accumulator``. Autocast would do its products in half precision, and a
setting of the process (``torch.set_float32_matmul_precision``) those of fp32 in TensorFloat-32 or bf16. Transforms of
``torch.func`` and forward-mode differentiation do not see an op's gradient, and the latter would assume 0: where they
are active a function is its reference, which PyTorch transforms by itself. Where nobody differentiates or traces, the
functions that a frozen extractor calls are their bodies on a CPU (``needs_no_op``).
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch._library.custom_ops import CustomOpDef
from torch.autograd import forward_ad

from fsrcache.errors import FsrcacheError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def accumulator(*tensors: Tensor) -> torch.dtype:
    """Return the dtype of sums and results: float64 if all tensors are, else fp32."""
    return torch.float64 if all(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def multiplier(*tensors: Tensor) -> torch.dtype:
    """Return the dtype in which PyTorch's products are as exact as the accumulator.

    It is float64 where the process is set to multiply fp32 numbers with fewer bits than they have. The setting is read
    and not changed, since other threads share it. Compiled code follows the setting.
    """
    dtype = accumulator(*tensors)
    if dtype == torch.float64 or torch.compiler.is_compiling():
        return dtype
    backend = torch.backends.cuda if tensors[0].is_cuda else torch.backends.mkldnn
    return torch.float64 if backend.matmul.fp32_precision in ("tf32", "bf16") else dtype


def without_autocast(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function of tensors, all on one device, compute as if there were no autocast."""

    @wraps(function)
    def plain(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        arguments = (*args, *kwargs.values())
        device = next((argument.device.type for argument in arguments if isinstance(argument, Tensor)), "meta")
        if device == "meta" or not torch.is_autocast_enabled(device):
            return function(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return plain


def transformed() -> bool:
    """Return whether a transform of ``torch.func`` or forward-mode differentiation is active."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def needs_no_op(*tensors: Tensor) -> bool:
    """Return whether an op on these tensors would be its body on a CPU, as nobody differentiates or traces.

    Calling the body spares the first call of an op: PyTorch imports its compiler for it, which takes a second.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch._C._len_torch_dispatch_stack():
        return False
    return all(type(tensor) in (Tensor, nn.Parameter) and tensor.is_cpu for tensor in tensors)


def op_body(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function the body of an op: without autocast, and an error in forward mode, whose derivative it lacks."""

    @wraps(function)
    def body(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if forward_ad._current_level >= 0:
            raise FsrcacheError(
                f"The op {function.__name__.strip('_')} has no forward-mode derivative.",
                "Within forward mode call the function of fsrcache.kernels, or differentiate in reverse.",
            )
        return without_autocast(function)(*args, **kwargs)

    return body


def second_derivative(op: str) -> FsrcacheError:
    """Return the error of an op that is differentiated twice."""
    return FsrcacheError(
        f"{op} is differentiated once, not twice.",
        "Leave out create_graph=True, or compute the second derivative from PyTorch's own operations.",
    )


def refuse_second_derivative(backward: CustomOpDef, op: str) -> None:
    """Make the gradient of an op an error when it is differentiated, instead of a wrong number."""

    def refuse(ctx: Any, *gradients: Tensor) -> NoReturn:  # noqa: ARG001  autograd's signature
        raise second_derivative(op)

    backward.register_autograd(refuse)
