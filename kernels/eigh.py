"""The eigendecomposition of a batch of symmetric matrices, by CuPy on a GPU where CuPy is installed.

On a GPU PyTorch decomposes one matrix after another; CuPy calls cuSOLVER's batched solver, which takes about an
eightieth of the time for 1,024 matrices of side 128 (docs/gpu.md). On a CPU, or without CuPy, it is PyTorch's.
"""

import importlib.util
from functools import cache
from typing import Any

import torch
from torch import Tensor


def eigh(S: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues [B, D], ascending, and eigenvectors [B, D, D] of symmetric matrices, fp32 or float64.

    Raises
    ------
    torch.linalg.LinAlgError
        If PyTorch's does not converge for a matrix; CuPy's gives NaN, or what it has.
    """
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


@cache
def _cupy() -> Any:
    """Return CuPy, None where it is not installed."""
    return importlib.import_module("cupy") if importlib.util.find_spec("cupy") is not None else None
