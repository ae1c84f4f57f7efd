"""The cases of ``fsrcache bench kernels``: every op against its alternatives, as their users would write them."""

import importlib.util
import math
from collections.abc import Iterator

import torch
from fsrcache.benchmarks.harness import Case, Work, captured, compiled
from fsrcache.kernels import (
    bimap_covariance_pool,
    closed_form_penalty,
    covariance_pool,
    gradient_norm,
    log_eig,
    log_eig_gemm,
    penalty_direction,
    symmetric_gather,
)
from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference
from fsrcache.kernels.closed_form_penalty import closed_form_penalty_reference
from fsrcache.kernels.covariance_pool import covariance_pool_reference
from fsrcache.kernels.gradient_norm import gradient_norm_reference, penalty_direction_reference
from fsrcache.kernels.log_eig import log_eig_reference
from fsrcache.kernels.symmetric_gather import symmetric_gather_reference
from torch import Tensor

from fsrcache.models.critic import VGGCritic
from fsrcache.presets import CriticConfig

_RIDGE, _FLOOR = 1e-4, 1e-4


def kernel_cases(device: torch.device, *, quick: bool) -> Iterator[Case]:
    """Yield the cases; quick ones are smaller and leave out ``torch.compile``."""
    large = device.type == "cuda"
    batch = (32 if quick else 1024) if large else (8 if quick else 64)
    yield from _pooling(device, batch, quick=quick)
    for D in (64, 128):
        yield _mapping(device, batch, D, quick=quick)
    yield _direction(device, (16 if quick else 256) if large else 32, quick=quick)
    for count in ([32] if quick else [256, 4096]) if large else [64]:
        yield _gathering(device, count, quick=quick)
    for D in (64, 128):
        yield from _logarithms(device, batch, D, quick=quick)
    yield _penalty(device, 64 if large else 16)


def not_run(device: torch.device) -> list[str]:
    """Return what could not be run here, in words."""
    missing = []
    if device.type != "cuda":
        missing.append("the Triton kernels: there is no GPU; the CPU's paths were compared instead")
    if importlib.util.find_spec("spd_learn") is None:
        missing.append("spd_learn's layers: spd-learn is not installed")
    if device.type == "cuda" and importlib.util.find_spec("cupy") is None:
        missing.append("CuPy's batched eigh: cupy is not installed")
    return missing


def _pooling(device: torch.device, batch: int, *, quick: bool) -> Iterator[Case]:
    x = _maps(device, batch, 256, 144)
    C, N = x.shape[1:]
    alternatives: dict[str, Work] = {
        "eager, centred bmm": lambda: _eager_pool(x),
        "eager, mean matrix (fast-MPN-COV)": lambda: _mean_matrix_pool(x),
    }
    if not quick:
        alternatives["torch.compile of centred bmm"] = compiled(_eager_pool, x)
    yield Case(
        name=f"covariance_pool forward, fp32, B {batch} C {C} N {N}", candidate="covariance_pool",
        work=lambda: covariance_pool(x, _RIDGE), reference=lambda: covariance_pool_reference(x.double(), _RIDGE),
        error=5e-6, alternatives=alternatives,
        bytes=4 * batch * (C * N + C * C), flops=batch * C * (C + 1) * N,
    )  # fmt: skip
    upstream = torch.randn(batch, C, C, device=device)
    leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    mine, theirs = covariance_pool(leaf, _RIDGE), _eager_pool(leaf)
    in_float64 = covariance_pool_reference(exact, _RIDGE)
    yield Case(
        name=f"covariance_pool backward, fp32, B {batch} C {C} N {N}", candidate="covariance_pool",
        work=lambda: torch.autograd.grad(mine, leaf, upstream, retain_graph=True),
        reference=lambda: torch.autograd.grad(in_float64, exact, upstream.double(), retain_graph=True),
        error=5e-6,
        alternatives={"eager": lambda: torch.autograd.grad(theirs, leaf, upstream, retain_graph=True)},
        bytes=4 * batch * (2 * C * N + C * C), flops=2 * batch * C * C * N,
    )  # fmt: skip


def _mapping(device: torch.device, batch: int, D: int, *, quick: bool) -> Case:
    x = _maps(device, batch, 256, 144)
    C, N = x.shape[1:]
    w = torch.linalg.qr(torch.randn(C, D, device=device))[0].mT.contiguous()
    alternatives: dict[str, Work] = {"eager, covariance then two products": lambda: _eager_mapping(x, w)}
    if not quick:
        alternatives["torch.compile of that"] = compiled(_eager_mapping, x, w)
    return Case(
        name=f"bimap_covariance_pool forward, fp32, B {batch} C {C} N {N} D {D}", candidate="bimap_covariance_pool",
        work=lambda: bimap_covariance_pool(x, w, _RIDGE),
        reference=lambda: bimap_covariance_pool_reference(x.double(), w.double(), _RIDGE),
        error=5e-6,
        alternatives=alternatives,
        bytes=4 * (batch * (C * N + D * D) + C * D), flops=batch * (2 * D * C * N + D * (D + 1) * N),
    )  # fmt: skip


def _direction(device: torch.device, batch: int, *, quick: bool) -> Case:
    g = 0.01 * torch.randn(batch, 1, 128, 128, device=device)
    alternatives: dict[str, Work] = {"eager chain": captured(lambda: _eager_direction(g), device)}
    if not quick:
        alternatives["torch.compile of that"] = compiled(_eager_direction, g)
    return Case(
        name=f"gradient_norm and penalty_direction, fp32, B {batch} x 128 x 128",
        candidate="gradient_norm, penalty_direction",
        work=captured(lambda: (gradient_norm(g, 6.0), penalty_direction(g, 2.0, 6.0)), device),
        reference=lambda: (
            gradient_norm_reference(g.double(), 6.0), penalty_direction_reference(g.double(), 2.0, 6.0)
        ),
        error=1e-5, alternatives=alternatives,
        bytes=4 * 3 * g.numel(), flops=6 * g.numel(),
    )  # fmt: skip


def _gathering(device: torch.device, batch: int, *, quick: bool) -> Case:
    D, n = 128, 20_000 if device.type == "cuda" else 4_000
    P = D * (D + 1) // 2
    cache = torch.randn(n, P, device=device).half()
    mean, scale = torch.randn(P, device=device), torch.rand(P, device=device)
    rows = torch.randint(n, (batch,), device=device)
    upper = torch.triu_indices(D, D, device=device)
    factors = torch.where(upper[0] == upper[1], 1.0, math.sqrt(0.5))
    inputs = (cache, rows, mean, scale, upper, factors)
    alternatives: dict[str, Work] = {"index_select, scatter, mirror": lambda: _eager_gather(*inputs)}
    if not quick:
        alternatives["torch.compile of that"] = compiled(_eager_gather, *inputs)
    return Case(
        name=f"symmetric_gather, fp16 to fp32, B {batch} D {D}", candidate="symmetric_gather",
        work=lambda: symmetric_gather(cache, rows, mean, scale, torch.float32),
        reference=lambda: symmetric_gather_reference(
            cache.double(), rows, mean.double(), scale.double(), torch.float64
        ),
        error=1e-6,
        alternatives=alternatives,
        bytes=batch * (2 * P + 4 * D * D) + 8 * P, flops=3 * batch * P,
    )  # fmt: skip


def _logarithms(device: torch.device, batch: int, D: int, *, quick: bool) -> Iterator[Case]:
    S = covariance_pool(_maps(device, batch, D, 144), _RIDGE)
    upstream = torch.randn_like(S)
    upstream = (upstream + upstream.mT) / 2
    leaf, exact = S.clone().requires_grad_(), S.double().requires_grad_()
    peers = _peers(S, leaf, upstream)
    yield Case(
        name=f"log_eig forward, fp32, B {batch} D {D}", candidate="log_eig",
        work=lambda: log_eig(S, _FLOOR), reference=lambda: log_eig_reference(S.double(), _FLOOR)[0],
        error=1e-4, alternatives=peers["forward"], bytes=8 * S.numel(), flops=0.0,
    )  # fmt: skip
    yield Case(
        name=f"log_eig forward and backward, fp32, B {batch} D {D}", candidate="log_eig",
        work=lambda: torch.autograd.grad(log_eig(leaf, _FLOOR), leaf, upstream),
        reference=lambda: torch.autograd.grad(log_eig(exact, _FLOOR), exact, upstream.double()),
        error=1e-2, alternatives=peers["both"], bytes=16 * S.numel(), flops=0.0,
    )  # fmt: skip
    if not quick:
        yield Case(
            name=f"log_eig_gemm forward, fp32, B {batch} D {D}", candidate="log_eig_gemm",
            work=captured(lambda: log_eig_gemm(S, _FLOOR), device),
            reference=lambda: log_eig_reference(S.double(), _FLOOR)[0], error=1e-4,
            alternatives={"log_eig": lambda: log_eig(S, _FLOOR), **peers["forward"]},
            bytes=8 * S.numel(), flops=49 * 2.0 * S.numel() * D,
        )  # fmt: skip


def _peers(S: Tensor, leaf: Tensor, upstream: Tensor) -> dict[str, dict[str, Work]]:
    """Return others' logarithms, forward alone and with a backward."""
    forward: dict[str, Work] = {}
    both: dict[str, Work] = {}
    if importlib.util.find_spec("spd_learn") is not None:
        from spd_learn.functional import clamp_eigvals, matrix_log

        floor = torch.tensor(_FLOOR, dtype=S.dtype, device=S.device)
        name = "spd_learn, ReEig then LogEig"
        forward[name] = lambda: matrix_log.apply(clamp_eigvals.apply(S, floor))
        both[name] = lambda: torch.autograd.grad(matrix_log.apply(clamp_eigvals.apply(leaf, floor)), leaf, upstream)
    if S.is_cuda and importlib.util.find_spec("cupy") is not None:
        import cupy

        def by_cupy() -> Tensor:
            values, vectors = (torch.utils.dlpack.from_dlpack(part) for part in cupy.linalg.eigh(cupy.from_dlpack(S)))
            return (vectors * values.clamp(min=_FLOOR).log()[:, None, :]) @ vectors.mT

        forward["CuPy's batched eigh"] = by_cupy
    return {"forward": forward, "both": both}


def _penalty(device: torch.device, batch: int) -> Case:
    torch.manual_seed(0)
    config = CriticConfig(filters=32 if device.type == "cuda" else 8)
    critic = VGGCritic(config, 128).to(device)
    exact = VGGCritic(config, 128).to(device).double()
    x = torch.randn(batch, 1, 128, 128, device=device)
    for parameter in critic.parameters():  # a norm near 1, as training holds it
        parameter.data *= 1.6
    exact.load_state_dict(critic.state_dict())
    return Case(
        name=f"closed_form_penalty, VGG critic, {config.filters} filters, B {batch} x 128 x 128",
        candidate="closed_form_penalty",
        work=captured(lambda: closed_form_penalty(critic, x), device),
        reference=lambda: closed_form_penalty_reference(exact, x.double()), error=1e-3,
        alternatives={"double backward": captured(lambda: closed_form_penalty_reference(critic, x), device)},
    )  # fmt: skip


def _maps(device: torch.device, batch: int, channels: int, positions: int) -> Tensor:
    """Return feature maps as a rectified network gives them."""
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(batch, channels, positions, device=device, generator=generator).relu_()


def _eager_pool(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=2, keepdim=True)
    covariance = torch.bmm(centred, centred.mT) / (x.shape[2] - 1)
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1)
    return covariance + _RIDGE * trace[:, None, None] * torch.eye(x.shape[1], device=x.device)


def _eager_mapping(x: Tensor, w: Tensor) -> Tensor:
    return w @ _eager_pool(x) @ w.mT


def _mean_matrix_pool(x: Tensor) -> Tensor:
    N = x.shape[2]
    centring = (torch.eye(N, device=x.device) - 1 / N) / (N - 1)
    covariance = x.bmm(centring.expand(len(x), N, N)).bmm(x.mT)
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1)
    return covariance + _RIDGE * trace[:, None, None] * torch.eye(x.shape[1], device=x.device)


def _eager_direction(g: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    norms = g.flatten(1).norm(dim=1)
    powers = norms**6
    direction = (2.0 * 6.0 / len(g)) * norms[:, None, None, None] ** 4 * g
    return powers, (2.0 * powers.mean(), direction)


def _eager_gather(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, upper: Tensor, factors: Tensor) -> Tensor:
    vectors = (cache.index_select(0, rows).float() * scale + mean) * factors
    D = math.isqrt(2 * cache.shape[1])
    pictures = vectors.new_zeros(len(rows), D * D).scatter_(
        1, (upper[0] * D + upper[1]).expand(len(rows), -1), vectors
    ).view(-1, 1, D, D)  # fmt: skip
    return pictures + pictures.triu(1).mT
