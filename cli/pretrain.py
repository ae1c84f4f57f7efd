"""``fsrcache pretrain``: train the extractor."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console

from fsrcache.announce import several
from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import (
    data_of,
    data_options,
    device_option,
    parse_scales,
    restart_option,
    run_threads_option,
    seed_option,
    set_option,
    show_option,
    show_settings,
)
from fsrcache.cli.paths import json_option, workspace_option
from fsrcache.cli.progress import clock, shown
from fsrcache.cli.ranks import one_voice, refuse_measuring
from fsrcache.presets import EXTRACTORS
from fsrcache.workspace import Workspace

if TYPE_CHECKING:
    from fsrcache.training.classifier.estimate import PretrainEstimate


@click.command(cls=Command)
@workspace_option
@data_options
@click.option("--preset", type=click.Choice(list(EXTRACTORS)), help="Shape and schedule.  [default: tiny for drawn "
              "faces, small up to 64 pixels, beyond that medium, or paper on a GPU]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Passes over the pictures.  [default: the preset's]")
@set_option
@click.option("--scales", metavar="SCALES", callback=parse_scales, default="1", show_default=True,
              help="At which pictures are seen, each as often: 1 is full resolution alone, or 1..8.")  # fmt: skip
@click.option("--side", type=int, help="Pixels of every picture's side.  [default: the commonest]")
@restart_option
@show_option
@click.option("--dry-run", is_flag=True, help="Print time and memory, from a few steps, and write nothing.")
@seed_option
@device_option
@run_threads_option
@json_option
def pretrain(
    workspace: Workspace,
    data_path: str | None,
    layout: str | None,
    votes: str | None,
    on_error: str,
    limit: int | None,
    preset: str | None,
    epochs: int | None,
    assignments: tuple[str, ...],
    scales: list[int],
    side: int | None,
    restart: bool,
    show: bool,
    dry_run: bool,
    seed: int,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train the extractor, at full resolution unless other scales are named, into the workspace.

    A tenth of the training split, fixed by the pictures' hashes, is left out of all training. The last epoch is kept.
    Interrupted, it goes on from the last checkpoint when the same command is run again. Started by torchrun, all
    processes share each batch, and the first writes.
    """
    from fsrcache.device import keep_freed_memory  # and torch, not for --help and completion
    from fsrcache.training.classifier.estimate import PretrainEstimate
    from fsrcache.verbs.pretrain import estimate_pretrain, pretrain_settings
    from fsrcache.verbs.pretrain import pretrain as work

    if show and dry_run:
        raise click.UsageError("--show and --dry-run are two answers; leave out one.")
    keep_freed_memory()
    with one_voice() as ranks, shown(Console(stderr=True, quiet=not ranks.first)) as on_progress:
        if dry_run:
            refuse_measuring(ranks)
        data = data_of(
            workspace, data_path, layout=layout, votes=votes, on_error=on_error, limit=limit, on_progress=on_progress
        )
        if show:
            settings = pretrain_settings(
                workspace, data=data, preset=preset, epochs=epochs, settings=assignments, side=side, device=device,
                on_progress=on_progress,
            )  # fmt: skip
        else:
            result = (estimate_pretrain if dry_run else work)(
                workspace, data=data, preset=preset, epochs=epochs, settings=assignments, scales=scales, side=side,
                restart=restart, seed=seed, device=device, threads=threads, on_progress=on_progress,
            )  # fmt: skip
    if not ranks.first:
        return
    if show:
        show_settings(settings.extractor, settings.schedule, as_json=as_json)
    elif as_json:
        click.echo(to_json(asdict(result)))
    elif isinstance(result, PretrainEstimate):
        _print_estimate(result)
    else:
        accuracy = ", ".join(f"{split} {value:.1f} %" for split, value in result.accuracy.items())
        click.echo(
            f"{result.extractor}: {several(result.epochs, 'epoch')}, {result.seconds:.0f} s; accuracy {accuracy}"
        )
        click.echo(f"preset {' '.join((result.preset, *result.settings))}")


def _print_estimate(estimate: "PretrainEstimate") -> None:
    parts = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in estimate.memory.items())
    click.echo(f"preset {' '.join((estimate.preset, *estimate.settings))}")
    click.echo(f"memory: {parts}")
    click.echo(
        f"time: {clock(estimate.seconds_per_epoch)} an epoch of {estimate.steps_per_epoch:,} steps, "
        f"{clock(estimate.seconds)} for {estimate.epochs:,} epochs, from {estimate.measured_steps} measured steps; "
        "nothing was written"
    )
