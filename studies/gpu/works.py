"""The kernels at the sizes that their settings are chosen for: inputs, launch, reference."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference, launch_bimap_covariance_pool
from fsrcache.kernels.covariance_pool import (
    covariance_pool_backward_reference,
    covariance_pool_reference,
    launch_covariance_pool,
    launch_covariance_pool_backward,
)
from fsrcache.kernels.gradient_norm import launch_penalty_direction, penalty_direction_reference
from fsrcache.kernels.log_eig import log_eig_reference
from fsrcache.kernels.log_eig_gemm import launch_log_eig_gemm
from fsrcache.kernels.symmetric_gather import launch_symmetric_gather, symmetric_gather_reference
from studies.gpu.drawn import drawn, ridged

_RIDGE = 1e-4
_CHECKED = 4  # samples that are compared with the reference


class Work(NamedTuple):
    """A kernel at a size.

    Attributes
    ----------
    launch
        Function that launches the kernel.
    result, reference
        Functions that return the outputs for the first samples, the kernel's and the reference's.
    error
        Largest relative distance between these two.
    module, settings
        Module of ``fsrcache.kernels``, and its function that returns the compile-time arguments.
    kernel
        Name of the kernel.
    """

    launch: Callable[[], object]
    result: Callable[[], Tensor]
    reference: Callable[[], Tensor]
    error: float
    module: str
    settings: str
    kernel: str


def works(device: torch.device, *, rehearsal: bool) -> dict[str, Callable[[], Work]]:
    """Return functions that make the works, by name."""
    B, sides, counts = (1, (16,), (2,)) if rehearsal else (1024, (64, 128), (256, 4096))
    makers: dict[str, Callable[[], Work]] = {
        "covariance_pool": partial(_pool, device, B, rehearsal=rehearsal),
        "covariance_pool backward": partial(_pool_backward, device, B, rehearsal=rehearsal),
        "penalty_direction": partial(_direction, device, 4 if rehearsal else 256, 16 if rehearsal else 128),
    }
    for D in sides:
        makers[f"bimap_covariance_pool D {D}"] = partial(_map, device, B, D, rehearsal=rehearsal)
        makers[f"log_eig_gemm D {D}"] = partial(_logarithm, device, B, D)
    for count in counts:
        makers[f"symmetric_gather B {count}"] = partial(_gather, device, count, sides[-1])
    return makers


def _maps(device: torch.device, batch: int, *, rehearsal: bool) -> Tensor:
    shape = (40, 36) if rehearsal else (256, 144)
    return drawn(batch, *shape, device=device).relu()


def _pool(device: torch.device, batch: int, *, rehearsal: bool) -> Work:
    x = _maps(device, batch, rehearsal=rehearsal)
    return Work(lambda: launch_covariance_pool(x, _RIDGE), lambda: launch_covariance_pool(x, _RIDGE)[:_CHECKED],
                lambda: covariance_pool_reference(x[:_CHECKED].double(), _RIDGE), 5e-6,
                "covariance_pool", "covariance_pool_settings", "covariance_pool_kernel")  # fmt: skip


def _pool_backward(device: torch.device, batch: int, *, rehearsal: bool) -> Work:
    x = _maps(device, batch, rehearsal=rehearsal)
    upstream = drawn(batch, x.shape[1], x.shape[1], device=device, seed=1)
    return Work(lambda: launch_covariance_pool_backward(upstream, x, _RIDGE),
                lambda: launch_covariance_pool_backward(upstream, x, _RIDGE)[:_CHECKED],
                lambda: covariance_pool_backward_reference(upstream[:_CHECKED].double(), x[:_CHECKED].double(), _RIDGE),
                5e-6, "covariance_pool", "covariance_pool_backward_settings",
                "covariance_pool_backward_kernel")  # fmt: skip


def _map(device: torch.device, batch: int, D: int, *, rehearsal: bool) -> Work:
    x = _maps(device, batch, rehearsal=rehearsal)
    w = torch.linalg.qr(drawn(x.shape[1], D, device=device, seed=1))[0].mT.contiguous()
    return Work(lambda: launch_bimap_covariance_pool(x, w, _RIDGE),
                lambda: launch_bimap_covariance_pool(x, w, _RIDGE)[:_CHECKED],
                lambda: bimap_covariance_pool_reference(x[:_CHECKED].double(), w.double(), _RIDGE), 5e-6,
                "bimap_covariance_pool", "bimap_covariance_pool_settings", "bimap_covariance_pool_kernel")  # fmt: skip


def _logarithm(device: torch.device, batch: int, D: int) -> Work:
    S = ridged(batch, D, device=device)
    return Work(lambda: launch_log_eig_gemm(S, 1e-4), lambda: launch_log_eig_gemm(S, 1e-4)[:_CHECKED],
                lambda: log_eig_reference(S[:_CHECKED].double(), 1e-4)[0], 1e-4,
                "log_eig_gemm", "log_eig_gemm_settings", "log_eig_gemm_kernel")  # fmt: skip


def _direction(device: torch.device, batch: int, side: int) -> Work:
    g = 0.01 * drawn(batch, 1, side, side, device=device)
    return Work(lambda: launch_penalty_direction(g, 2.0, 6.0), lambda: launch_penalty_direction(g, 2.0, 6.0)[1],
                lambda: penalty_direction_reference(g.double(), 2.0, 6.0)[1], 5e-6,
                "gradient_norm", "gradient_norm_settings", "penalty_direction_kernel")  # fmt: skip


def _gather(device: torch.device, count: int, side: int) -> Work:
    length = side * (side + 1) // 2
    cache = drawn(10 * count, length, device=device).half()
    rows = torch.randint(10 * count, (count,), device=device, generator=torch.Generator(device).manual_seed(0))
    return Work(lambda: launch_symmetric_gather(cache, rows, None, None, torch.float32),
                lambda: launch_symmetric_gather(cache, rows, None, None, torch.float32)[:_CHECKED],
                lambda: symmetric_gather_reference(cache.double(), rows[:_CHECKED], None, None, torch.float64), 1e-6,
                "symmetric_gather", "symmetric_gather_settings", "symmetric_gather_kernel")  # fmt: skip


def launch(name: str) -> None:
    """Launch a kernel five times on the GPU, for ncu to profile."""
    work = works(torch.device("cuda"), rehearsal=False)[name]()
    for _ in range(5):
        work.launch()
    torch.cuda.synchronize()
