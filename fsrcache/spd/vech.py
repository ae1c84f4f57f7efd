"""A symmetric matrix as a vector of its upper triangle, without changing lengths and angles.

The order is row-major (``numpy.triu_indices(D)``), off-diagonal elements times the square root of 2: then
``|vech(A) - vech(B)| = |A - B|`` (Frobenius), and a loss on vectors is the loss on matrices.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.records import shortened


def vech_length(side: int) -> int:
    """Return P = D(D + 1) / 2 for a matrix of side D; ``RequestError`` if D is none."""
    side = _count(side, "side")
    return side * (side + 1) // 2


def vech_side(length: int) -> int:
    """Return D for a vector of length P.

    Raises
    ------
    FsrcacheError
        If no symmetric matrix has that many numbers.
    """
    length = _count(length, "length")
    side = (math.isqrt(8 * length + 1) - 1) // 2
    if length < 1 or vech_length(side) != length:
        raise FsrcacheError(f"No symmetric matrix is a vector of {length} numbers.", "The length is D(D + 1) / 2.")
    return side


def vech(matrices: Tensor) -> Tensor:
    """Return symmetric matrices [..., D, D] as vectors [..., P]; only the upper triangle is read.

    Raises
    ------
    FsrcacheError
        If the matrices are not square, or no floating-point tensor.
    """
    _check_tensor(matrices, "vech")
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2]:
        raise FsrcacheError(f"vech got shape {list(matrices.shape)}.", "It takes symmetric matrices [..., D, D].")
    rows, columns = _upper(matrices.shape[-1], matrices.device)
    if torch.compiler.is_compiling():  # Dynamo takes no function with a jvp of its own
        triangle = matrices[..., rows, columns]
    else:
        triangle = _Triangle.apply(matrices, rows, columns)  # type: ignore[no-untyped-call]
    return triangle * _factors(rows, columns, matrices.dtype)


def unvech(vectors: Tensor) -> Tensor:
    """Return vectors [..., P] as symmetric matrices [..., D, D]; the inverse of ``vech``.

    Raises
    ------
    FsrcacheError
        If P is not D(D + 1) / 2, or the vectors are no floating-point tensor.
    """
    _check_tensor(vectors, "unvech")
    side = vech_side(vectors.shape[-1] if vectors.ndim else 0)
    rows, columns = _upper(side, vectors.device)
    return (vectors / _factors(rows, columns, vectors.dtype))[..., _places(side, vectors.device)]


class _Triangle(torch.autograd.Function):
    """The upper triangle [..., P] of matrices [..., D, D]; its gradient is a gather, where autograd's would sort."""

    generate_vmap_rule = True

    @staticmethod
    def forward(matrices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return matrices[..., rows, columns]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        matrices, rows, columns = inputs
        ctx.side = matrices.shape[-1]
        ctx.save_for_forward(rows, columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        places = _places(ctx.side, gradient.device)
        return gradient[..., places].triu(), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        rows, columns = ctx.saved_tensors
        return tangent[..., rows, columns]


def _count(value: Any, name: str) -> Any:
    """Return a whole number; NumPy's become Python's, which do not overflow."""
    if not isinstance(value, int | np.integer | torch.SymInt) or value < 0:
        raise RequestError(f"{name} is {shortened(value)}.", "It should be a whole number, 0 or more.")
    return int(value) if isinstance(value, np.integer) else value


def _check_tensor(value: Tensor, name: str) -> None:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        shown = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else shortened(value)
        raise RequestError(f"{name} got {shown}.", "It takes a floating-point tensor.")


def _places(side: int, device: torch.device) -> Tensor:
    """Return where in a vector a matrix's numbers are, int64 [D, D]."""
    index = torch.arange(side, device=device)
    row, column = torch.minimum(index, index[:, None]), torch.maximum(index, index[:, None])
    return row * (2 * side - 1 - row) // 2 + column


def _upper(side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rows, columns = torch.triu_indices(side, side, device=device)
    return rows, columns


def _factors(rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 on the diagonal and the square root of 2 off it, [P]."""
    one = torch.ones((), dtype=dtype, device=rows.device)
    return torch.where(rows == columns, one, math.sqrt(2) * one)
