"""``fsrcache extract``: run the frozen extractor over every face at every scale, into the store."""

import os
import re
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import (
    WholeNumber,
    data_of,
    data_options,
    degradation_options,
    device_option,
    parse_scales,
    threads_option,
)
from fsrcache.cli.paths import at_home, complete_path, json_option, store_option, workspace_option
from fsrcache.cli.progress import clock, shown
from fsrcache.cli.ranks import one_voice, refuse_measuring, started_by_torchrun
from fsrcache.errors import RequestError
from fsrcache.extractors.onnx_options import OnnxOptions
from fsrcache.faces.degrade import Degradation
from fsrcache.records import shortened
from fsrcache.settings import values_from_texts
from fsrcache.split_names import MOST_VIEWS
from fsrcache.workspace import Workspace

if TYPE_CHECKING:
    from fsrcache.extraction.extract import ExtractEstimate, ExtractResult


def _path(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else at_home(value, ctx, param)


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


@click.command(cls=Command)
@workspace_option
@store_option
@data_options
@click.option("--extractor", metavar="EXTRACTOR", callback=_path, shell_complete=complete_path,
              help="A .safetensors or .onnx file, package.module:factory, or an installed extractor's name; the "
              "workspace remembers it.  [default: the workspace's]")  # fmt: skip
@click.option("--onnx", multiple=True, metavar="NAME=VALUE", help="What an ONNX file does not say, where no TOML file "
              "beside it does: classes=a,b,c side=48 channel_order=rgb|bgr|grey mean=0,0,0 deviation=1,1,1 range=255|1 "
              "layout=nchw|nhwc; may be repeated.")  # fmt: skip
@click.option("--scales", metavar="SCALES", callback=parse_scales,
              help="2..8, 2,4,8 or 1..8; full resolution is always written.  "
              "[default: those of the store, else 2..8]")  # fmt: skip
@click.option("--views", type=WholeNumber(0, MOST_VIEWS), default=0, show_default=True, metavar="K",
              help="Views of every training face that train draws from too: mirrored, shifted, from the fourth on "
              "turned.")  # fmt: skip
@click.option("--unlabelled", metavar="PATH", callback=_path, shell_complete=complete_path,
              help="A folder or file of faces without labels that train draws from too; labels are ignored.  "
              "[default: those of the store]")  # fmt: skip
@degradation_options
@click.option("--part", metavar="I/N", callback=_part, help="Do one of N shares, as several processes or hosts may "
              "at once; whoever finishes last completes the store.  [default: torchrun's rank, else 1/1]")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
              help="This process, or the workers of a Ray cluster; the store is the same.")  # fmt: skip
@click.option("--ray-address", metavar="ADDRESS", help="Address of the cluster, auto for the one that this machine is "
              "a node of.  [default: RAY_ADDRESS, else workers on this machine]")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be written and how long it takes in this process, from "
              "a sample.")  # fmt: skip
@device_option
@threads_option
@json_option
def extract(
    workspace: Workspace,
    store: str | None,
    data_path: str | None,
    layout: str | None,
    votes: str | None,
    on_error: str,
    limit: int | None,
    extractor: str | None,
    onnx: tuple[str, ...],
    scales: list[int] | None,
    views: int,
    unlabelled: str | None,
    form: str,
    border: str,
    jpeg: int | None,
    part: tuple[int, int],
    engine: str,
    ray_address: str | None,
    dry_run: bool,
    device: str,
    as_json: bool,
) -> None:
    """Write what the extractor says of every face at every scale into the workspace's store.

    That is features, embeddings, probabilities and, where it has any, early features. Interrupted, it goes on where it
    stopped when the same command is run again; more scales, views and faces without labels can be added later. In a
    workspace without an extractor, one is quickly trained if the faces are the drawn ones.
    """
    from fsrcache.device import keep_freed_memory, pick_device  # and torch, not for --help and completion
    from fsrcache.extraction.extract import ExtractEstimate, ExtractResult
    from fsrcache.training.ranks import ALONE
    from fsrcache.verbs.extract import estimate_extract
    from fsrcache.verbs.extract import extract as work

    keep_freed_memory()
    with (
        one_voice() if started_by_torchrun() else nullcontext(ALONE) as ranks,
        shown(Console(stderr=True, quiet=not ranks.first)) as on_progress,
        redirect_stdout(sys.stderr),  # Ray prints who has died
    ):
        if dry_run:
            refuse_measuring(ranks)
        if engine == "ray" and ranks.size > 1:
            raise RequestError(
                f"Ray has workers of its own, and torchrun started {ranks.size} processes.", "Run it without torchrun."
            )
        if ranks.size > 1:
            device = str(ranks.own_device(pick_device(device)))
        data = data_of(
            workspace, data_path, layout=layout, votes=votes, on_error=on_error, limit=limit, on_progress=on_progress
        )
        engines: dict[str, Any] = {} if dry_run else {"engine": engine, "ray_address": ray_address}
        result = (estimate_extract if dry_run else work)(
            workspace, store=store, data=data,
            extractor=extractor, onnx=values_from_texts(OnnxOptions, onnx), scales=scales,
            views=views, unlabelled=unlabelled,
            degradation=Degradation(form=form, border=border, jpeg=jpeg),  # type: ignore[arg-type]  # of click.Choice
            part=part, device=device, on_progress=on_progress, **engines,
        )  # fmt: skip
        if isinstance(result, ExtractResult):
            blocks, resumed_from, complete = ranks.sums(result.blocks, result.resumed_from, result.complete)
            result = replace(result, blocks=blocks, resumed_from=resumed_from, complete=complete > 0)
    if not ranks.first:
        return
    if as_json:
        click.echo(to_json(asdict(result)))
    elif isinstance(result, ExtractEstimate):
        _print_estimate(result)
    else:
        _print_result(result, part)


def _print_result(result: "ExtractResult", part: tuple[int, int]) -> None:
    resumed = f", {result.resumed_from} of {result.blocks} blocks were there" if result.resumed_from else ""
    others = "" if result.complete else f"; part {part[0]}/{part[1]} is done, others are not"
    click.echo(f"{result.store}: {_faces(result)}, {result.seconds:.0f} s{resumed}{others}")


def _print_estimate(estimate: "ExtractEstimate") -> None:
    click.echo(f"{_faces(estimate)}: {estimate.bytes / 1e6:,.1f} MB in {estimate.objects:,} objects, "
               f"{estimate.blocks:,} blocks")  # fmt: skip
    click.echo(f"{estimate.missing:,} blocks of {estimate.pictures:,} pictures are to be written")
    if estimate.pretraining_seconds is not None:
        click.echo(f"pre-training, preset {estimate.preset}: about {clock(estimate.pretraining_seconds)}")
    click.echo(f"extraction: about {clock(estimate.seconds)} at {estimate.pictures_per_second:,.0f} pictures a second, "
               f"as measured on {estimate.sampled}; nothing was written")  # fmt: skip


def _faces(result: "ExtractResult | ExtractEstimate") -> str:
    rows = ", ".join(f"{split} {count:,}" for split, count in result.rows.items())
    return f"{rows} faces at scales {', '.join(map(str, result.scales))}"
