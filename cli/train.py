"""``fsrcache train``: train the generator on cached features."""

from dataclasses import replace
from typing import Any

import click
from rich.console import Console

from fsrcache.cli.main import to_json
from fsrcache.cli.options import device_option, seed_option
from fsrcache.cli.places import json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.device import pick_device
from fsrcache.presets import TRAINING
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.memory import CACHES
from fsrcache.training.run.estimate import estimate
from fsrcache.training.run.train import LOGS
from fsrcache.training.run.train import train as work
from fsrcache.workspace import Workspace


@click.command
@workspace_option
@store_option
@click.option("--name", default="default", show_default=True, help="Of the run.")
@click.option("--preset", type=click.Choice(list(TRAINING)), help="paper: the text where it speaks; authors: their "
              "code; best: what measures best; tiny: seconds.  [default: tiny for drawn faces, else best]")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of the generator.  [default: the preset's]")
@click.option(
    "--cache",
    type=click.Choice(CACHES),
    default="auto",
    show_default=True,
    help="Where the features lie: on the device, in memory, streamed from the store, or what fits.",
)
@click.option("--plain", is_flag=True, help="Compute every part as it is defined: slower, to compare with.")
@click.option("--log", type=click.Choice(LOGS), help="Write events for TensorBoard into the run's folder.")
@click.option("--dry-run", is_flag=True, help="Say what it would take, from a few steps, and write nothing.")
@seed_option
@device_option
@json_option
def train(
    workspace: Workspace,
    store: str | None,
    name: str,
    preset: str | None,
    steps: int | None,
    cache: str,
    plain: bool,
    log: str | None,
    dry_run: bool,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Train a generator that turns features of low-resolution faces into those of their full-resolution ones.

    Reads the workspace's store, writes runs/NAME: the generator, the newest two checkpoints, the history. Interrupted,
    it goes on from the last checkpoint when the same command is run again.
    """
    place = pick_device(device)
    folder = workspace.run(name)
    console = Console(stderr=True)
    features = FeatureStore(store or workspace.store)
    if preset is None:
        data = workspace.data()
        preset = "tiny" if data is not None and data.drawn else "best"
    config = TRAINING[preset] if steps is None else replace(TRAINING[preset], steps=steps)
    if dry_run:
        with shown(console) as on_progress:
            record = estimate(
                features, workspace.extractor, config, device=place, seed=seed, cache=cache, plain=plain,
                folder=folder, on_progress=on_progress,
            )  # fmt: skip
        record = {"preset": preset, **record}
        if as_json:
            click.echo(to_json(record))
        else:
            _show_estimate(record)
        return
    with shown(console) as on_progress:
        record = work(
            features, workspace.extractor, config,
            folder=folder, seed=seed, device=place, cache=cache, plain=plain, log=log, on_progress=on_progress,
        )  # fmt: skip
    record = {"name": name, "preset": preset, "seed": seed, **record}
    if as_json:
        click.echo(to_json(record))
        return
    accuracy = ", ".join(
        f"{'HR' if scale == '1' else f'x{scale}'} {value:.1f}" for scale, value in record["held_out_accuracy"].items()
    )
    rate = record["samples_per_second"]
    pace = "" if rate is None else f", {rate:,.0f} samples/s, {record['data_wait_share']:.1%} of it waiting for data"
    click.echo(f"{record['generator']}: {record['steps']:,} steps, {record['seconds']:.0f} s{pace}, preset {preset}")
    click.echo(f"Accuracy on faces held out of training, %: {accuracy}")


def _show_estimate(record: dict[str, Any]) -> None:
    gmac = record["gmac_per_sample"]
    for network, count in record["parameters"].items():
        click.echo(f"{network}: {count:,} parameters, {gmac[network]:.3g} GMAC a sample forward")
    click.echo(f"a step: {gmac['step']:.3g} GMAC a sample, forward and backward, all networks")
    parts = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in record["memory"].items())
    click.echo(f"memory: {parts}; the cache on {record['cache']}: {record['cache_reason']}")
    click.echo(
        f"time: {_clock(record['seconds'])} for {record['steps']:,} steps, {record['steps_per_second']:,.3g} a second "
        f"({record['samples_per_second']:,.3g} samples), from {record['measured_steps']} measured; nothing was written"
    )


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
