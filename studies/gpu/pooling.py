"""The part ``pooling``: ``covariance_pool`` and ``bimap_covariance_pool`` against their references in float64.

Launchers and public ops, forward and backward, at odd shapes, in every type, from any layout. What ``torch.empty``
returns is filled with NaN, so that nothing unwritten passes. The limits are those of the ops' own tests: 5e-6 where
sums and results are fp32, 1e-3 and 1e-2 where a result is rounded to fp16 and bf16.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fsrcache.device import fp32_precision
from fsrcache.kernels import bimap_covariance_pool, covariance_pool
from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference, launch_bimap_covariance_pool
from fsrcache.kernels.covariance_pool import (
    covariance_pool_backward_reference,
    covariance_pool_reference,
    launch_covariance_pool,
    launch_covariance_pool_backward,
)
from studies.gpu.checks import Check, Limited, Setting, distance, unequal
from studies.gpu.drawn import DTYPES, HALF, SUMS, drawn, in_layouts

Results = Iterator[tuple[str, Any]]
# Kernels are compiled anew for every type and for every size that 16 divides or not: some of each.
_MAPS = [(1, 1, 1), (0, 3, 5), (2, 7, 144), (1, 31, 1), (3, 256, 144), (5, 255, 143), (1, 65, 36), (1, 17, 1023),
         (2, 1, 36), (3, 127, 2), (300, 64, 36), (2, 512, 49)]  # fmt: skip
_MAPPED = [((1, 1, 1), 1), ((0, 4, 5), 64), ((2, 65, 36), 31), ((3, 256, 144), 64), ((2, 256, 144), 128),
           ((1, 17, 1023), 17), ((1, 140, 20), 130), ((300, 64, 36), 32)]  # fmt: skip
_ALL_TYPES = ((2, 7, 144), (3, 256, 144), (5, 255, 143), (2, 65, 36))


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty returns
    device, few = setting.device, 4 if setting.rehearsal else None
    yield Check("unwritten memory is NaN", partial(_poisoned, device))
    for shape in _MAPS[:few]:
        for dtype in DTYPES if shape in _ALL_TYPES else DTYPES[:1]:
            yield Check(f"covariance_pool {shape} {dtype}", partial(_pool, device, shape, dtype))
    for shape, side in _MAPPED[:few]:
        for dtype in DTYPES if shape in _ALL_TYPES else DTYPES[:1]:
            yield Check(f"bimap_covariance_pool {shape} D {side} {dtype}", partial(_map, device, shape, side, dtype))
    yield Check("a NaN stays in its sample", partial(_nan, device))
    yield Check("covariance_pool, layouts", partial(_pool_layouts, device))
    yield Check("bimap_covariance_pool, layouts", partial(_map_layouts, device))


def _poisoned(device: torch.device) -> Results:
    like = torch.zeros(5000, device=device)
    for name, tensor in {"empty": torch.empty(5000, device=device), "empty_like": torch.empty_like(like),
                       "new_empty": like.new_empty(5000)}.items():  # fmt: skip
        yield name, Limited(float(not tensor.isnan().all()), 0)


def _pool(device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype) -> Results:
    x, upstream = drawn(*shape, device=device, dtype=dtype, offset=3), drawn(shape[0], shape[1], shape[1],
                                                                             device=device, seed=1)  # fmt: skip
    expected = covariance_pool_reference(x.double(), 1e-2)
    pooled = launch_covariance_pool(x, 1e-2)
    yield "forward", Limited(distance(pooled, expected), SUMS)
    yield "symmetric", unequal(pooled, pooled.mT)
    by_x = covariance_pool_backward_reference(upstream.double(), x.double(), 1e-2)
    yield "backward", Limited(distance(launch_covariance_pool_backward(upstream, x, 1e-2), by_x), HALF[dtype])
    leaf = x.clone().requires_grad_()
    public = covariance_pool(leaf, 1e-2)
    yield "the op", Limited(distance(public.detach(), expected), SUMS)
    (gradient,) = torch.autograd.grad(public, leaf, upstream)
    yield "its gradient", Limited(distance(gradient, by_x), HALF[dtype])
    # the upstream gradient of a sum is one number for all
    (gradient,) = torch.autograd.grad(covariance_pool(leaf, 1e-2).sum(), leaf)
    by_x = covariance_pool_backward_reference(torch.ones_like(upstream).double(), x.double(), 1e-2)
    yield "of a sum", Limited(_apart(gradient, by_x, x.double()), HALF[dtype])


def _apart(gradient: Tensor, expected: Tensor, x: Tensor) -> float:
    """Return the distance in units of x: the expected gradient may cancel to almost nothing."""
    return float((gradient.double() - expected).norm() / x.norm().clamp(min=1e-300))


def _map(device: torch.device, shape: tuple[int, int, int], side: int, dtype: torch.dtype) -> Results:
    x = drawn(*shape, device=device, dtype=dtype, offset=3)
    w = drawn(side, shape[1], device=device, dtype=dtype, seed=1) / shape[1] ** 0.5
    upstream = drawn(shape[0], side, side, device=device, seed=2)
    exact = x.double().requires_grad_(), w.double().requires_grad_()
    expected = bimap_covariance_pool_reference(*exact, 1e-2)
    pooled = launch_bimap_covariance_pool(x, w, 1e-2)
    yield "forward", Limited(distance(pooled, expected.detach()), SUMS)
    yield "symmetric", unequal(pooled, pooled.mT)
    leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
    public = bimap_covariance_pool(*leaves, 1e-2)
    yield "the op", Limited(distance(public.detach(), expected.detach()), SUMS)
    with fp32_precision(tf32=False):
        mine = torch.autograd.grad(public, leaves, upstream)
    for name, got, by in zip("xw", mine, torch.autograd.grad(expected, exact, upstream.double()), strict=True):
        yield f"gradient by {name}", Limited(distance(got, by), HALF[dtype])


def _pool_layouts(device: torch.device) -> Results:
    yield from in_layouts(drawn(4, 60, 36, device=device, offset=3), partial(_pooled_and_back, ridge=1e-2))


def _pooled_and_back(x: Tensor, *, ridge: float) -> list[tuple[Tensor, Tensor]]:
    upstream = drawn(len(x), x.shape[1], x.shape[1], device=x.device, seed=1).mT
    return [
        (launch_covariance_pool(x, ridge), covariance_pool_reference(x.double(), ridge)),
        (launch_covariance_pool_backward(upstream, x, ridge),
         covariance_pool_backward_reference(upstream.double(), x.double(), ridge)),
    ]  # fmt: skip


def _map_layouts(device: torch.device) -> Results:
    w = drawn(60, 20, device=device, seed=1).mT / 8  # [20, 60], its columns first

    def mapped(x: Tensor) -> list[tuple[Tensor, Tensor]]:
        exact = bimap_covariance_pool_reference(x.double(), w.double(), 1e-2)
        return [(launch_bimap_covariance_pool(x, w, 1e-2), exact)]

    yield from in_layouts(drawn(4, 60, 36, device=device, offset=3), mapped)


def _nan(device: torch.device) -> Results:
    x = drawn(3, 20, 9, device=device)
    x[1, 3, 4] = torch.nan
    for name, result in {
        "covariance_pool": launch_covariance_pool(x, 1e-4),
        "its backward": launch_covariance_pool_backward(drawn(3, 20, 20, device=device), x, 1e-4),
        "bimap_covariance_pool": launch_bimap_covariance_pool(x, drawn(5, 20, device=device), 1e-4),
    }.items():
        bad = result.flatten(1).isnan().any(1).tolist()
        yield name, Limited(float(bad != [False, True, False]), 0)
