"""``fsrcache verify``: print what of a store is damaged, and have it removed."""

from pathlib import Path

import click
from rich.console import Console

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.options import threads_option
from fsrcache.cli.paths import json_option, store_argument, workspace_option
from fsrcache.cli.progress import shown
from fsrcache.cli.remedies import command_line
from fsrcache.errors import call
from fsrcache.store.redact import redacted
from fsrcache.store.verify import Verdict
from fsrcache.verbs.verify import verify as verify_store
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@store_argument
@workspace_option
@click.option("--repair", is_flag=True, help="Remove exactly what is damaged and rewrite metadata, so that the next "
              "extract completes the store again.")  # fmt: skip
@threads_option
@json_option
@click.pass_context
def verify(ctx: click.Context, store: str | None, workspace: Workspace, repair: bool, as_json: bool) -> None:
    """Read everything in a feature store and print what is not as it was written.

    STORE is a folder or URL, by default the workspace's. Files are missing, short, corrupt, of a wrong digest,
    exchanged, not finite, unreadable, links or irregular, which is anything else than a file where one belongs. Exits
    with 1 unless the store is complete and sound.
    """
    with shown(Console(stderr=True)) as on_progress:
        verdict = verify_store(workspace, store=store, repair=repair, on_progress=on_progress)
    if as_json:
        click.echo(to_json({**verdict.to_dict(), "repaired": repair}))
    else:
        name = redacted(store or str(workspace.store))
        _print(name, name if "://" in name else str(Path(name).absolute()), verdict, repaired=repair)
    if not verdict.ok:
        ctx.exit(1)


def _print(name: str, location: str, verdict: Verdict, *, repaired: bool) -> None:
    again = command_line(call("extract", store=location))
    for problem in verdict.problems:
        click.echo(f"{problem.kind:13}{problem.key}")
    for key in verdict.leftovers:
        click.echo(f"{'leftover':13}{key} (the next writer removes it)")
    state = "complete" if verdict.complete else "incomplete"
    count = f"{len(verdict.problems):,} problems" if verdict.problems else "no problem"
    click.echo(f"{name}: {state}, {count} in {verdict.files:,} files, {verdict.bytes / 1e6:,.1f} MB read")
    unreadable = sum(problem.kind == "unreadable" for problem in verdict.problems)
    if unreadable:
        click.echo(f"The storage failed to read {unreadable:,} files, which may be sound: see to it and verify again.")
    if not verdict.complete and all(problem.kind == "missing" for problem in verdict.problems):
        click.echo(f"The same extraction completes it, or the other parts do: `{again}` with its other options.")
    elif repaired and len(verdict.problems) > unreadable:
        click.echo(
            "Damaged files and links were removed, metadata rewritten. The same extraction writes what is missing: "
            f"`{again}` with its other options."
        )
    elif len(verdict.problems) > unreadable:
        repair = command_line(call("verify", store=location, repair=True))
        click.echo(f"`{repair}` removes what is damaged; then the same extraction writes it again.")
