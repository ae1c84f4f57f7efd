"""``fsrcache extract``: run the frozen extractor over every face at every scale, into the store."""

from dataclasses import replace
from typing import Any

import click
from fsrcache.cli.main import to_json
from fsrcache.cli.options import (
    data_options,
    degradation_options,
    device_option,
    json_option,
    parse_scales,
    workspace_option,
)
from fsrcache.cli.progress import shown
from fsrcache.cli.reading import chosen_data, read_faces
from rich.console import Console

from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError
from fsrcache.extract import extract as work
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import Faces
from fsrcache.models.extractor import load_extractor
from fsrcache.presets import EXTRACTORS, PRETRAINING
from fsrcache.pretrain import pretrain
from fsrcache.progress import Watch
from fsrcache.workspace import Workspace


@click.command
@workspace_option
@data_options
@click.option("--scales", metavar="SCALES", callback=parse_scales, default="2..8", show_default=True,
              help="2..8, 2,4,8 or 1..8; full resolution is always written.")  # fmt: skip
@degradation_options
@device_option
@json_option
def extract(
    workspace: Workspace,
    data_path: str | None,
    layout: str | None,
    votes: str,
    on_error: str,
    scales: list[int],
    form: str,
    border: str,
    jpeg: int | None,
    device: str,
    as_json: bool,
) -> None:
    """Write features, embeddings and probabilities of every face at every scale into the workspace's store.

    Interrupted, it goes on where it stopped when the same command is run again; more scales can be added later. In a
    workspace without an extractor, one is quickly trained if the faces are the drawn ones.
    """
    degradation = Degradation(form=form, border=border, jpeg=jpeg)  # type: ignore[arg-type]  # click.Choice has checked
    place = pick_device(device)
    console = Console(stderr=True)
    data = chosen_data(workspace, data_path, layout=layout, votes=votes, on_error=on_error, console=console)
    with shown(console) as watch:
        side = load_extractor(workspace.extractor).config.side if workspace.extractor.exists() else None
        if side is None and not data.drawn:
            raise FsrcacheError(
                f"There is no extractor in {workspace.folder}.", f"Run `fsrcache pretrain --data {data.path}` first."
            )
        faces, line = read_faces(data, side=side, watch=watch)
        if workspace.data() is None:
            workspace.remember(data)
        if side is None:
            console.print("There is no extractor yet: pre-training a tiny one on the drawn faces.", highlight=False)
            _tiny_extractor(workspace, faces, place, watch)
        record = work(
            faces, workspace.extractor,
            store=workspace.store, scales=scales, degradation=degradation, data=line, device=place, watch=watch,
        )  # fmt: skip
    workspace.remember(data)
    if as_json:
        click.echo(to_json(record))
    else:
        rows = ", ".join(f"{split} {count:,}" for split, count in record["rows"].items())
        found = f", {record['resumed_from']} of {record['blocks']} blocks found" if record["resumed_from"] else ""
        scale = ", ".join(map(str, record["scales"]))
        click.echo(f"{record['store']}: {rows} faces at scales {scale}, {record['seconds']:.0f} s{found}")


def _tiny_extractor(workspace: Workspace, faces: Faces, device: Any, watch: Watch) -> None:
    config = replace(EXTRACTORS["tiny"], side=faces.side)
    target, folder = workspace.extractor, workspace.pretraining
    pretrain(faces, config, PRETRAINING["tiny"], target=target, folder=folder, device=device, watch=watch)
