"""``fsrcache report``: one HTML file about training runs."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import matplotlib_import, to_json
from fsrcache.cli.options import device_option, threads_option
from fsrcache.cli.paths import HomePath, json_option, store_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@workspace_option
@store_option
@click.option("--name", "names", multiple=True,
              help="Name of a training run. Repeatable.  [default: default, if it is trained]")  # fmt: skip
@click.option("--out", type=HomePath(path_type=Path, dir_okay=False), default=Path("report.html"), show_default=True,
              metavar="FILE", help="HTML file to write.")  # fmt: skip
@click.option("--split", type=click.Choice(["val", "test"]), help="Split to report.  [default: test if any, else val]")
@device_option
@threads_option
@json_option
def report(
    workspace: Workspace,
    store: str | None,
    names: tuple[str, ...],
    out: Path,
    split: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Write one HTML file on training runs: the answer, the table, figures, faces, settings, and how to repeat it.

    The file loads nothing, runs no script, and can be printed. Predictions that fsrcache evaluate has kept are read;
    missing ones of the frozen head are computed. A section without its data is left out.
    """
    with matplotlib_import():
        from fsrcache.verbs.report import report as verb  # and torch, not for --help and completion

    with shown(Console(stderr=True)) as on_progress:
        result = verb(
            workspace, out=out, store=store, names=names or None, split=split, device=device, on_progress=on_progress
        )
    if as_json:
        click.echo(to_json(asdict(result)))
    else:
        click.echo(f"{result.path}: {result.bytes / 1e6:.1f} MB, {result.seconds:.1f} s")
