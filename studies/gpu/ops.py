"""The part ``ops``: all ops but the poolings, by launcher and by public function, against references in float64.

Shapes are odd on purpose; what ``torch.empty`` returns is filled with NaN, so that nothing unwritten passes. The limits
are those of the ops' own tests: 5e-6 where sums and results are fp32, 1e-3 and 1e-2 where a result is rounded to fp16
and bf16.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fsrcache.kernels import gradient_norm, penalty_direction, symmetric_gather
from fsrcache.kernels.gradient_norm import (
    gradient_norm_reference,
    launch_gradient_norm,
    launch_penalty_direction,
    penalty_direction_reference,
)
from fsrcache.kernels.symmetric_gather import launch_symmetric_gather, symmetric_gather_reference
from studies.gpu.checks import Check, Limited, Setting, distance, unequal
from studies.gpu.drawn import DTYPES, HALF, SUMS, drawn, in_layouts
from studies.gpu.logarithms import logarithm_checks

Results = Iterator[tuple[str, Any]]
# Kernels are compiled anew for every type and power, and for sizes that 16 divides or not: some of each.
_GRADIENTS = [(1, 1), (0, 7), (1, 1, 5, 5), (3, 1, 31, 31), (300, 5), (2, 1023), (16, 1, 128, 128), (4096, 65)]
_ALL = ((3, 1, 31, 31), (16, 1, 128, 128))  # shapes for all types, and in fp32 for all powers
_SIDES = (1, 2, 31, 65, 64, 128, 131)
_ALL_SIDE = 31  # side for all pairs of types


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills what torch.empty returns
    device, few = setting.device, 4 if setting.rehearsal else None
    for shape in _GRADIENTS[:few]:
        several = shape in _ALL
        for dtype in DTYPES if several else DTYPES[:1]:
            powers = (1.0, 2.0, 3.5, 6.0) if several and dtype == torch.float32 else (6.0,)
            work = partial(_norms, device, shape, dtype, powers)
            yield Check(f"gradient_norm, penalty_direction {shape} {dtype}", work)
    for side in _SIDES[:few]:
        for cached in (*DTYPES, torch.int8) if side == _ALL_SIDE else (torch.float16,):
            yield Check(f"symmetric_gather D {side} {cached}", partial(_gather, device, side, cached))
    yield Check("gradient_norm, penalty_direction, layouts", partial(_norm_layouts, device))
    yield Check("symmetric_gather, layouts", partial(_gather_layouts, device))
    yield Check("a NaN stays in its sample", partial(_nan, device))
    yield Check("a row that is not in the cache", partial(_unknown_rows, device))
    yield from logarithm_checks(setting)


def _norms(device: torch.device, shape: tuple[int, ...], dtype: torch.dtype, powers: tuple[float, ...]) -> Results:
    g = 0.3 * drawn(*shape, device=device, dtype=dtype)
    if shape[0] > 1:
        g[1] = 0
    for power in powers:
        expected = gradient_norm_reference(g.double(), power)
        yield f"norm, p {power}", Limited(distance(launch_gradient_norm(g, power), expected), SUMS)
        yield f"its op, p {power}", Limited(distance(gradient_norm(g, power), expected), SUMS)
        wanted = penalty_direction_reference(g.double(), 2.0, power)
        for index, exact in enumerate(wanted):
            for name, results in (("direction", launch_penalty_direction(g, 2.0, power)),
                                  ("its op", penalty_direction(g, 2.0, power))):  # fmt: skip
                yield f"{name}'s result {index}, p {power}", Limited(distance(results[index], exact), SUMS)
    leaf, exact_leaf = g.clone().requires_grad_(), g.double().requires_grad_()
    upstream = drawn(shape[0], device=device, seed=1)
    upstream /= gradient_norm_reference(g.double(), 6.0).clamp(min=1).float()  # fp16 holds no more than 65504
    (mine,) = torch.autograd.grad(gradient_norm(leaf, 6.0), leaf, upstream)
    (by,) = torch.autograd.grad(gradient_norm(exact_leaf, 6.0), exact_leaf, upstream.double())
    yield "gradient of the norm", Limited(distance(mine, by), HALF[dtype])


def _gather(device: torch.device, side: int, cached: torch.dtype) -> Results:
    length = side * (side + 1) // 2
    cache = (20 * drawn(7, length, device=device)).clamp(-100, 100).to(cached)
    mean, scale = drawn(length, device=device, seed=1), drawn(length, device=device, seed=2)
    rows = torch.tensor([6, 0, 3, 3], device=device)
    types = DTYPES if side == _ALL_SIDE else DTYPES[:1]
    for name, mean_or_none, scale_or_none in (
        ("", mean, scale), (", not quantised", None, None), (", of mean 0", None, scale),
    ):  # fmt: skip
        expected = symmetric_gather_reference(
            cache.double(), rows, _exact(mean_or_none), _exact(scale_or_none), torch.float64
        )
        for dtype in types if mean_or_none is not None else DTYPES[:1]:
            pictures = launch_symmetric_gather(cache, rows, mean_or_none, scale_or_none, dtype)
            limit = 1e-6 if dtype == torch.float32 else HALF[dtype]
            yield f"launched, to {dtype}{name}", Limited(distance(pictures, expected), limit)
            yield f"symmetric, to {dtype}{name}", unequal(pictures, pictures.mT)
            public = symmetric_gather(cache, rows, mean_or_none, scale_or_none, dtype)
            yield f"the op, to {dtype}{name}", Limited(distance(public, expected), limit)
    by_int32 = launch_symmetric_gather(cache, rows.int(), mean, scale, torch.float32)
    yield "int32 rows", unequal(by_int32, launch_symmetric_gather(cache, rows, mean, scale, torch.float32))
    none = launch_symmetric_gather(cache, rows[:0], mean, scale, torch.float32)
    yield "no rows", Limited(float(none.shape != (0, 1, side, side)), 0)
    if cache.is_floating_point():
        yield from _gather_gradients(cache, rows, mean, scale)


def _exact(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else vector.double()


def _gather_gradients(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor) -> Results:
    gradients = []
    for double in (False, True):
        leaves = [(tensor.double() if double else tensor.clone()).requires_grad_() for tensor in (cache, mean, scale)]
        pictures = symmetric_gather(leaves[0], rows, leaves[1], leaves[2], leaves[1].dtype)
        upstream = drawn(*pictures.shape, device=cache.device, seed=3).to(pictures.dtype)
        gradients.append(torch.autograd.grad(pictures, leaves, upstream))
    for name, got, by in zip(("cache", "mean", "scale"), *gradients, strict=True):
        limit = HALF[cache.dtype] if name == "cache" else SUMS
        yield f"gradient by the {name}", Limited(distance(got, by), limit)


def _norm_layouts(device: torch.device) -> Results:
    def normed(g: Tensor) -> list[tuple[Tensor, Tensor]]:
        exact = penalty_direction_reference(g.double(), 2.0, 6.0)
        pairs = list(zip(launch_penalty_direction(g, 2.0, 6.0), exact, strict=True))
        return [*pairs, (launch_gradient_norm(g, 6.0), gradient_norm_reference(g.double(), 6.0))]

    yield from in_layouts(0.3 * drawn(4, 31, 31, device=device), normed)


def _gather_layouts(device: torch.device) -> Results:
    rows = torch.tensor([[3, 9], [0, 9], [1, 9]], device=device)[:, 0]
    vectors = drawn(21, 2, device=device, seed=1)
    mean, scale = vectors[:, 0], vectors[:, 1]

    def gathered(cache: Tensor) -> list[tuple[Tensor, Tensor]]:
        flat = cache[:, 0]  # [4, 21]
        exact = symmetric_gather_reference(flat.double(), rows, mean.double(), scale.double(), torch.float64)
        return [(launch_symmetric_gather(flat, rows, mean, scale, torch.float32), exact)]

    yield from in_layouts(drawn(4, 1, 21, device=device), gathered)


def _nan(device: torch.device) -> Results:
    x = drawn(3, 20, 9, device=device)
    x[1, 3, 4] = torch.nan
    cache = drawn(3, 21, device=device)
    cache[1, 5] = torch.nan
    for name, result in {
        "gradient_norm": launch_gradient_norm(x, 6.0)[:, None],
        "penalty_direction": launch_penalty_direction(x, 2.0, 6.0)[1],
        "symmetric_gather": launch_symmetric_gather(cache, torch.arange(3, device=device), cache[0], cache[0],
                                                    torch.float32),
    }.items():  # fmt: skip
        bad = result.flatten(1).isnan().any(1).tolist()
        yield name, Limited(float(bad != [False, True, False]), 0)


def _unknown_rows(device: torch.device) -> Results:
    cache, vector = drawn(2, 6, device=device), torch.ones(6, device=device)
    rows = torch.tensor([1, 2, -1, 0, 2**40], device=device)
    pictures = launch_symmetric_gather(cache, rows, vector, vector, torch.float32)
    is_nan = pictures.isnan().flatten(1)
    yield "all NaN", Limited(float(is_nan.all(1).tolist() != [False, True, True, False, True]), 0)
    yield "others finite", Limited(float(is_nan.any(1).tolist() != [False, True, True, False, True]), 0)
