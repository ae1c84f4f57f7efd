"""``fsrcache degrade``: write the faces of the store as small pictures."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import parse_scales
from fsrcache.cli.paths import HomePath, json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.faces.expressions import SPLITS
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@click.argument("folder", type=HomePath(path_type=Path, file_okay=False))
@workspace_option
@store_option
@click.option("--scales", callback=parse_scales, metavar="SCALES",
              help="Coarse scales, such as 2..8 or 2,4.  [default: those of the store]")  # fmt: skip
@click.option("--split", "splits", type=click.Choice(SPLITS), multiple=True,
              help="Split to write. Repeatable.  [default: all]")  # fmt: skip
@json_option
def degrade(
    folder: Path,
    workspace: Workspace,
    store: str | None,
    scales: list[int] | None,
    splits: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the store's faces as small pictures, FOLDER/x4/FACE.png, for super-resolvers that are not in this program.

    What such a program makes of FOLDER/x4 goes to OTHER/x4 under the same names, at the side that is printed; then
    fsrcache evaluate --pictures NAME OTHER scores it. The split that is reported is enough for the frozen head;
    re-fitted ones need train too. A face has its name in the data with .png behind it, such as a.jpg.png; those of a
    CSV of pixels are row-000001 and so on. Existing files are kept; those of another store or made another way, by
    FOLDER/degrade.json, are refused.
    """
    from fsrcache.verbs.degrade import degrade as verb  # and torch, not for --help and completion

    with shown(Console(stderr=True)) as on_progress:
        result = verb(
            workspace, out=folder, store=store, splits=splits or None, scales=scales, on_progress=on_progress
        )  # fmt: skip
    if as_json:
        click.echo(to_json(asdict(result)))
        return
    written = result.pictures - result.were_there
    click.echo(
        f"{result.folder}: {written:,} pictures written, {result.were_there:,} were there; enlarge them to "
        f"{result.side} x {result.side} pixels."
    )
