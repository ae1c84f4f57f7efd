"""Prints tables on standard output, for a pipe or a file without the spaces that fill a terminal's lines."""

import re

import click
from rich.console import Console, RenderableType

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Return a text with its control characters escaped, so that no name of a file steers a terminal."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def print_table(table: RenderableType, console: Console) -> None:
    """Print a table, whose lines are longer than the console's where it has no narrower form."""
    if console.is_terminal:
        console.print(table, crop=False)
        return
    with console.capture() as captured:
        console.print(table, crop=False)
    click.echo(re.sub(r" +$", "", captured.get(), flags=re.MULTILINE), nl=False)
