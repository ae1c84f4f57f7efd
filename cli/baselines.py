"""``fsrcache baselines``: train the rows of the table that need no generator."""

from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from fsrcache.announce import several
from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import (
    data_of,
    data_options,
    device_option,
    restart_option,
    run_threads_option,
    seed_option,
    set_option,
)
from fsrcache.cli.paths import HomePath, json_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.cli.ranks import one_voice
from fsrcache.device import keep_freed_memory
from fsrcache.rows.index import ROWS
from fsrcache.rows.row import RowResult
from fsrcache.verbs.baselines import baselines as verb
from fsrcache.workspace import Workspace

_TRAINED = "; ".join(f"{row.NAME}, {row.NOTE}" for row in ROWS if row.train is not None)


@click.command(cls=Command)
@workspace_option
@data_options
@click.option("--rows", default="fine-tuned", show_default=True, metavar="NAME,...",
              help=f"Rows of the table, or all, or paper, those of the paper: {_TRAINED}.")  # fmt: skip
@set_option
@click.option("--pictures", type=HomePath(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder of pictures that image super-resolvers are trained on.  [default: the faces]")  # fmt: skip
@restart_option
@seed_option
@device_option
@run_threads_option
@json_option
def baselines(
    workspace: Workspace,
    data_path: str | None,
    layout: str | None,
    votes: str | None,
    on_error: str,
    limit: int | None,
    rows: str,
    assignments: tuple[str, ...],
    pictures: Path | None,
    restart: bool,
    seed: int,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train rivals that need no generator; evaluate shows them once they are there, averaged over their seeds.

    Interrupted, it goes on where it stopped when the same command is run again. Started by torchrun, all processes
    share each batch, and the first writes.
    The faces are the store's: --data says where they lie now, should they have been moved.
    """
    keep_freed_memory()
    with one_voice() as ranks, shown(Console(stderr=True, quiet=not ranks.first)) as on_progress:
        data = data_of(
            workspace, data_path, layout=layout, votes=votes, on_error=on_error, limit=limit, on_progress=on_progress
        )
        result = verb(
            workspace, data=data, rows=[name.strip() for name in rows.split(",")], settings=assignments,
            pictures=pictures, restart=restart, seed=seed, device=device, threads=threads, on_progress=on_progress,
        )  # fmt: skip
    if not ranks.first:
        return
    if as_json:
        documents = [asdict(row) for row in result.rows]
        click.echo(to_json(documents[0] if len(documents) == 1 else {"rows": documents}))
        return
    for row in result.rows:
        click.echo(_line(row))


def _line(row: RowResult) -> str:
    epochs = f"{several(row.epochs, 'epoch')}, " if row.epochs else ""
    measured = {"at full resolution": row.accuracy, "held out": row.held_out}
    accuracy = [
        f"; {what} {', '.join(f'{name} {value:.1f} %' for name, value in of_name.items())}"
        for what, of_name in measured.items()
        if of_name
    ]
    psnr = [
        f"{scale} {one['psnr']:.2f} dB (bicubic {one['bicubic_psnr']:.2f})"
        for scale, one in row.super_resolution.items()
    ]
    enlarged = f"; PSNR of held-out faces {', '.join(psnr)}" if psnr else ""
    return f"{row.extractor or row.row}: {epochs}{row.seconds:.0f} s{''.join(accuracy)}{enlarged}"
