"""``fsrcache bench``: times of kernels, the parts of a training step, the store and predictions on this machine."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from fsrcache.benchmarks.bench import SUBJECTS
from fsrcache.benchmarks.bench import bench as work
from fsrcache.cli.help import Command
from fsrcache.cli.main import after_answer, matplotlib_import, to_json
from fsrcache.cli.options import device_option, threads_option
from fsrcache.cli.paths import HomePath, json_option
from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.files import write_whole

_FIGURES = (".png", ".svg", ".pdf")


@click.command(cls=Command)
@click.argument("subject", type=click.Choice([*SUBJECTS, "all"]), default="all")
@device_option
@threads_option
@json_option
@click.option("--plot", type=HomePath(path_type=Path, dir_okay=False), metavar="FILE",
              help="Draw ratios and roofline as a .png, .svg or .pdf.")  # fmt: skip
@click.option("--out", type=HomePath(path_type=Path, dir_okay=False), metavar="FILE",
              help="File for the JSON, rewritten after every case.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Small sizes and few runs: a check that it works, no timing.")
def bench(subject: str, device: str, as_json: bool, plot: Path | None, out: Path | None, quick: bool) -> None:
    """Time the kernels, the parts of a training step, the store, predictions, or all, against what else there is.

    Every result is checked against its reference before anything is timed; a wrong one is not timed, nor is a case that
    fails otherwise: the exit code is 1 then. Candidate and alternatives take turns in one process; a ratio above 1
    means that ours is the faster. The roof is the time that the machine's own copying bandwidth and matrix rate,
    measured first, allow.
    """
    target = pick_device(device)
    if plot is not None and (plot.suffix.lower() not in _FIGURES or not plot.parent.is_dir()):
        raise RequestError(f"No figure can be written to {plot}.", "Name a .png, .svg or .pdf in a folder that exists.")
    if out is not None and not out.parent.is_dir():
        raise RequestError(f"No record can be written to {out}.", "Name a file in a folder that exists.")
    console = Console(stderr=True)

    def keep(record: dict[str, Any]) -> None:
        if out is not None:
            write_whole(out, (to_json(record) + "\n").encode(errors="backslashreplace"))

    def on_progress(line: str, record: dict[str, Any]) -> None:
        with suppress(OSError, FsrcacheError):  # neither is worth the cases that are still to come
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            keep(record)

    record = work(subject, target, quick=quick, on_progress=on_progress)
    try:
        if as_json:
            click.echo(to_json(record))
        else:
            _show(record)
    finally:  # wherever the answer went, a file may still hold it
        with after_answer():
            keep(record)
            if plot is not None:
                _draw(record, plot)
    if record["failed"]:
        sys.exit(1)


def _draw(record: dict[str, Any], plot: Path) -> None:
    with matplotlib_import():
        from fsrcache.benchmarks.figures import write_bench_figure
    write_bench_figure(record, plot)


def _show(record: dict[str, Any]) -> None:
    machine, roofs = record["machine"], record["roofs"]
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    click.echo(f"{machine.get('gpu') or machine['processor']}, {machine['cores']} cores, {machine['threads']} threads")
    click.echo(f"{versions}; commit {record['commit'] or 'unknown'}")
    products = f"{roofs['tflop_per_second']:.2f} TFLOP/s in fp32 products"
    if roofs["tf32_tflop_per_second"] is not None:
        products += f", {roofs['tf32_tflop_per_second']:.2f} in TensorFloat-32"
    click.echo(f"roofs: {roofs['gb_per_second']:.0f} GB/s copied, {products}")
    last = None
    for row in record["cases"]:
        if row["case"] != last:
            rates = (_rate(row["gb_per_second"], "GB/s"), _rate(row["tflop_per_second"], "TFLOP/s"),
                     _rate(row["samples_per_second"], "samples/s"))  # fmt: skip
            roof = f"{row['share_of_roof']:.0%} of the roof" if row["share_of_roof"] else ""
            click.echo(f"\n{click.style(row['case'], bold=True)}")
            click.echo(", ".join(filter(None, (
                f"  {row['ms']:8.3g} ms ({row['ms_p20']:.3g} to {row['ms_p80']:.3g})  {row['candidate']}", *rates, roof
            ))))  # fmt: skip
            last = row["case"]
        if row["alternative"]:
            warm = "" if row["ratio_warm"] is None else f" ({row['ratio_warm']:.2f}x with a warm L2)"
            click.echo(f"  {row['alternative_ms']:8.3g} ms  {row['ratio']:5.2f}x  {row['alternative']}{warm}")
    click.echo()
    for one in record["failed"]:
        click.echo(f"Failed: {one['case']}: {one['error']}")
    for what in record["not_run"]:
        click.echo(f"Not run: {what}.")


def _rate(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"
