"""``fsrcache train``: train the generator on cached features."""

from dataclasses import replace

import click
from fsrcache.cli.main import to_json
from fsrcache.cli.options import device_option, seed_option
from fsrcache.cli.places import json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from rich.console import Console

from fsrcache.device import pick_device
from fsrcache.presets import TRAINING
from fsrcache.store.reader import FeatureStore
from fsrcache.train import train as work
from fsrcache.workspace import Workspace


@click.command
@workspace_option
@store_option
@click.option("--name", default="default", show_default=True, help="Of the run.")
@click.option("--preset", type=click.Choice(list(TRAINING)), help="paper: the text where it speaks; authors: their "
              "code; best: what measures best; tiny: seconds.  [default: tiny for drawn faces, else best]")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps of the generator.  [default: the preset's]")
@seed_option
@device_option
@json_option
def train(
    workspace: Workspace,
    store: str | None,
    name: str,
    preset: str | None,
    steps: int | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Train a generator that turns features of low-resolution faces into those of their full-resolution ones.

    Reads the workspace's store, writes runs/NAME: the generator, a checkpoint, the history. Interrupted, it goes on
    from the last checkpoint when the same command is run again.
    """
    place = pick_device(device)
    folder = workspace.run(name)
    console = Console(stderr=True)
    features = FeatureStore(store or workspace.store)
    data = workspace.data()
    preset = preset or ("tiny" if data is not None and data.drawn else "best")
    config = TRAINING[preset] if steps is None else replace(TRAINING[preset], steps=steps)
    with shown(console) as watch:
        record = work(features, workspace.extractor, config, folder=folder, seed=seed, device=place, watch=watch)
    record = {"name": name, "preset": preset, "seed": seed, **record}
    if as_json:
        click.echo(to_json(record))
        return
    accuracy = ", ".join(
        f"{'HR' if scale == '1' else f'x{scale}'} {value:.1f}" for scale, value in record["held_out_accuracy"].items()
    )
    click.echo(f"{record['generator']}: {record['steps']:,} steps, {record['seconds']:.0f} s, preset {preset}")
    click.echo(f"Accuracy on faces held out of training, %: {accuracy}")
