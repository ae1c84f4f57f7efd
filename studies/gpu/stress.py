"""The part ``stress``: ops again and again beside themselves, captured, on another device, beyond 2^31 numbers.

The same launch gives the same bits however often, whatever runs beside it; PyTorch's ``opcheck`` accepts every op;
code compiled by Inductor gives the same results.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import opcheck

import fsrcache.kernels  # noqa: F401  registers the ops
from fsrcache.benchmarks.harness import captured
from fsrcache.device import fp32_precision
from fsrcache.kernels import bimap_covariance_pool, log_eig
from studies.gpu.checks import Check, Limited, NotRunError, Setting, distance, synchronise, unequal
from studies.gpu.drawn import drawn, ridged
from studies.gpu.large import large_checks

Results = Iterator[tuple[str, Any]]
_REPEATS = 50
_NEAR = {"log_eig": 1e-4, "log_eig_gemm": 1e-4}  # tolerances between devices of ops that libraries decompose
_SUMS = 5e-6


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    device = setting.device
    for name in _arguments(device):
        yield Check(f"{name}: again and again", partial(_repeated, setting, name))
        yield Check(f"{name}: captured", partial(_captured, device, name))
        yield Check(f"{name}: opcheck", partial(_opcheck, device, name))
        yield Check(f"{name}: on a second device", partial(_elsewhere, device, name))
    yield Check("every op is among these", partial(_every_op, device))
    yield Check("compiled with others", partial(_compiled, setting), seconds=90)
    yield from large_checks(setting)


def _arguments(device: torch.device) -> Mapping[str, tuple[Any, ...]]:
    """Return arguments of every op of ``torch.ops.fsrcache`` by its name, at sizes of several tiles."""
    x, w = drawn(9, 70, 50, device=device, offset=3), drawn(20, 70, device=device, seed=1) / 8
    S, g, cache = (
        ridged(6, 33, device=device),
        0.3 * drawn(65, 1, 33, 31, device=device),
        drawn(40, 2145, device=device),
    )
    upstream, rows = drawn(9, 70, 70, device=device, seed=2), torch.arange(39, 0, -2, device=device)
    mean, scale = drawn(2145, device=device, seed=3), drawn(2145, device=device, seed=4)
    pictures = drawn(20, 1, 65, 65, device=device, seed=5)
    _, eigenvalues, eigenvectors = torch.ops.fsrcache.log_eig(S, 1e-4)
    arguments: dict[str, tuple[Any, ...]] = {
        "covariance_pool": (x, 1e-4),
        "covariance_pool_backward": (upstream, x, 1e-4),
        "bimap_covariance_pool": (x, w, 1e-4),
        "gradient_norm": (g, 6.0),
        "gradient_norm_backward": (drawn(65, device=device), g, 6.0),
        "penalty_direction": (g, 2.0, 6.0),
        "symmetric_gather": (cache.half(), rows, mean, scale, torch.float32),
        "symmetric_gather_backward": (pictures, cache, rows, scale, True),
        "log_eig": (S, 1e-4),
        "log_eig_backward": (drawn(6, 33, 33, device=device), S, eigenvalues, eigenvectors, 1e-4),
        "log_eig_gemm": (S, 1e-4),
    }
    return arguments


def _op(name: str) -> torch._ops.OpOverload[..., Any]:
    op: torch._ops.OpOverload[..., Any] = getattr(torch.ops.fsrcache, name).default
    return op


def _results(name: str, arguments: tuple[Any, ...]) -> list[Tensor]:
    with fp32_precision(tf32=False), torch.no_grad():
        result = _op(name)(*arguments)
    return [result] if isinstance(result, Tensor) else list(result)


def _repeated(setting: Setting, name: str) -> Results:
    """Run an op on several streams at once, many times."""
    device, arguments = setting.device, _arguments(setting.device)[name]
    first = _results(name, arguments)
    streams, differing, repeats = _streams(device), 0, 2 if setting.rehearsal else _REPEATS
    for _ in range(repeats):
        results = []
        for stream in streams:
            with stream():
                results.append(_results(name, arguments))
        synchronise(device)
        differing += sum(unequal(*same).value > 0 for same in zip(first, *results, strict=True))
    yield "runs", repeats * len(streams)
    yield "that differ in a bit", Limited(differing, 0)


def _streams(device: torch.device) -> list[Callable[[], AbstractContextManager[Any]]]:
    """Return contexts whose work runs side by side: the current stream and two others; on a CPU there is one."""
    if device.type != "cuda":
        return [nullcontext]
    others = [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    return [nullcontext, *(partial(torch.cuda.stream, stream) for stream in others)]


def _captured(device: torch.device, name: str) -> Results:
    """Replay a captured op on other numbers in the same tensors."""
    if name in ("log_eig", "log_eig_backward"):
        raise NotRunError("It decomposes by a library that waits for the device.")
    arguments = _arguments(device)[name]
    replay = captured(lambda: _results(name, arguments), device)
    changed = next(part for part in arguments if isinstance(part, Tensor) and part.is_floating_point())
    for factor in (1.0, 0.5, 0.75):
        changed.mul_(factor)
        eager = [result.clone() for result in _results(name, arguments)]
        replayed = replay()
        for index, (got, expected) in enumerate(zip(replayed, eager, strict=True)):
            yield f"result {index} after the factor {factor}", unequal(got, expected)


def _opcheck(device: torch.device, name: str) -> Results:
    arguments = _arguments(device)[name]
    if name != "penalty_direction" and not name.endswith("_backward"):  # those have no gradient
        arguments = tuple(part.requires_grad_() if isinstance(part, Tensor) and part.is_floating_point() else part
                          for part in arguments)  # fmt: skip
    yield from opcheck(_op(name), arguments).items()


def _every_op(device: torch.device) -> Results:
    registered = {name.removeprefix("fsrcache::").partition(".")[0] for name in torch._C._dispatch_get_all_op_names()
                  if name.startswith("fsrcache::")}  # fmt: skip
    missing = sorted(registered - set(_arguments(device)))
    yield "without a check", Limited(len(missing), 0)
    yield "which", ", ".join(missing)


def _elsewhere(device: torch.device, name: str) -> Results:
    """Launch on a device that is not the current one."""
    if device.type != "cuda" or torch.cuda.device_count() < 2:
        raise NotRunError("There is no second GPU.")
    other = torch.device("cuda:1")
    here = _arguments(device)[name]
    there = tuple(part.to(other) if isinstance(part, Tensor) else part for part in here)
    with torch.cuda.device(device):
        for index, (got, expected) in enumerate(zip(_results(name, there), _results(name, here), strict=True)):
            yield f"result {index} is there", Limited(float(got.device != other), 0)
            if name != "log_eig" or index == 0:  # eigenvectors have no sign
                yield f"result {index}", Limited(distance(got.to(device), expected), _NEAR.get(name, _SUMS))


def _compiled(setting: Setting) -> Results:
    """Compile two ops among others, with their gradients; where there is no GPU, without a code generator."""
    x = drawn(4, 24, 50, device=setting.device).requires_grad_()
    w = torch.eye(8, 24, device=setting.device)

    def feature(x: Tensor) -> Tensor:
        return log_eig(bimap_covariance_pool(x.relu(), w, 1e-4), 1e-4).sin()

    backend = "aot_eager" if setting.rehearsal else "inductor"
    compiled = torch.compile(feature, fullgraph=True, backend=backend)
    with fp32_precision(tf32=False):
        got, expected = compiled(x), feature(x)
        yield f"forward by {backend}", Limited(distance(got.detach(), expected.detach()), 1e-4)
        (mine,), (by,) = (torch.autograd.grad(value.sum(), x) for value in (got, expected))
    yield "backward", Limited(distance(mine, by), 1e-2)
