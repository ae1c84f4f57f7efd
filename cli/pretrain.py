"""``fsrcache pretrain``: train the extractor."""

from dataclasses import asdict, replace

import click
from rich.console import Console

from fsrcache.cli.main import to_json
from fsrcache.cli.options import data_options, device_option, parse_scales, seed_option
from fsrcache.cli.places import json_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.cli.reading import chosen_data, read_faces
from fsrcache.device import keep_freed_memory, pick_device
from fsrcache.presets import EXTRACTORS, PRETRAINING
from fsrcache.training.classifier.pretraining import pretrain as work
from fsrcache.workspace import Workspace

_SMALL = 64  # pixels: up to this side the small preset is the default


@click.command
@workspace_option
@data_options
@click.option("--preset", type=click.Choice(list(EXTRACTORS)), help="Shape and schedule.  [default: tiny for drawn "
              "faces, small up to 64 pixels, paper beyond]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Passes over the pictures.  [default: the preset's]")
@click.option("--scales", metavar="SCALES", callback=parse_scales, default="1", show_default=True,
              help="At which pictures are seen, each as often: 1 is full resolution alone, or 1..8.")  # fmt: skip
@click.option("--side", type=int, help="Pixels of every picture's side.  [default: the commonest]")
@seed_option
@device_option
@json_option
def pretrain(
    workspace: Workspace,
    data_path: str | None,
    layout: str | None,
    votes: str,
    on_error: str,
    preset: str | None,
    epochs: int | None,
    scales: list[int],
    side: int | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Train the extractor, on full-resolution faces unless told otherwise, into the workspace.

    A tenth of the training split, fixed by the pictures' hashes, is left out of all training. The last epoch is kept.
    Interrupted, it goes on from the last whole epoch when the same command is run again.
    """
    place = pick_device(device)
    keep_freed_memory()
    console = Console(stderr=True)
    data = chosen_data(workspace, data_path, layout=layout, votes=votes, on_error=on_error, console=console)
    with shown(console) as on_progress:
        faces, _ = read_faces(data, side=side, on_progress=on_progress)
        if not workspace.has_data:
            workspace.remember(data)
        preset = preset or ("tiny" if data.drawn else "small" if faces.side <= _SMALL else "paper")
        schedule = PRETRAINING[preset] if epochs is None else replace(PRETRAINING[preset], epochs=epochs)
        record = work(
            faces, replace(EXTRACTORS[preset], side=faces.side), schedule,
            target=workspace.extractor, folder=workspace.pretraining, scales=tuple(scales), seed=seed, device=place,
            on_progress=on_progress,
        )  # fmt: skip
    workspace.remember(data)
    record = {"preset": preset, "extractor": str(workspace.extractor), "schedule": asdict(schedule), **record}
    if as_json:
        click.echo(to_json(record))
    else:
        accuracy = ", ".join(f"{split} {value:.1f} %" for split, value in record["accuracy"].items())
        click.echo(f"{workspace.extractor}: {record['epochs']} epochs, {record['seconds']:.0f} s; accuracy {accuracy}")
