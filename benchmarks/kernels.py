"""The cases of ``fsrcache bench kernels``: every op against its alternatives, as their users would write them."""

import importlib.util
import math
import os
from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from torch import Tensor

from fsrcache.benchmarks.harness import Case, Work, captured, compiled
from fsrcache.kernels import (
    bimap_covariance_pool,
    closed_form_penalty,
    covariance_pool,
    log_eig,
    log_eig_gemm,
    penalty_direction,
    symmetric_gather,
)
from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference
from fsrcache.kernels.closed_form_penalty import closed_form_penalty_reference
from fsrcache.kernels.covariance_pool import covariance_pool_reference
from fsrcache.kernels.gradient_norm import penalty_direction_reference
from fsrcache.kernels.log_eig import log_eig_reference
from fsrcache.kernels.log_eig_products import log_eig_products
from fsrcache.kernels.symmetric_gather import symmetric_gather_reference
from fsrcache.models.critic import VGGCritic
from fsrcache.presets import CriticConfig

_RIDGE, _FLOOR = 1e-4, 1e-4


def kernel_makers(device: torch.device, *, quick: bool) -> list[Callable[[], Iterator[Case]]]:
    """Return functions that make the cases; quick ones are smaller and leave out ``torch.compile``."""
    large = device.type == "cuda"
    batch = (32 if quick else 1024) if large else (8 if quick else 64)
    counts = ([32] if quick else [256, 4096]) if large else [64]
    return [
        partial(_pooling, device, batch, quick=quick),
        *(partial(_mapping, device, batch, D, quick=quick) for D in (64, 128)),
        partial(_direction, device, (16 if quick else 256) if large else 32, quick=quick),
        *(partial(_gathering, device, count, quick=quick) for count in counts),
        *(partial(_logarithms, device, batch, D, quick=quick) for D in (64, 128)),
        partial(_penalty, device, 64 if large else 16),
    ]


def not_run(device: torch.device) -> list[str]:
    """Return, in words, which alternatives cannot be run here."""
    missing = []
    if device.type != "cuda":
        missing.append("the Triton kernels: there is no GPU; the CPU's paths were compared instead")
    if not _installed("spd_learn"):
        missing.append("spd_learn's layers: spd-learn is not installed")
    if device.type == "cuda":
        missing += [f"{name}'s batched eigh: it is not installed" for name in _EIGH if not _installed(name)]
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
        bytes=4 * batch * (C * N + C * C), flops=batch * C * (C + 1) * N, products="fp16x3",
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
        bytes=4 * batch * (2 * C * N + C * C), flops=2 * batch * C * C * N, products="tf32x3",
    )  # fmt: skip


def _mapping(device: torch.device, batch: int, D: int, *, quick: bool) -> Iterator[Case]:
    x = _maps(device, batch, 256, 144)
    C, N = x.shape[1:]
    w = torch.linalg.qr(torch.randn(C, D, device=device))[0].mT.contiguous()
    alternatives: dict[str, Work] = {"eager, covariance then two products": lambda: _eager_mapping(x, w)}
    if not quick:
        alternatives["torch.compile of that"] = compiled(_eager_mapping, x, w)
    yield Case(
        name=f"bimap_covariance_pool forward, fp32, B {batch} C {C} N {N} D {D}", candidate="bimap_covariance_pool",
        work=lambda: bimap_covariance_pool(x, w, _RIDGE),
        reference=lambda: bimap_covariance_pool_reference(x.double(), w.double(), _RIDGE),
        error=5e-6,
        alternatives=alternatives,
        bytes=4 * (batch * (C * N + D * D) + C * D), flops=batch * (2 * D * C * N + D * (D + 1) * N),
        products="tf32x3",
    )  # fmt: skip


def _direction(device: torch.device, batch: int, *, quick: bool) -> Iterator[Case]:
    g = 0.01 * torch.randn(batch, 1, 128, 128, device=device)
    alternatives: dict[str, Work] = {"eager chain": captured(lambda: _eager_direction(g), device)}
    if not quick:
        alternatives["torch.compile of that"] = compiled(_eager_direction, g)
    yield Case(
        name=f"penalty_direction, fp32, B {batch} x 128 x 128", candidate="penalty_direction",
        work=captured(lambda: penalty_direction(g, 2.0, 6.0), device),
        reference=lambda: penalty_direction_reference(g.double(), 2.0, 6.0),
        error=1e-5, alternatives=alternatives,
        bytes=4 * 2 * g.numel(), flops=3 * g.numel(),
    )  # fmt: skip


def _gathering(device: torch.device, batch: int, *, quick: bool) -> Iterator[Case]:
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
    yield Case(
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
    few = min(batch, 64)  # before torch 2.12 a GPU decomposes one matrix after another
    S = covariance_pool(_maps(device, few, D, 144), _RIDGE)
    upstream = torch.randn_like(S)
    upstream = (upstream + upstream.mT) / 2
    leaf, exact = S.clone().requires_grad_(), S.double().requires_grad_()
    forward, both = _by_spd_learn(S, leaf, upstream)
    yield Case(
        name=f"log_eig forward, fp32, B {few} D {D}", candidate="log_eig",
        work=lambda: log_eig(S, _FLOOR), reference=lambda: log_eig_reference(S.double(), _FLOOR)[0],
        error=1e-4, alternatives=forward, bytes=8 * S.numel(), flops=0.0,
    )  # fmt: skip
    yield Case(
        name=f"log_eig forward and backward, fp32, B {few} D {D}", candidate="log_eig",
        work=lambda: torch.autograd.grad(log_eig(leaf, _FLOOR), leaf, upstream),
        reference=lambda: torch.autograd.grad(log_eig(exact, _FLOOR), exact, upstream.double()),
        error=1e-2, alternatives=both, bytes=16 * S.numel(), flops=0.0,
    )  # fmt: skip
    if not quick:
        yield from _logarithms_by_products(device, batch, D, at=f"fp32, B {batch} D {D}")


def _logarithms_by_products(device: torch.device, batch: int, D: int, *, at: str) -> Iterator[Case]:
    S = covariance_pool(_maps(device, batch, D, 144), _RIDGE)
    reference = cache(lambda: log_eig_reference(S.double(), _FLOOR)[0])
    peers: dict[str, Callable[[Tensor], Tensor]] = {
        "log_eig": lambda S: log_eig(S, _FLOOR), "log_eig_products": lambda S: log_eig_products(S, _FLOOR)
    }  # fmt: skip
    if device.type == "cuda":
        peers = {f"{name}'s batched eigh": peer for name, peer in _EIGH.items() if _installed(name)}
    for name, peer in peers.items():
        yield Case(
            name=f"log_eig_gemm forward, {at}, against {name}", candidate="log_eig_gemm",
            work=captured(lambda: log_eig_gemm(S, _FLOOR), device), reference=reference, error=1e-4,
            alternatives={name: partial(peer, S)}, clock="host",  # theirs may have a stream of their own
            bytes=8 * S.numel(), flops=49 * 2.0 * S.numel() * D, products="fp16x3",
        )  # fmt: skip


def _by_spd_learn(S: Tensor, leaf: Tensor, upstream: Tensor) -> tuple[dict[str, Work], dict[str, Work]]:
    """Return spd_learn's logarithm, forward alone and with a backward, where it is installed."""
    if not _installed("spd_learn"):
        return {}, {}
    from spd_learn.functional import clamp_eigvals, matrix_log

    floor = torch.tensor(_FLOOR, dtype=S.dtype, device=S.device)
    name = "spd_learn, ReEig then LogEig"
    forward: Work = lambda: matrix_log.apply(clamp_eigvals.apply(S, floor))  # noqa: E731
    both: Work = lambda: torch.autograd.grad(matrix_log.apply(clamp_eigvals.apply(leaf, floor)), leaf, upstream)  # noqa: E731
    return {name: forward}, {name: both}


def _by_cupy(S: Tensor) -> Tensor:
    import cupy

    return _logarithm(*(torch.utils.dlpack.from_dlpack(part) for part in cupy.linalg.eigh(cupy.from_dlpack(S))))


def _by_jax(S: Tensor) -> Tensor:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or it takes three quarters of the memory
    import jax

    return _logarithm(
        *(torch.utils.dlpack.from_dlpack(part) for part in jax.jit(jax.numpy.linalg.eigh)(jax.dlpack.from_dlpack(S)))
    )


def _logarithm(eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    return (eigenvectors * eigenvalues.clamp(min=_FLOOR).log()[:, None, :]) @ eigenvectors.mT


_EIGH = {"CuPy": _by_cupy, "JAX": _by_jax}


def _penalty(device: torch.device, batch: int) -> Iterator[Case]:
    torch.manual_seed(0)
    config = CriticConfig(filters=32 if device.type == "cuda" else 8)
    critic = VGGCritic(config, 128).to(device)
    exact = VGGCritic(config, 128).to(device).double()
    x = torch.randn(batch, 1, 128, 128, device=device)
    for parameter in critic.parameters():  # a norm near 1, as training holds it
        parameter.data *= 1.6
    exact.load_state_dict(critic.state_dict())
    yield Case(
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


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name.lower()) is not None


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


def _eager_direction(g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    norms = g.flatten(1).norm(dim=1)
    powers = norms**6
    direction = (2.0 * 6.0 / len(g)) * norms[:, None, None, None] ** 4 * g
    return 2.0 * powers.mean(), direction, powers


def _eager_gather(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, upper: Tensor, factors: Tensor) -> Tensor:
    vectors = (cache.index_select(0, rows).float() * scale + mean) * factors
    D = math.isqrt(2 * cache.shape[1])
    pictures = vectors.new_zeros(len(rows), D * D).scatter_(
        1, (upper[0] * D + upper[1]).expand(len(rows), -1), vectors
    ).view(-1, 1, D, D)  # fmt: skip
    return pictures + pictures.triu(1).mT
