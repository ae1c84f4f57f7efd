"""The eigendecomposition of a batch of symmetric matrices: one matrix a core on a CPU, by CuPy on a GPU that has it.

On a GPU PyTorch decomposes one matrix after another; CuPy calls cuSOLVER's batched solver, which takes about an
eightieth of the time for 1,024 matrices of side 128 (docs/gpu.md). On a CPU PyTorch also takes one after another, each
on all threads, which wait for each other more than they compute; here as many at a time as there are threads, each on
one (docs/kernels.md).
"""

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any

import torch
from torch import Tensor

from fsrcache.kernels.modes import transformed

_FEW = 1 << 14  # numbers: fewer are decomposed before threads have begun


def eigh(S: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues [B, D], ascending, and eigenvectors [B, D, D] of symmetric matrices, fp32 or float64.

    Raises
    ------
    torch.linalg.LinAlgError
        If PyTorch's does not converge for a matrix; CuPy's gives NaN, or what it has.
    """
    if S.is_cpu and S.numel() >= _FEW and not transformed() and (threads := torch.get_num_threads()) > 1:
        return _one_on_each(S.detach(), threads)
    if not (S.is_cuda and S.numel()) or (cupy := _cupy()) is None:
        eigenvalues, eigenvectors = torch.linalg.eigh(S)
        return eigenvalues, eigenvectors.contiguous()
    stream = torch.cuda.current_stream(S.device)
    with cupy.cuda.Device(S.device.index), cupy.cuda.ExternalStream(stream.cuda_stream, S.device.index):
        parts = cupy.linalg.eigh(cupy.from_dlpack(S.detach()))
        # into PyTorch's memory: CuPy reuses its own as soon as its stream allows
        eigenvalues, eigenvectors = (torch.utils.dlpack.from_dlpack(part).clone(memory_format=torch.contiguous_format)
                                     for part in parts)  # fmt: skip
    return eigenvalues, eigenvectors


def _one_on_each(S: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """Decompose on several threads, each of which has a share of the matrices and no threads of its own."""
    parts = list(_pool(threads, os.getpid()).map(torch.linalg.eigh, S.chunk(threads)))
    eigenvalues, eigenvectors = map(torch.cat, zip(*parts, strict=True))
    return eigenvalues, eigenvectors.contiguous()


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001  # a fork has none of its parent's threads
    """Return threads that stay, each of which computes on itself alone."""
    all_begun = Barrier(threads)

    def begin() -> None:
        torch.set_num_threads(1)
        all_begun.wait()  # or one thread would begin for two

    pool = ThreadPoolExecutor(threads)
    try:
        for begun in [pool.submit(begin) for _ in range(threads)]:
            begun.result()
    finally:
        torch.set_num_threads(threads)  # what threads that begin later compute on, which these have changed
    return pool


@cache
def _cupy() -> Any:
    """Return CuPy, None where it is not installed."""
    return importlib.import_module("cupy") if importlib.util.find_spec("cupy") is not None else None
