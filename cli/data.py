"""``fsrcache data``: print the layout, the counts and the defects of a data set."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fsrcache.cli.help import Command
from fsrcache.cli.main import after_answer, to_json
from fsrcache.cli.options import parse_scales, write_picture
from fsrcache.cli.paths import HomePath
from fsrcache.cli.printing import print_table
from fsrcache.faces.faces import Faces, check_side, faces_of
from fsrcache.faces.index import formats, list_faces, title_of
from fsrcache.faces.layouts.drawn import DEFAULT_COUNT
from fsrcache.faces.report import report
from fsrcache.faces.sheet import class_sheet, scale_sheet
from fsrcache.faces.survey import survey
from fsrcache.faces.unlabelled import list_unlabelled

_NAMED = 3  # left-out entries that are printed for each reason; --json has more
_NARROWEST = 3  # letters of a name's column
_SHOWN = 20  # unreadable pictures that are printed; --json has them all


@click.command(cls=Command)
@click.argument("path", type=HomePath(), default=f"drawn:{DEFAULT_COUNT}")
@click.option("--format", "layout", type=click.Choice(formats()), help="The layout.  [default: recognised]")
@click.option("--votes", type=click.Choice(["majority", "argmax", "soft"]), default="majority", show_default=True,
              help="How FERPlus's votes become labels.")  # fmt: skip
@click.option("--side", type=int, help="Pixels of every picture's side.  [default: the commonest]")
@click.option("--sheet", type=HomePath(path_type=Path, dir_okay=False), help="Draw a sheet of the faces into a PNG.")
@click.option(
    "--scales",
    metavar="SCALES",
    callback=parse_scales,
    help="On the sheet, one face per class at these scales, such as 1..8.",
)
@click.option(
    "--unlabelled", is_flag=True, help="Ignore all labels: the pictures that extract --unlabelled PATH reads."
)
@click.option("--on-error", type=click.Choice(["skip", "fail"]), default="skip", show_default=True,
              help="Whether one unusable picture makes the command fail.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
def data(
    path: str,
    layout: str | None,
    votes: str,
    side: int | None,
    sheet: Path | None,
    scales: list[int] | None,
    unlabelled: bool,
    on_error: str,
    as_json: bool,
) -> None:
    """Print what is recognised at PATH: layout, counts, label mapping, sizes, duplicates, unusable pictures.

    PATH is a folder or a file: RAF-DB, FER2013 (CSV or folders), FERPlus, AffectNet, ExpW, class folders, or a table of
    path, label, split. Without it, or as drawn or drawn:COUNT, it is the built-in drawn faces, 1,400 of them; ./drawn
    is a folder. Exits with 0 if any picture is usable.
    """
    if unlabelled and layout:
        raise click.UsageError("--unlabelled recognises the layout by itself; leave out --format.")
    if scales and not sheet:
        raise click.UsageError("--scales is for the sheet; add --sheet FILE.")
    check_side(side)
    errors = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(16), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
        console=errors, transient=True,
    )  # fmt: skip
    with progress if errors.is_terminal else nullcontext():  # elsewhere it would end in an empty line
        task = progress.add_task("listing", total=None)
        listing = list_unlabelled(path) if unlabelled else list_faces(path, layout=layout, votes=votes)
        progress.reset(task, description="reading", total=len(listing.names))
        faces = faces_of(listing, survey(listing, advance=lambda: progress.advance(task)), side=side)
    record = report(faces)
    title = "faces without labels" if unlabelled else title_of(record["layout"])
    click.echo(to_json(record)) if as_json else _show(f"[bold]{escape(path)}[/]: {title}", faces, record)
    if sheet and len(faces.rows):
        with after_answer():
            write_picture(scale_sheet(faces, scales) if scales else class_sheet(faces), sheet)
            errors.print(f"Sheet: {escape(str(sheet))}", highlight=False)
    if not len(faces.rows) or (on_error == "fail" and faces.seen.unreadable):
        raise click.exceptions.Exit(1)


class _Rate(TextColumn):
    """Pictures a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Any:  # rich's task and text
        """Return the rate as text."""
        self.text_format = f"{task.speed or 0:,.0f}/s"
        return super().render(task)


def _table(classes: tuple[str, ...], record: dict[str, Any], console: Console) -> Table:
    """Return the counts; where the console is narrow the names fold, and where it is narrower it is widened."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("class", "written as"):
        table.add_column(heading, overflow="fold", min_width=_NARROWEST)
    totals = {split: f"{sum(counts.values()):,}" for split, counts in record["splits"].items()}
    for split in totals:
        table.add_column(split, justify="right", no_wrap=True)
    for name in classes:
        written = ", ".join(escape(word) for word, meaning in record["mapping"].items() if meaning == name)
        table.add_row(name, written, *(f"{counts[name]:,}" for counts in record["splits"].values()))
    table.add_section()
    table.add_row("all", "", *totals.values(), style="bold")
    figures = sum(2 + max(len(split), len(total)) for split, total in totals.items())
    console.width = max(console.width, 2 * _NARROWEST + 2 + figures)
    return table


def _show(heading: str, faces: Faces, record: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(heading)
    print_table(_table(faces.classes, record, console), console)
    sizes = list(record["sizes"].items())
    more = f", and {len(sizes) - 4} more" if len(sizes) > 4 else ""
    colour = "grey" if record["grey"] else "colour"
    console.print(f"sizes: {', '.join(f'{size} ({n:,})' for size, n in sizes[:4]) or 'none'}{more}; {colour}")
    console.print(f"side: {record['side']} pixels; {record['resized']:,} resized to it")
    for note in record["notes"]:
        console.print(f"[yellow]note: {escape(note)}[/]")
    for what, count in record["conversions"].items():
        console.print(f"converted: {count:,} ({what})")
    twins = record["duplicates"]
    console.print(
        f"duplicates: {twins['pictures']:,} pictures in {twins['groups']:,} groups of equal ones, "
        f"{twins['across_splits']:,} across splits, {twins['conflicting_labels']:,} with conflicting labels"
    )
    for split, count in twins["twins_in_train"].items():
        console.print(f"  {count:,} of {split} are in train too")
    for reason, count in record["left_out"].items():
        names = record["left_out_names"].get(reason, [])[:_NAMED]
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        console.print(f"left out: {count:,} ({reason}: {escape(', '.join(names))}{more})")
    if record["unreadable"]:
        console.print(f"[red]unusable: {len(record['unreadable']):,} pictures[/]")
        for entry in record["unreadable"][:_SHOWN]:
            console.print(f"  {escape(entry['path'])}: {escape(entry['reason'])}")
        if len(record["unreadable"]) > _SHOWN:
            console.print(f"  and {len(record['unreadable']) - _SHOWN:,} more; --json lists them all")
