"""``fsrcache baselines``: train the rivals without a generator."""

from typing import TypedDict

import click
from rich.console import Console

from fsrcache.cli.main import to_json
from fsrcache.cli.options import device_option, seed_option
from fsrcache.cli.places import json_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.cli.reading import BUILT_IN, read_faces
from fsrcache.device import keep_freed_memory, pick_device
from fsrcache.extraction.extract import extract, sources
from fsrcache.faces.degrade import Degradation
from fsrcache.presets import Side
from fsrcache.records import value_from
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.workspace import Workspace


class _Recipe(TypedDict):
    """How the pictures of a store were made."""

    side: Side
    spd_side: int
    degradation: Degradation


@click.command
@workspace_option
@click.option("--rows", type=click.Choice(["fine-tuned"]), default="fine-tuned", show_default=True,
              help="Which rows of the table.")  # fmt: skip
@seed_option
@device_option
@json_option
def baselines(workspace: Workspace, rows: str, seed: int, device: str, as_json: bool) -> None:
    """Train the rivals that need no generator; evaluate shows them once they are there.

    fine-tuned: the workspace's extractor, trained further on faces at all scales of the store, its features in a store
    of its own. Interrupted, it goes on where it stopped when the same command is run again.
    """
    place = pick_device(device)
    keep_freed_memory()
    console = Console(stderr=True)
    store = FeatureStore(workspace.store)
    recipe = value_from(
        _Recipe, store.spec.recipe, where=store.name, name="recipe", remedy="Extract faces with `fsrcache extract`."
    )
    degradation = recipe["degradation"]
    folder = workspace.fine_tuned
    target = folder / "extractor.safetensors"
    with shown(console) as on_progress:
        faces, line = read_faces(workspace.data() or BUILT_IN, side=recipe["side"], on_progress=on_progress)
        record = fine_tune(
            faces, workspace.extractor, target=target, folder=folder / "training",
            scales=store.scales, degradation=degradation, seed=seed, device=place, on_progress=on_progress,
        )  # fmt: skip
        given = sources(faces, target, device=place, degradation=degradation)
        extracted = extract(
            given, store=folder / "features.zarr", scales=store.scales, data=line, on_progress=on_progress
        )
    record = {"row": rows, "extractor": str(target), **record, "extraction": extracted}
    if as_json:
        click.echo(to_json(record))
    else:
        accuracy = ", ".join(f"{split} {value:.1f} %" for split, value in record["accuracy"].items())
        click.echo(f"{target}: {record['epochs']} epochs, {record['seconds']:.0f} s; at full resolution {accuracy}")
