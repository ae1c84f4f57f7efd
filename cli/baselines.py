"""``fsrcache baselines``: train the rows of the table that need no generator."""

from dataclasses import asdict

import click
from rich.console import Console

from fsrcache.cli.main import to_json
from fsrcache.cli.options import device_option, restart_option, seed_option, set_option
from fsrcache.cli.paths import json_option, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.device import keep_freed_memory
from fsrcache.rows.index import ROWS
from fsrcache.rows.row import RowResult
from fsrcache.verbs.baselines import baselines as verb
from fsrcache.workspace import Workspace

_TRAINED = "; ".join(f"{row.NAME}, {row.NOTE}" for row in ROWS if row.train is not None)


@click.command
@workspace_option
@click.option("--rows", default="fine-tuned", show_default=True, metavar="NAME,...",
              help=f"Rows of the table, or all that can be trained here: {_TRAINED}.")  # fmt: skip
@set_option
@restart_option
@seed_option
@device_option
@json_option
def baselines(
    workspace: Workspace,
    rows: str,
    assignments: tuple[str, ...],
    restart: bool,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Train rivals that need no generator; evaluate shows them once they are there, averaged over their seeds.

    Interrupted, it goes on where it stopped when the same command is run again.
    """
    keep_freed_memory()
    with shown(Console(stderr=True)) as on_progress:
        result = verb(
            workspace, rows=[name.strip() for name in rows.split(",")], settings=assignments, restart=restart,
            seed=seed, device=device, on_progress=on_progress,
        )  # fmt: skip
    if as_json:
        documents = [asdict(row) for row in result.rows]
        click.echo(to_json(documents[0] if len(documents) == 1 else {"rows": documents}))
        return
    for row in result.rows:
        click.echo(_line(row))


def _line(row: RowResult) -> str:
    accuracy = ", ".join(f"{split} {value:.1f} %" for split, value in row.accuracy.items())
    epochs = f"{row.epochs} epochs, " if row.epochs else ""
    return f"{row.extractor or row.row}: {epochs}{row.seconds:.0f} s; at full resolution {accuracy}"
