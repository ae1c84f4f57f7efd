"""``fsrcache info``: print what a store holds."""

from typing import Any

import click

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.paths import json_option, store_argument, workspace_option
from fsrcache.verbs.info import StoreInfo
from fsrcache.verbs.info import info as store_info
from fsrcache.workspace import Workspace


@click.command(cls=Command)
@store_argument
@workspace_option
@json_option
def info(store: str | None, workspace: Workspace, as_json: bool) -> None:
    """Print what a feature store holds: STORE is a folder or URL, by default the workspace's.

    Only the metadata are read; `fsrcache verify` reads everything.
    """
    result = store_info(workspace, store)
    if as_json:
        click.echo(to_json(result.to_dict()))
    else:
        _print(result)


def _print(result: StoreInfo) -> None:
    spec = result.spec
    state = "complete" if result.complete else f"incomplete: {result.files_there:,} of {result.files:,} files"
    widths = ", ".join(f"{name} {width:,}" for name, width in spec.widths.items())
    lines = {
        "data": spec.data,
        "classes": ", ".join(spec.classes),
        "rows": ", ".join(f"{split} {spec.count(split):,}" for split in spec.every_split),
        "scales": ", ".join(map(str, spec.scales)),
        "widths": f"{widths}; {spec.dtype}, probabilities float32",
        "recipe": "; ".join(f"{name} {_words(value)}" for name, value in spec.recipe.items()),
        "chunk, block": f"{spec.chunk:,} rows, {spec.block:,} rows; {result.blocks:,} blocks",
        "size": f"{result.bytes / 1e6:,.1f} MB in {result.objects:,} objects",
        **{f"digest of {name}": value[:16] for name, value in spec.digests.items()},
    }
    click.echo(f"{result.store}: {state}, format {spec.version}")
    for name, text in lines.items():
        click.echo(f"  {name:24}{text}".rstrip())


def _words(value: Any) -> str:
    """Return a value of the recipe; of a mapping, its names and values."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(one)}" for name, one in value.items())
    return "none" if value is None else str(value)
