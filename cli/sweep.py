"""``fsrcache sweep``: train a generator for every combination of settings and seeds."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from fsrcache.cli.help import Command
from fsrcache.cli.main import after_answer, to_json
from fsrcache.cli.options import device_option, restart_option, run_threads_option
from fsrcache.cli.paths import HomePath, json_option, store_option, workspace_option
from fsrcache.cli.printing import print_table
from fsrcache.cli.progress import shown
from fsrcache.cli.ranks import one_voice
from fsrcache.cli.remedies import command_line, for_shell
from fsrcache.errors import FsrcacheError, call
from fsrcache.files import write_whole
from fsrcache.presets import CACHES, LOGS, TRAINING
from fsrcache.workspace import Workspace

if TYPE_CHECKING:
    from fsrcache.training.sweep.result import Spread, SweepResult


@click.command(cls=Command)
@workspace_option
@store_option
@click.option("--name", default="sweep", show_default=True, help="First part of the runs' names.")
@click.option("--preset", type=click.Choice(list(TRAINING)), help="Settings to begin from.  [default: tiny for drawn "
              "faces, else best]")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of every generator.  [default: the preset's]")
@click.option("--set", "assignments", multiple=True, metavar="NAME=V,V", help="Values of a setting, such as "
              "l2_weight=0,1,10; lists are separated by semicolons: 'betas=0,0.9;0.9,0.999'. Repeatable.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N",
              help="Seeds of each combination: 0 to N - 1.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N",
              help="Runs at once, each in a process with its share of the threads and the features.")  # fmt: skip
@click.option("--cache", type=click.Choice(CACHES), default="auto", show_default=True,
              help="Where the features lie: on the device, in memory, in the store, or what fits.")  # fmt: skip
@click.option("--log", type=click.Choice(LOGS), multiple=True, help="Track every run with it, offline. Repeatable.")
@restart_option
@device_option
@run_threads_option
@click.option("--csv", "csv_path", type=HomePath(path_type=Path, dir_okay=False), metavar="FILE",
              help="File for the table as CSV.")  # fmt: skip
@json_option
def sweep(
    workspace: Workspace,
    store: str | None,
    name: str,
    preset: str | None,
    steps: int | None,
    assignments: tuple[str, ...],
    seeds: int,
    jobs: int,
    cache: str,
    log: tuple[str, ...],
    restart: bool,
    device: str,
    threads: int | None,
    csv_path: Path | None,
    as_json: bool,
) -> None:
    """Train a generator for every combination of settings and seeds, over features that are read once.

    Each is a run as fsrcache train makes it, named by its settings and seed: sweep-l2_weight-10-seed-0. Interrupted,
    the sweep goes on when the same command is run again; runs that have ended are not trained again. The table has
    means over the seeds, with their standard deviation, of the accuracy on held-out faces. Started by torchrun, each
    process trains a share of the runs.
    """
    from fsrcache.device import keep_freed_memory  # and torch, not for --help and completion
    from fsrcache.training.sweep.result import to_csv
    from fsrcache.verbs.sweep import sweep as work

    keep_freed_memory()
    with one_voice() as ranks, shown(Console(stderr=True, quiet=not ranks.first)) as on_progress:
        result = work(
            workspace, store=store, name=name, preset=preset, steps=steps, settings=assignments, seeds=seeds, jobs=jobs,
            cache=cache, log=log, restart=restart, device=device, threads=threads, on_progress=on_progress,
        )  # fmt: skip
    if not ranks.first:
        return
    if as_json:
        runs = tuple(replace(run, remedy=for_shell(run.remedy)) for run in result.runs)
        click.echo(to_json(asdict(replace(result, runs=runs))))
    else:
        _print_result(result, workspace)
    failed = [run for run in result.runs if run.error]
    with after_answer():
        if csv_path is not None:
            write_whole(csv_path, to_csv(result.rows).encode())
        if failed:
            first = failed[0]
            what = f"{len(failed):,} of {len(result.runs):,} runs failed, {first.name} first: {first.error}"
            raise FsrcacheError(what, first.remedy)


def _print_result(result: "SweepResult", workspace: Workspace) -> None:
    every = [row.settings for row in result.rows]
    fixed = [one for one in every[0] if all(one in others for others in every)]
    varied = [[one for one in settings if one not in fixed] for settings in every]
    scales = ["HR" if scale == "1" else f"x{scale}" for scale in result.rows[0].held_out_accuracy]
    lines = [[*(one.partition("=")[0] for one in varied[0]), "seeds", "mean", *scales]]
    for row, settings in zip(result.rows, varied, strict=True):
        spreads = (row.mean, *row.held_out_accuracy.values())
        lines.append([*(one.partition("=")[2] for one in settings), str(len(row.seeds)), *map(_cell, spreads)])
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in zip(*lines, strict=True):
        table.add_column(column[0], min_width=max(map(cell_len, "\n".join(column).split("\n"))), justify="right")
    for line in lines[1:]:
        table.add_row(*line)
    click.echo(f"Accuracy on faces held out of training, %, preset {' '.join((result.preset, *fixed))}")
    print_table(table, Console())
    names = [run.name for run in result.runs if not run.error]
    click.echo(f"As rows of the table: {command_line(call('evaluate', workspace=str(workspace.folder), names=names))}")


def _cell(spread: "Spread") -> str:
    """Return a mean, and below it the deviation."""
    return f"{spread.mean:.1f}" + ("" if spread.deviation is None else f"\n±{spread.deviation:.1f}")
