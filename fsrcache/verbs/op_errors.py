"""How far every op of ``fsrcache.kernels`` is from its definition in float64, on a device at a small size."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsrcache import kernels
from fsrcache.device import fp32_precision

_BATCH, _CHANNELS, _POSITIONS, _SIDE, _RIDGE, _FLOOR = 3, 32, 36, 16, 1e-3, 1e-4


class OpError(NamedTuple):
    """The relative distance (Frobenius) of an op's result from its definition, and the greatest that is right.

    Attributes
    ----------
    name
        Name of the op.
    error, allowed
        Distance of the result, or of its gradient where that is larger; and the greatest that rounding explains. An
        error is infinite where the op failed.
    failure
        What the op raised, in a line; empty where it gave a result.
    """

    name: str
    error: float
    allowed: float
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the op computes what it is defined to; a distance of NaN does not agree."""
        return self.error <= self.allowed


class _Case(NamedTuple):
    name: str
    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]  # float64, on the CPU, where every op is its definition
    allowed: float
    differentiable: bool = True


def op_errors(device: torch.device) -> Iterator[OpError]:
    """Yield the error of every op in fp32, result and gradient; on a GPU its kernels are compiled for that.

    Parameters
    ----------
    device
        Device that computes.
    """
    for case in _cases():
        try:
            with fp32_precision(tf32=False):
                yield OpError(case.name, _error(case, device), case.allowed)
        except Exception as error:  # of a compiler, a driver or a library: the other ops may work
            failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            yield OpError(case.name, math.inf, case.allowed, failure)


def _cases() -> list[_Case]:
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    x = normal(_BATCH, _CHANNELS, _POSITIONS).relu_()
    w = torch.linalg.qr(normal(_CHANNELS, _SIDE))[0].mT.contiguous()
    matrices = kernels.bimap_covariance_pool(x, w, _RIDGE)
    pictures, vectors = normal(_BATCH, 1, _SIDE, _SIDE), normal(2 * _BATCH, _SIDE * (_SIDE + 1) // 2)
    rows = torch.arange(_BATCH)
    weights = normal(4, 1, 3, 3), normal(1, 4 * _SIDE * _SIDE) / _SIDE

    def penalty(x: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
            critic = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.LeakyReLU(0.2), nn.Flatten(),
                                   nn.Linear(4 * _SIDE * _SIDE, 1, bias=False)).to(x)  # fmt: skip
        for parameter, weight in zip(critic.parameters(), weights, strict=True):
            parameter.data.copy_(weight)
        return torch.cat([gradient.flatten() for gradient in kernels.closed_form_penalty(critic, x)[1]])

    def gather(vectors: Tensor) -> Tensor:
        return kernels.symmetric_gather(vectors, rows.to(vectors.device), None, None, vectors.dtype)

    return [
        _Case("covariance_pool", lambda x: kernels.covariance_pool(x, _RIDGE), (x,), 1e-5),
        _Case("bimap_covariance_pool", lambda x, w: kernels.bimap_covariance_pool(x, w, _RIDGE), (x, w), 1e-5),
        _Case("log_eig", lambda S: kernels.log_eig(S, _FLOOR), (matrices,), 1e-3),
        _Case("log_eig_gemm", lambda S: kernels.log_eig_gemm(S, _FLOOR), (matrices,), 1e-3),
        _Case("symmetric_gather", gather, (vectors,), 1e-6),
        _Case("gradient_norm", lambda g: kernels.gradient_norm(g / _SIDE, 6.0), (pictures,), 1e-5),
        _Case("penalty_direction", lambda g: kernels.penalty_direction(g / _SIDE, 2.0, 6.0)[1], (pictures,), 1e-5,
              differentiable=False),
        _Case("closed_form_penalty", penalty, (pictures,), 1e-4, differentiable=False),
    ]  # fmt: skip


def _error(case: _Case, device: torch.device) -> float:
    """Return the larger distance of result and gradient."""
    results = _results(case, [tensor.to(device, torch.float32) for tensor in case.inputs])
    exact = _results(case, [tensor.clone() for tensor in case.inputs])
    distances = [(a.cpu().double() - b).norm() / b.norm() for a, b in zip(results, exact, strict=True)]
    return torch.stack(distances).max().item()  # NaN if one is


def _results(case: _Case, inputs: list[Tensor]) -> list[Tensor]:
    """Return the result, and the gradient of a weighted sum of it with respect to every input."""
    if not case.differentiable:
        return [case.function(*inputs)]
    leaves = [tensor.requires_grad_() for tensor in inputs]
    result = case.function(*leaves)
    upstream = torch.linspace(-1, 1, result.numel(), dtype=result.dtype, device=result.device).reshape(result.shape)
    return [result.detach(), *torch.autograd.grad(result, leaves, upstream)]
