"""How fast the Triton kernels can be on an H200, from their machine code and their tiles: no GPU is needed.

Run as ``python -m studies.gpu.estimates``; it prints a table. A kernel's time is at least that of the bytes
it moves from and to memory, of all that its multiprocessors read and write through the L2 cache, and of its tensor
cores' products. Where several programs share a multiprocessor the longest of the three hides the others. Where a
program has a multiprocessor to itself, the pipeline of its loop overlaps re-reads and products; the time of the memory,
for the input's first pass and the output, comes on top. These are estimates: nothing was timed.
"""

import importlib
from typing import Any, NamedTuple

import click

from studies.command import StudyCommand
from studies.gpu.machine_code import resources

_MULTIPROCESSORS, _REGISTERS, _SHARED, _THREADS = 132, 65536, 227 * 1024, 2048
_MEMORY, _L2 = 4.3e12, 5.5e12  # bytes a second; the first as measured on such a machine, the second a common reading
_TF32, _HALF = 4.0e14, 7.0e14  # multiplications and additions a second, four fifths of the data sheet's
_B = 1024


class Estimate(NamedTuple):
    """A kernel at a size: its compilation and its work.

    Attributes
    ----------
    name, goal
        Name of the case, and the goal for its time, in words.
    module, kernel, types, settings, divisible
        Arguments of ``resources``, and the module of the kernel.
    memory, again
        Bytes from and to memory, and bytes through L2 alone: re-reads and intermediate values.
    products
        Seconds of the tensor cores' products.
    """

    name: str
    goal: str
    module: str
    kernel: str
    types: str
    settings: dict[str, Any]
    divisible: tuple[str, ...]
    memory: float
    again: float = 0.0
    products: float = 0.0


def estimates() -> list[Estimate]:
    """Return the kernels at the sizes of ``bench kernels`` on a GPU."""
    pooled = [_covariance(), _covariance_backward(), _mapped(64), _mapped(128)]
    return [*pooled, _direction(), _gathered(256), _gathered(4096), _logarithm(64), _logarithm(128)]


def as_row(case: Estimate) -> dict[str, Any]:
    """Compile a kernel for sm_90; return its resources and its estimated microseconds."""
    usage = resources(getattr(_module(case.module), case.kernel), case.types, case.settings, case.divisible)
    threads = 32 * case.settings["num_warps"]
    programs = min(
        _REGISTERS // (threads * -(-usage["REG"] // 8) * 8), _SHARED // (usage["SHARED"] + 1024), _THREADS // threads
    )
    memory, again, products = 1e6 * case.memory / _MEMORY, 1e6 * case.again / _L2, 1e6 * case.products
    through_l2 = 1e6 * (case.memory + case.again) / _L2
    return {
        "case": case.name, "registers": usage["REG"], "shared": usage["SHARED"], "programs": programs,
        "spilt": usage["STACK"] + usage["LOCAL"], "memory": memory, "l2": through_l2, "products": products,
        "estimate": max(memory, through_l2, products) if programs > 1 else memory + max(again, products),
        "goal": case.goal,
    }  # fmt: skip


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    lines = [
        "| kernel | registers, shared memory | programs an SM | memory, L2, products: us | estimate, us | goal |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        spilt = f", {row['spilt']} B spilt" if row["spilt"] else ""
        lines.append(
            f"| {row['case']} | {row['registers']}, {row['shared'] / 1024:.0f} KiB{spilt} | {row['programs']} | "
            f"{row['memory']:.0f}, {row['l2']:.0f}, {row['products']:.0f} | {row['estimate']:.0f} | {row['goal']} |"
        )
    return "\n".join(lines)


@click.command(cls=StudyCommand)
def main() -> None:
    """Print the table."""
    click.echo(as_markdown([as_row(case) for case in estimates()]))


def _module(name: str) -> Any:
    return importlib.import_module(f"fsrcache.kernels.{name}")  # the package has functions of the same names


def _covariance() -> Estimate:
    C, N, module = 256, 144, "covariance_pool"
    settings = _module(module).covariance_pool_settings(C, N)
    map_, pooled, tiles = 4 * C * N, 4 * C * C, C // settings["BLOCK"]
    multiplied = 2 * settings["BLOCK"] ** 2 * _up(N, settings["BLOCK_N"]) * tiles * (tiles + 1) / 2
    return Estimate(
        f"`covariance_pool`, B {_B} C {C} N {N}", "60 % of the roof: 162", module, "covariance_pool_kernel",
        "*fp32 *fp32 *fp32 i32 i32 i32 i32 i32 fp32", {**settings, "column_stride": 1}, _MAPS,
        _B * (map_ + pooled), _B * tiles * map_, _B * 3 * multiplied / _HALF,
    )  # fmt: skip


def _covariance_backward() -> Estimate:
    C, N, module = 256, 144, "covariance_pool"
    settings = _module(module).covariance_pool_backward_settings(C, N)
    map_, pooled, tiles = 4 * C * N, 4 * C * C, C // settings["BLOCK"]
    passes, columns = _passes(N, settings)
    return Estimate(
        f"its backward, B {_B} C {C} N {N}", "3 times as fast as eager", module, "covariance_pool_backward_kernel",
        "*fp32 *fp32 *fp32 *fp32 i32 i32 i32 i32 i32 fp32", {**settings, "column_stride": 1}, _MAPS,
        _B * (2 * map_ + pooled), _B * ((1 + tiles) * map_ + 2 * passes * pooled), _B * 6 * C * C * columns / _TF32,
    )  # fmt: skip


def _mapped(D: int) -> Estimate:
    C, N, module = 256, 144, "bimap_covariance_pool"
    settings = _module(module).bimap_covariance_pool_settings(C, D, N)
    passes, columns = _passes(N, settings)
    return Estimate(
        f"`bimap_covariance_pool`, B {_B} C {C} N {N} D {D}", "8 times as fast as eager" if D == 64 else "", module,
        "bimap_covariance_pool_kernel", "*fp32 *fp32 *fp32 *fp32 i32 i32 i32 i32 i32 i32 fp32",
        {**settings, "column_stride": 1}, ("D", *_MAPS),
        4 * _B * (C * N + D * D), 4 * _B * (C * N + passes * D * C),
        _B * 6 * columns * settings["BLOCK"] * (C + settings["BLOCK"]) / _TF32,
    )  # fmt: skip


def _direction() -> Estimate:
    samples, size, module = 256, 128 * 128, "gradient_norm"
    settings = {**_module(module).gradient_norm_settings(size, 6.0), "KEPT": True}
    moved = 8 * samples * size
    return Estimate(
        f"`penalty_direction`, B {samples} x 128 x 128", "2.5 times as fast as eager, captured", module,
        "penalty_direction_kernel", "*fp32 *fp32 *fp32 *fp32 i32 fp32 fp32", settings, ("size",), moved,
    )  # fmt: skip


def _gathered(samples: int) -> Estimate:
    D, module = 128, "symmetric_gather"
    settings = {**_module(module).symmetric_gather_settings(D), "MEAN": True, "SCALE": True}
    moved = samples * (D * (D + 1) + 4 * D * D)
    goal = "8 times as fast as eager" if samples == 256 else "65 % of the roof: 120"
    return Estimate(
        f"`symmetric_gather`, fp16 to fp32, B {samples} D {D}", goal, module, "symmetric_gather_kernel",
        "*fp16 *i64 *fp32 *fp32 *fp32 i32 i32 i32", settings, ("D",), moved,
    )  # fmt: skip


def _logarithm(D: int) -> Estimate:
    module = "log_eig_gemm"
    settings = _module(module).log_eig_gemm_settings(D)
    matrix, again = 4 * D * D, D // settings["ROWS"]  # a factor is read once for every so many rows
    return Estimate(
        f"`log_eig_gemm`, B {_B} D {D}", "5 times as fast as CuPy's `eigh`", module, "log_eig_gemm_kernel",
        "*fp32 *fp16 *fp32 i32 i32 fp32 fp32 fp32 fp32", settings, ("D",),
        2 * _B * matrix, 49 * _B * (2 + again) * matrix, 49 * _B * 6 * D**3 / _HALF,
    )  # fmt: skip


def _passes(N: int, settings: dict[str, Any]) -> tuple[int, int]:
    """Return how many passes cover N columns, and the columns that they have together."""
    width = settings["BLOCK_N"] + settings["BLOCK_TAIL"]
    passes = -(-N // width)
    return passes, passes * width


def _up(length: int, step: int) -> int:
    return -(-length // step) * step


_MAPS = ("C", "N", "sample_stride", "row_stride")

if __name__ == "__main__":
    main()
