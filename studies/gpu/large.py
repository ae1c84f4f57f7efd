"""Checks of ``stress`` beyond 2^31 numbers, where a 32-bit offset goes round."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fsrcache.kernels.covariance_pool import (
    covariance_pool_backward_reference,
    covariance_pool_reference,
    launch_covariance_pool,
    launch_covariance_pool_backward,
)
from fsrcache.kernels.gradient_norm import (
    gradient_norm_reference,
    launch_gradient_norm,
    launch_penalty_direction,
    penalty_direction_reference,
)
from fsrcache.kernels.symmetric_gather import launch_symmetric_gather, symmetric_gather_reference
from fsrcache.memory import free_memory
from studies.gpu.checks import Check, Limited, NotRunError, Setting, distance
from studies.gpu.drawn import drawn

Results = Iterator[tuple[str, Any]]
_GB = 2**30
_SUMS = 5e-6


def large_checks(setting: Setting) -> Iterator[Check]:
    """Yield the checks; in a rehearsal they are small."""
    yield Check("covariance_pool of a batch beyond 2^31 numbers", partial(_pool, setting))
    yield Check("symmetric_gather from a cache beyond 2^31 numbers", partial(_gather, setting))
    yield Check("penalty_direction of a batch beyond 2^31 numbers", partial(_norms, setting))


def _need(setting: Setting, gigabytes: float) -> None:
    """Raise if memory does not suffice."""
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(setting.device)[0]
    else:
        free = free_memory()
    if not setting.rehearsal and free < gigabytes * _GB:
        raise NotRunError(f"It takes {gigabytes:.0f} GiB, and {free / _GB:.0f} GiB are free.")


def _pool(setting: Setting) -> Results:
    _need(setting, 50)
    count = 3 if setting.rehearsal else 60_000  # 2.2e9 numbers in and 3.9e9 out
    shape = (16, 9) if setting.rehearsal else (256, 144)
    x = torch.randn(count, *shape, device=setting.device, dtype=torch.float16)
    pooled = launch_covariance_pool(x, 1e-4)
    by_x = launch_covariance_pool_backward(pooled, x, 1e-4)
    for row in (0, count // 2, count - 1):
        here = slice(row, row + 1)
        exact = covariance_pool_reference(x[here].double(), 1e-4)
        yield f"sample {row}", Limited(distance(pooled[here], exact), _SUMS)
        exact = covariance_pool_backward_reference(pooled[here].double(), x[here].double(), 1e-4)
        yield f"sample {row}, backward", Limited(distance(by_x[here], exact), 1e-3)


def _gather(setting: Setting) -> Results:
    _need(setting, 10)
    count, side = (9, 16) if setting.rehearsal else (262_200, 128)  # 2.2e9 numbers
    length, chosen = side * (side + 1) // 2, 3
    cache = torch.zeros(count, length, device=setting.device, dtype=torch.float16)
    cache[-chosen:] = drawn(chosen, length, device=setting.device)
    rows = torch.arange(count - chosen, count, device=setting.device)
    mean, scale = drawn(length, device=setting.device, seed=1), drawn(length, device=setting.device, seed=2)
    pictures = launch_symmetric_gather(cache, rows, mean, scale, torch.float32)
    exact = symmetric_gather_reference(cache[-chosen:].double(), rows - rows[0], mean.double(), scale.double(),
                                       torch.float64)  # fmt: skip
    yield "the last rows", Limited(distance(pictures, exact), 1e-6)


def _norms(setting: Setting) -> Results:
    _need(setting, 16)
    count, size = (9, 40) if setting.rehearsal else (140_000, 16_384)  # 2.3e9 numbers
    g = torch.zeros(count, size, device=setting.device, dtype=torch.float16)
    g[-2:] = drawn(2, size, device=setting.device)
    last = g[-2:].double()
    powers = launch_gradient_norm(g, 2.0)
    yield "norms of the last", Limited(distance(powers[-2:], gradient_norm_reference(last, 2.0)), _SUMS)
    direction = launch_penalty_direction(g, 2.0, 2.0)[1]
    exact = penalty_direction_reference(last, 2.0 * 2 / count, 2.0)[1]
    yield "directions of the last", Limited(distance(direction[-2:], exact), _SUMS)
