"""``fsrcache draw``: write drawn faces to disk, in a layout that every command reads."""

from pathlib import Path

import click
from PIL import Image
from rich.console import Console
from rich.progress import track

from fsrcache.cli.help import Command
from fsrcache.cli.paths import HomePath
from fsrcache.drawn.face import draw_face, drawn_expression
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.layouts.drawn import drawn_name, drawn_split
from fsrcache.files import whole_file


@click.command(cls=Command)
@click.argument("folder", type=HomePath(path_type=Path, file_okay=False))
@click.option("--count", type=click.IntRange(1), default=700, show_default=True, help="Number of faces.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True,
              help="Random seed; another seed draws other people.")  # fmt: skip
def draw(folder: Path, count: int, seed: int) -> None:
    """Write drawn faces into FOLDER as train, val and test folders of class folders, 100x100 PNG.

    Existing faces are kept, so that an interrupted run continues where it stopped.
    """
    errors = Console(stderr=True)
    written = 0
    numbers = range(count)
    shown = track(numbers, "drawing", console=errors, transient=True) if errors.is_terminal else numbers
    for i in shown:
        target = folder / drawn_split(i) / EXPRESSIONS[drawn_expression(seed, i)] / f"{drawn_name(seed, i)}.png"
        if target.exists():
            continue
        with whole_file(target) as partial:
            Image.fromarray(draw_face(seed, i)).save(partial, format="PNG")
        written += 1
    click.echo(f"{folder}: {written:,} faces drawn, {count - written:,} were there.")
