"""Options that several commands share beside paths, and their values."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fsrcache.cli.main import to_json
from fsrcache.cli.paths import at_home, complete_path
from fsrcache.errors import FsrcacheError
from fsrcache.faces.index import formats
from fsrcache.progress import ProgressCallback
from fsrcache.settings import flattened, resolved
from fsrcache.threads import use_threads
from fsrcache.verbs.data import choose_data
from fsrcache.workspace import Data, Workspace


def _threads(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:  # noqa: ARG001  # click's
    if not ctx.resilient_parsing:  # as for completion
        use_threads(value)
    return value


class WholeNumber(click.IntRange):
    """A whole number between bounds."""

    name = "whole number"  # in click's error


device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1 ...; auto is the GPU if there is one."
)
_COUNT = WholeNumber(1, 1024)
_CORES = "[default: the cores that this process may use, or OMP_NUM_THREADS]"
threads_option = click.option(
    "--threads", type=_COUNT, metavar="N", callback=_threads, expose_value=False, help=f"Number of threads.  {_CORES}"
)
run_threads_option = click.option(
    "--threads", type=_COUNT, metavar="N", callback=_threads, help="Number of threads. If it is another than before, a "
    f"training goes on with it, and ends in other bytes.  {_CORES}",
)  # fmt: skip
seed_option = click.option(
    "--seed",
    type=WholeNumber(0, 2**63 - 1),
    default=0,
    show_default=True,
    metavar="INTEGER",
    help="Random seed.",
)
restart_option = click.option(
    "--restart", is_flag=True, help="Begin anew; what was made before stays until the new one replaces it."
)
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting other than the preset's, such as batch=64; may be repeated.",
)
show_option = click.option("--show", is_flag=True, help="Print every setting, as --set takes it, and write nothing.")


def _data(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else at_home(value, ctx, param)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the data."""
    for option in reversed(
        (
            click.option("--data", "data_path", metavar="PATH", callback=_data, shell_complete=complete_path,
                         help="A folder or file, as fsrcache data takes.  "
                         "[default: what the workspace remembers, else drawn:14000]"),
            click.option("--format", "layout", type=click.Choice(formats()), help="Its layout.  "
                         "[default: recognised; without --data the one that the workspace remembers]"),
            click.option("--votes", type=click.Choice(["majority", "argmax", "soft"]), help="How FERPlus's votes "
                         "become labels.  [default: majority; without --data what the workspace remembers]"),
            click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
                         help="Whether an unusable picture ends the work."),
            click.option("--limit", type=WholeNumber(1, 10**8), metavar="N", help="Use at most N faces of every "
                         "split, every class by its share, for a quick try.  [default: what the workspace remembers, "
                         "else all]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def data_of(
    workspace: Workspace,
    path: str | None,
    *,
    layout: str | None,
    votes: str | None,
    on_error: str,
    limit: int | None,
    on_progress: ProgressCallback,
) -> Data | None:
    """Return the data that the options of ``data_options`` name; None where there are no such options.

    Without a path they are those that the workspace remembers, but for what the other options say.
    """
    if path is not None:
        return Data(path, layout, votes or "majority", on_error, limit)  # type: ignore[arg-type]  # of click.Choice
    if all(option is None for option in (layout, votes, limit)) and on_error == "fail":
        return None
    data = choose_data(workspace, None, on_progress=on_progress)
    return replace(
        data,
        layout=layout or data.layout,
        votes=votes or data.votes,  # type: ignore[arg-type]  # of click.Choice
        limit=limit or data.limit,
        on_error="skip" if "skip" in (on_error, data.on_error) else "fail",
    )


def degradation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for low-resolution views."""
    for option in reversed(
        (
            click.option("--form", type=click.Choice(["scale", "size"]), default="scale", show_default=True,
                         help="imresize by a factor, or to a size."),
            click.option("--border", type=click.Choice(["replicate", "mirror"]), default="replicate",
                         show_default=True, help="What lies beyond a picture's edge."),
            click.option("--jpeg", type=WholeNumber(1, 100), metavar="QUALITY",
                         help="A JPEG between the two resizings.  [default: none]"),
        )
    ):  # fmt: skip
        command = option(command)
    return command


def parse_scales(ctx: click.Context | None, param: click.Parameter | None, value: str | None) -> list[int] | None:
    """Return the scales that an option's text means: integers 1..16, ``2..8``, ``2,4,8`` or ``1..4,8``, ascending."""
    if value is None:
        return None
    scales: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"([0-9]{1,2})(?:\.\.([0-9]{1,2}))?", part.strip())
        if match is None:
            raise click.BadParameter(f"{value!r} is no list of scales; write 2..8 or 2,4,8.", ctx, param)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise click.BadParameter(f"{part!r} goes down; write {last}..{first}.", ctx, param)
        scales.extend(range(first, last + 1))
    if not 1 <= min(scales) <= max(scales) <= 16:
        raise click.BadParameter(f"{value!r} goes beyond the scales 1..16.", ctx, param)
    if scales != sorted(set(scales)):
        raise click.BadParameter(f"{value!r} does not ascend.", ctx, param)
    return scales


def show_settings(*configs: object, as_json: bool) -> None:
    """Print every setting of some records of settings, one ``name=value`` a line, or as one JSON object."""
    if as_json:
        click.echo(to_json({name: value for config in configs for name, value in flattened(config).items()}))
        return
    for config in configs:
        for name, text in resolved(config):
            click.echo(f"{name}={text}")


def write_picture(picture: Any, path: Path) -> None:  # a PIL image, not imported here
    """Write a picture by its suffix; a folder or format that does not exist is an error."""
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise FsrcacheError(f"{path} cannot be written: {error}.", "Name a .png in a folder that exists.") from None
