"""``fsrcache train``: train the generator on cached features."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import (
    device_option,
    parse_scales,
    restart_option,
    run_threads_option,
    seed_option,
    set_option,
    show_option,
    show_settings,
)
from fsrcache.cli.paths import json_option, store_option, workspace_option
from fsrcache.cli.progress import clock, shown
from fsrcache.cli.ranks import one_voice, refuse_measuring
from fsrcache.presets import CACHES, LOGS, TRAINING
from fsrcache.split_names import splits_of_words
from fsrcache.workspace import Workspace

if TYPE_CHECKING:
    from fsrcache.training.run.estimate import TrainEstimate
    from fsrcache.training.run.train import TrainResult


def _splits(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    """Return the names in a list, or none of them for the word ``none``."""
    if value is None:
        return None
    names = splits_of_words(value)
    if names == ["none"]:
        return []
    if "none" in names or "" in names or not names:
        raise click.BadParameter(
            f"{value!r} is no list of splits; write view-1..3,unlabelled, or none alone.", ctx, param
        )
    return names


@click.command(cls=Command)
@workspace_option
@store_option
@click.option("--name", default="default", show_default=True, help="Name of the run.")
@click.option("--scales", metavar="SCALES", callback=parse_scales, help="Scales to train on beside full resolution, "
              "such as 2,4,8.  [default: all; a run goes on with its own]")  # fmt: skip
@click.option("--preset", type=click.Choice(list(TRAINING)), help="paper: the text where it speaks; authors: their "
              "code; best: what measures best; tiny: fast.  [default: tiny for drawn faces, else best]")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of the generator.  [default: the preset's]")
@set_option
@click.option("--extra", metavar="SPLITS", callback=_splits, help="Extra splits of the store to draw from beside "
              "train, such as view-1..3,unlabelled, or none.  [default: all; a run goes on with its own]")  # fmt: skip
@click.option(
    "--cache",
    type=click.Choice(CACHES),
    default="auto",
    show_default=True,
    help="Where the features lie: on the device, in memory, streamed from the store, or what fits.",
)
@click.option("--plain", is_flag=True, help="Compute every part as it is defined: slower, to compare with.")
@click.option("--log", type=click.Choice(LOGS), multiple=True, help="Track the run with it, offline. Repeatable.")
@restart_option
@show_option
@click.option("--dry-run", is_flag=True, help="Print time and memory, from a few steps, and write nothing.")
@seed_option
@device_option
@run_threads_option
@json_option
def train(
    workspace: Workspace,
    store: str | None,
    name: str,
    scales: list[int] | None,
    preset: str | None,
    steps: int | None,
    assignments: tuple[str, ...],
    extra: list[str] | None,
    cache: str,
    plain: bool,
    log: tuple[str, ...],
    restart: bool,
    show: bool,
    dry_run: bool,
    seed: int,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train a generator that turns features of low-resolution faces into those of their full-resolution ones.

    Reads the workspace's store, writes runs/NAME: the generator, the newest two checkpoints, the history. Interrupted,
    it goes on from the last checkpoint when the same command is run again. Other settings, and other --steps among
    them, are another run: name it by --name, or begin anew with --restart. Started by torchrun, all processes share
    each batch, and the first writes.
    """
    from fsrcache.device import keep_freed_memory  # and torch, not for --help and completion
    from fsrcache.verbs.train import estimate_train, train_settings
    from fsrcache.verbs.train import train as work

    if show and dry_run:
        raise click.UsageError("--show and --dry-run are two answers; leave out one.")
    keep_freed_memory()
    with one_voice() as ranks, shown(Console(stderr=True, quiet=not ranks.first)) as on_progress:
        if show:
            _, config = train_settings(workspace, preset=preset, steps=steps, settings=assignments)
        elif dry_run:
            refuse_measuring(ranks)
            estimate = estimate_train(
                workspace, store=store, name=name, scales=scales, preset=preset, steps=steps, settings=assignments,
                extra=extra, cache=cache, plain=plain, restart=restart, seed=seed, device=device, threads=threads,
                on_progress=on_progress,
            )  # fmt: skip
        else:
            result = work(
                workspace, store=store, name=name, scales=scales, preset=preset, steps=steps, settings=assignments,
                extra=extra, cache=cache, plain=plain, log=log, restart=restart, seed=seed, device=device,
                threads=threads, on_progress=on_progress,
            )  # fmt: skip
    if not ranks.first:
        return
    if show:
        show_settings(config, as_json=as_json)
    elif as_json:
        click.echo(to_json(asdict(estimate if dry_run else result)))
    elif dry_run:
        _print_estimate(estimate)
    else:
        _print_result(result)


def _print_result(result: "TrainResult") -> None:
    accuracy = ", ".join(
        f"{'HR' if scale == '1' else f'x{scale}'} {value:.1f}" for scale, value in result.held_out_accuracy.items()
    )
    pace = ""
    if result.samples_per_second is not None and result.data_wait_share is not None:
        waiting = f"{100 * result.data_wait_share:.1f} % of it waiting for data"
        pace = f", {waiting}, {result.samples_per_second:,.0f} samples/s"
    preset = " ".join((result.preset, *result.settings))
    click.echo(f"{result.generator}: {result.steps:,} steps, {result.seconds:.0f} s{pace}, preset {preset}")
    click.echo(f"Accuracy on faces held out of training, %: {accuracy}")


def _print_estimate(estimate: "TrainEstimate") -> None:
    gmac = estimate.gmac_per_sample
    for network, count in estimate.parameters.items():
        click.echo(f"{network}: {count:,} parameters, {gmac[network]:.3g} GMAC a sample forward")
    click.echo(f"a step: {gmac['step']:.3g} GMAC a sample, forward and backward, all networks")
    parts = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in estimate.memory.items())
    click.echo(f"memory: {parts}; the cache on {estimate.cache}: {estimate.cache_reason}")
    click.echo(
        f"time: {clock(estimate.seconds)} for {estimate.steps:,} steps, {estimate.steps_per_second:,.3g} a second "
        f"({estimate.samples_per_second:,.3g} samples), from {estimate.measured_steps} measured; nothing was written"
    )
