"""``fsrcache extract``: run the frozen extractor over every face at every scale, into the store."""

import os
import re
from dataclasses import replace
from typing import Any

import click
from rich.console import Console

from fsrcache.cli.main import to_json
from fsrcache.cli.options import data_options, degradation_options, device_option, parse_scales
from fsrcache.cli.places import json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.cli.reading import chosen_data, read_faces
from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extract import dry_run as estimate
from fsrcache.extraction.extract import extract as work
from fsrcache.extraction.extract import sources
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import Faces
from fsrcache.presets import EXTRACTORS, PRETRAINING
from fsrcache.progress import ProgressCallback
from fsrcache.records import shortened
from fsrcache.training.classifier.pretraining import pretrain
from fsrcache.workspace import Workspace


def _part(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int]:
    """Return (i, n), of the option or of the ranks that torchrun gives."""
    if value is None:
        return _part_by_rank()
    match = re.fullmatch("([0-9]{1,6})/([0-9]{1,6})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is no part; write 1/4 to 4/4 for four writers.", ctx, param)
    return int(match[1]), int(match[2])


def _part_by_rank() -> tuple[int, int]:
    rank, ranks = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not rank and not ranks:
        return 1, 1
    if not all(re.fullmatch("[0-9]{1,6}", number) for number in (rank, ranks)) or int(rank) >= int(ranks):
        raise click.UsageError(
            f"RANK is {shortened(rank)} and WORLD_SIZE is {shortened(ranks)} in the environment; with 4 writers they "
            "are 0 to 3 and 4. Set both or neither, or name the share with --part."
        )
    return int(rank) + 1, int(ranks)


@click.command
@workspace_option
@store_option
@data_options
@click.option("--scales", metavar="SCALES", callback=parse_scales, default="2..8", show_default=True,
              help="2..8, 2,4,8 or 1..8; full resolution is always written.")  # fmt: skip
@degradation_options
@click.option("--part", metavar="I/N", callback=_part, help="Do one of N shares, as several processes or hosts may "
              "at once; whoever finishes last completes the store.  [default: torchrun's rank, else 1/1]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be written and how long it takes, from a sample.")
@device_option
@json_option
def extract(
    workspace: Workspace,
    store: str | None,
    data_path: str | None,
    layout: str | None,
    votes: str,
    on_error: str,
    scales: list[int],
    form: str,
    border: str,
    jpeg: int | None,
    part: tuple[int, int],
    dry_run: bool,
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
    with shown(console) as on_progress:
        side = open_extractor(workspace.extractor_source).side if workspace.has_extractor else None
        if side is None and (not data.drawn or dry_run or part != (1, 1)):
            raise FsrcacheError(
                f"There is no extractor in {workspace.folder}.", f"Run `fsrcache pretrain --data {data.path}` first."
            )
        faces, line = read_faces(data, side=side, on_progress=on_progress)
        if side is None:
            workspace.remember(data)
            console.print("There is no extractor yet: pre-training a tiny one on the drawn faces.", highlight=False)
            _tiny_extractor(workspace, faces, place, on_progress)
        given = sources(faces, workspace.extractor, device=place, degradation=degradation)
        if dry_run:
            record = estimate(given, store=store or workspace.store, scales=scales, part=part)
        else:
            record = work(
                given, store=store or workspace.store, scales=scales, data=line, part=part, on_progress=on_progress
            )
    if dry_run:
        _show_estimate(record, as_json)
        return
    if store is None or not workspace.has_data:  # a store elsewhere may be of other data
        workspace.remember(data)
    if as_json:
        click.echo(to_json(record))
        return
    rows = ", ".join(f"{split} {count:,}" for split, count in record["rows"].items())
    found = f", {record['resumed_from']} of {record['blocks']} blocks found" if record["resumed_from"] else ""
    scale = ", ".join(map(str, record["scales"]))
    others = "" if record["complete"] else f"; part {part[0]}/{part[1]} is done, others are not"
    click.echo(f"{record['store']}: {rows} faces at scales {scale}, {record['seconds']:.0f} s{found}{others}")


def _show_estimate(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(to_json(record))
        return
    rows = ", ".join(f"{split} {count:,}" for split, count in record["rows"].items())
    click.echo(f"{rows} faces at scales {', '.join(map(str, record['scales']))}: {record['bytes'] / 1e6:,.1f} MB in "
               f"{record['objects']:,} objects, {record['blocks']:,} blocks")  # fmt: skip
    click.echo(f"{record['missing']:,} blocks of {record['pictures']:,} pictures are to be written")
    minutes, seconds = divmod(round(record["seconds"]), 60)
    click.echo(f"about {minutes}:{seconds:02} at {record['pictures_per_second']:,.0f} pictures a second, as measured "
               f"on {record['sampled']}")  # fmt: skip


def _tiny_extractor(workspace: Workspace, faces: Faces, device: Any, on_progress: ProgressCallback) -> None:
    config = replace(EXTRACTORS["tiny"], side=faces.side)
    target, folder = workspace.extractor, workspace.pretraining
    pretrain(faces, config, PRETRAINING["tiny"], target=target, folder=folder, device=device, on_progress=on_progress)
