"""The matrix logarithm without a decomposition, for the frozen extractor on a GPU: the op ``log_eig_gemm``.

A GPU multiplies matrices far faster than it decomposes them. ``log_eig_products.py`` has the logarithm of a ridged
covariance in products; here one program computes all of them for a matrix, and what lies between two products stays in
its registers or in the cache.

There is no clipping, since the eigenvalues are unknown. Instead a multiple of the identity is added,
s = max(0, floor - 1e-4 tr S), which brings the smallest eigenvalue of a ridged covariance to the floor: for zero the
result is log(floor) I as from ``log_eig``, and where ``log_eig`` would clip the two differ by log 2 at most in any
eigenvalue. Where 1e-4 tr S is the floor or more, s is 0. Eigenvalues of less than 1e-4 of the trace, which no ridged
covariance has, come out wrong, and an indefinite matrix may come out as NaN: use ``log_eig`` for those.

On a CPU a decomposition is faster, and is what is computed there.

Source: see ``log_eig_products.py``.
"""

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.library import custom_op

from fsrcache.kernels.launch import on_device_of, tl, triton
from fsrcache.kernels.log_eig import check_matrices, log_eig
from fsrcache.kernels.log_eig_products import (
    INTERVAL,
    POLYNOMIALS,
    RIDGE,
    ROOTS,
    SERIES,
    log_eig_products,
    shift_to_floor,
)
from fsrcache.kernels.modes import (
    accumulator,
    multiplier,
    op_body,
    second_derivative,
    transformed,
    without_autocast,
)
from fsrcache.kernels.products import add_half_product, split_half

_MOST = 128  # the largest side that a program keeps
_PROGRAMS = 528  # four for each multiprocessor of an H100 or H200; a program computes one matrix after another


def log_eig_gemm(S: Tensor, floor: float = 1e-4) -> Tensor:
    """Return the symmetric matrix logarithm of ridged covariances.

    Parameters
    ----------
    S
        Symmetric matrices, fp16, bf16, fp32 or float64 ``[B, D, D]``, no eigenvalue less than 1e-4 of the trace; or
        zero. The symmetric part is read.
    floor
        Smallest eigenvalue, above 0; chosen as for ``log_eig``. The module's docstring has what replaces clipping.

    Returns
    -------
    Tensor
        fp32 ``[B, D, D]`` (float64 for float64), symmetric (to rounding on a CPU), differentiable once; relative error
        about 1e-8 in float64, in fp32 1e-5 or less than ``log_eig``'s. A matrix with a value that is not finite gives
        NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If the shape or dtype is not the one above, or the floor is not a positive number of the result's dtype.
    """
    check_matrices("log_eig_gemm", S, floor)
    S = S.to(accumulator(S))
    if not S.is_cuda:
        return log_eig(shift_to_floor(S, floor), max(floor / 2, torch.finfo(S.dtype).tiny))  # no eigenvalue is as small
    if transformed():
        return _products(S, floor)
    logarithm: Tensor = _log_eig_gemm(S, float(floor))
    return logarithm


@triton.jit
def _kept(
    matrix,  # [2, SIDE, SIDE]
    r, c, SIDE: tl.constexpr,
):  # fmt: skip
    """Return rows and columns of a matrix from the program's memory, fp32."""
    at = r * SIDE + c
    big, small = tl.load(matrix + at).to(tl.float32), tl.load(matrix + SIDE * SIDE + at).to(tl.float32)
    return (big + small) * (1 / 256)


@triton.jit
def _keep(
    matrix,  # [2, SIDE, SIDE], written
    values, rows, SIDE: tl.constexpr,
):  # fmt: skip
    """Split rows of a matrix into the program's memory, once all threads have read its old content."""
    at = rows[:, None] * SIDE + tl.arange(0, SIDE)[None, :]
    big, small = split_half(256 * values)
    tl.debug_barrier()
    tl.store(matrix + at, big)
    tl.store(matrix + SIDE * SIDE + at, small)


@triton.jit
def _product(
    left,   # [2, SIDE, SIDE]
    right,  # [2, SIDE, SIDE]
    rows, ROWS: tl.constexpr, SIDE: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return rows of the product of two matrices in the program's memory, fp32."""
    product = tl.zeros([ROWS, SIDE], tl.float32)
    for start in range(0, SIDE, BLOCK_K):
        inner = start + tl.arange(0, BLOCK_K)
        of_left = rows[:, None] * SIDE + inner[None, :]
        of_right = inner[:, None] * SIDE + tl.arange(0, SIDE)[None, :]
        left_big, left_small = tl.load(left + of_left), tl.load(left + SIDE * SIDE + of_left)
        right_big, right_small = tl.load(right + of_right), tl.load(right + SIDE * SIDE + of_right)
        product = add_half_product(left_big, left_small, right_big, right_small, product, False)
    return product * (1 / 65536)


@triton.jit
def _multiply(
    left, right,  # [2, SIDE, SIDE]
    result,       # [2, SIDE, SIDE], written; it may be the left factor
    ROWS: tl.constexpr, SIDE: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Multiply two matrices in the program's memory, for all threads to read."""
    for first in range(0, SIDE, ROWS):
        rows = first + tl.arange(0, ROWS)
        _keep(result, _product(left, right, rows, ROWS, SIDE, BLOCK_K), rows, SIDE)
    tl.debug_barrier()


@triton.jit
def _symmetric_rows(
    S,  # [D, D]
    r, c, D,
):  # fmt: skip
    """Return rows of a matrix's symmetric part, zeros outside of it."""
    inside = (r < D) & (c < D)
    return tl.load(S + r * D + c, mask=inside, other=0) / 2 + tl.load(S + c * D + r, mask=inside, other=0) / 2


@triton.jit
def _entry(TABLE: tl.constexpr, row, COLUMN: tl.constexpr):
    """Return a number of a table that is known at compile time, in a row that is not."""
    entry = TABLE[0][COLUMN]
    for known in tl.static_range(1, len(TABLE)):
        entry = tl.where(row == known, TABLE[known][COLUMN], entry)
    return entry


@triton.jit
def log_eig_gemm_kernel(
    S,          # [B, D, D]
    memory,     # [programs, 5, 2, SIDE, SIDE]: five split matrices
    logarithm,  # [B, D, D]
    B, D, floor, ridge, low, high,
    TABLE: tl.constexpr, SERIES: tl.constexpr, DOUBLED: tl.constexpr,
    ROWS: tl.constexpr, SIDE: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Every program computes every so many-th matrix, padded to SIDE with the identity, some rows at a time.

    ``TABLE`` has a row for every step of the square roots: its polynomial, and 1 in a root's first step, where Z is the
    identity, and 2 in its last, after which Z is not needed. Z has two buffers, each written from the other.
    """
    SIZE: tl.constexpr = 2 * SIDE * SIDE
    c = tl.arange(0, SIDE)[None, :]
    Y = memory + tl.program_id(0).to(tl.int64) * (5 * SIZE)
    M, P = Y + 2 * SIZE, Y + 3 * SIZE
    for number in range(tl.program_id(0), B, tl.num_programs(0)):
        sample = tl.cast(number, tl.int64) * D * D
        squares, trace = tl.zeros([ROWS, SIDE], tl.float32), tl.zeros([ROWS, SIDE], tl.float32)
        for first in range(0, SIDE, ROWS):
            r = (first + tl.arange(0, ROWS))[:, None]
            A = _symmetric_rows(S + sample, r, c, D)
            squares += A * A
            trace += tl.where(r == c, A, 0)
        sum_of_diagonal = tl.sum(trace)
        shift = tl.maximum(floor - ridge * sum_of_diagonal, 0)
        norm = tl.sqrt(tl.sum(squares) + (2 * sum_of_diagonal + D * shift) * shift)  # of S + shift I
        for first in range(0, SIDE, ROWS):
            rows = first + tl.arange(0, ROWS)
            r = rows[:, None]
            A = _symmetric_rows(S + sample, r, c, D) / norm
            A = tl.where(r == c, tl.where(r < D, A + shift / norm, 1), A)
            _keep(Y, A, rows, SIDE)
        tl.debug_barrier()
        for step in range(len(TABLE)):
            stage = _entry(TABLE, step, 3)
            Z, other_Z = Y + (1 + 3 * (step % 2)) * SIZE, Y + (4 - 3 * (step % 2)) * SIZE
            if stage == 1:
                for first in range(0, SIDE, ROWS):
                    rows = first + tl.arange(0, ROWS)
                    _keep(M, _kept(Y, rows[:, None], c, SIDE), rows, SIDE)
                tl.debug_barrier()
            else:
                _multiply(Z, Y, M, ROWS, SIDE, BLOCK_K)
            for first in range(0, SIDE, ROWS):
                rows = first + tl.arange(0, ROWS)
                polynomial = _entry(TABLE, step, 2) * _product(M, M, rows, ROWS, SIDE, BLOCK_K)
                polynomial += _entry(TABLE, step, 1) * _kept(M, rows[:, None], c, SIDE)
                polynomial += tl.where(rows[:, None] == c, _entry(TABLE, step, 0), 0)
                _keep(P, polynomial, rows, SIDE)
                if stage == 1:
                    _keep(other_Z, polynomial, rows, SIDE)
            tl.debug_barrier()
            if stage == 0:
                _multiply(P, Z, other_Z, ROWS, SIDE, BLOCK_K)  # not Z P: in that order rounding grows
            _multiply(Y, P, Y, ROWS, SIDE, BLOCK_K)
        T, T2, T3, T4, total = Y, Y + SIZE, M, P, Y + 4 * SIZE
        for first in range(0, SIDE, ROWS):
            rows = first + tl.arange(0, ROWS)
            root = 2 * _kept(Y, rows[:, None], c, SIDE) - tl.where(rows[:, None] == c, high + low, 0)
            _keep(T, root / (high - low), rows, SIDE)
            _keep(total, tl.zeros([ROWS, SIDE], tl.float32), rows, SIDE)
        tl.debug_barrier()
        _multiply(T, T, T2, ROWS, SIDE, BLOCK_K)
        _multiply(T2, T, T3, ROWS, SIDE, BLOCK_K)
        _multiply(T2, T2, T4, ROWS, SIDE, BLOCK_K)
        for part in range(4):  # of four powers, the highest first
            for first in range(0, SIDE, ROWS):
                rows = first + tl.arange(0, ROWS)
                series = _product(total, T4, rows, ROWS, SIDE, BLOCK_K)
                series += tl.where(rows[:, None] == c, _entry(SERIES, 4 * part, 0), 0)
                for power in range(1, 4):
                    series += _entry(SERIES, 4 * part + power, 0) * _kept(
                        T + (power - 1) * SIZE, rows[:, None], c, SIDE
                    )
                _keep(total, series, rows, SIDE)
            tl.debug_barrier()
        for first in range(0, SIDE, ROWS):
            r = (first + tl.arange(0, ROWS))[:, None]
            series = (_kept(total, r, c, SIDE) + _kept(total, c, r, SIDE)) * (DOUBLED / 2)
            series += tl.where(r == c, tl.log(norm), 0)
            tl.store(logarithm + sample + r * D + c, series, mask=(r < D) & (c < D))
        tl.debug_barrier()


def log_eig_gemm_settings(D: int) -> dict[str, Any]:
    """Return the compile-time arguments of ``log_eig_gemm_kernel``."""
    side = max(16, triton.next_power_of_2(D))
    constants = {"TABLE": _TABLE, "SERIES": _SERIES, "DOUBLED": 2**ROOTS}
    tiles = {"ROWS": min(side, 64), "SIDE": side, "BLOCK_K": min(side, 64 if side == 64 else 32)}
    warps = 8 if side in (32, 128) else 4  # with 4, 32 would spill a register
    return {**constants, **tiles, "enable_fp_fusion": True, "num_warps": warps, "num_stages": 2}


def launch_log_eig_gemm(S: Tensor, floor: float) -> Tensor:
    """Compute ``log_eig_gemm`` by its kernel; float64 and larger matrices are left to PyTorch's products."""
    B, D, _ = S.shape
    if S.dtype == torch.float64 or D > _MOST:
        return _products(S, floor)
    settings = log_eig_gemm_settings(D)
    side = settings["SIDE"]
    memory = torch.empty(min(B, _PROGRAMS), 5, 2, side, side, dtype=torch.float16, device=S.device)
    logarithm = torch.empty(B, D, D, dtype=torch.float32, device=S.device)
    if B:
        with on_device_of(S):
            log_eig_gemm_kernel[(len(memory),)](
                S.contiguous(), memory, logarithm, B, D, floor, RIDGE, *INTERVAL, **settings
            )
    return logarithm


@without_autocast
def _products(S: Tensor, floor: float) -> Tensor:
    return log_eig_products(S.to(multiplier(S)), floor).to(S.dtype)


@custom_op("fsrcache::log_eig_gemm", mutates_args=())
@op_body
def _log_eig_gemm(S: Tensor, floor: float) -> Tensor:
    return _products(S, floor)


_log_eig_gemm.register_kernel("cuda")(op_body(launch_log_eig_gemm))


@_log_eig_gemm.register_fake
def _(S: Tensor, floor: float) -> Tensor:  # noqa: ARG001  the floor has no shape
    return S.new_empty(S.shape)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG001  nothing of it is kept
    S, ctx.floor = inputs
    ctx.save_for_backward(S)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return _Gradient.apply(gradient, *ctx.saved_tensors, ctx.floor), None


class _Gradient(torch.autograd.Function):
    """The gradient of the products, whose own derivative is an error."""

    @staticmethod
    @without_autocast
    def forward(gradient: Tensor, S: Tensor, floor: float) -> Tensor:
        with torch.enable_grad():
            S = S.detach().requires_grad_()
            return torch.autograd.grad(_products(S, floor), S, gradient)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:  # noqa: ARG004
        raise second_derivative("log_eig_gemm")


_log_eig_gemm.register_autograd(_differentiate, setup_context=_save)

_TABLE = tuple(
    (*polynomial, 1.0 if step == 0 else 2.0 if step == len(polynomials) - 1 else 0.0)
    for polynomials in POLYNOMIALS
    for step, polynomial in enumerate(polynomials)
)
_SERIES = tuple((SERIES[first + power],) for first in (12, 8, 4, 0) for power in range(4))
