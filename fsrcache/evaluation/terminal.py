"""The table for the terminal, as a renderable of rich."""

from collections.abc import Iterator, Sequence
from typing import Annotated

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from fsrcache.evaluation.layout import FIRST_LOOK, Block, Cell, blocks
from fsrcache.evaluation.tables import Table, footnotes
from fsrcache.records import Between, check_value

_DIGITS = 4  # characters of a figure, at least
_LEAST = 4  # characters of a name before it is folded: heads and rows may take several lines, a number never
_WIDEST = 12  # characters of a name at most, or a quarter of a line if that is more
_CONTEXT = ("data", "split", "extractor", "generator", "settings", "seeds", "calibration", "notes")  # no definitions


def terminal_table(
    table: Table, *, width: int = 80, measures: Sequence[str] = FIRST_LOOK, paper: bool = False
) -> RenderableType:
    """Lay out a table for the terminal: its blocks, the best of each column bold, and below them its context.

    What rows, heads and statistics are defined as stands in the table's other formats alone.

    Parameters
    ----------
    table
        The scores.
    width
        Characters of a line. Further scales continue below; where not even one has room, lines are longer.
    measures
        Names of :data:`fsrcache.evaluation.layout.MEASURES`, a block each, or ``per_class``, three.
    paper
        Whether to add the paper's Table 1 in grey; only for RAF-DB.

    Raises
    ------
    RequestError
        If a measure is unknown.
    """
    check_value(Annotated[int, Between(1, 1 << 16)], width, name="width")
    parts: list[RenderableType] = []
    for block in blocks(table, measures=measures, paper=paper):
        parts += [Text(block.title, style="bold"), Text()]
        for grid in _grids(block, width):
            parts += [grid, Text()]
        if block.legend:
            parts += [Text(block.legend, style="dim"), Text()]
    return Group(*parts, _context(table))


def _grids(block: Block, width: int) -> Iterator[RichTable]:
    """Yield a block as grids that fit: as many scales side by side as there is room for beside the names."""
    widest = max(_WIDEST, width // 4)
    names = [max(len(line.group) for line in block.lines), max(len(line.row) for line in block.lines)]
    names = [min(widest, name) for name in names]
    cells = [cell for line in block.lines for cell in line.cells]
    digits = max(_DIGITS, *map(len, (*block.columns, *(cell.text for cell in cells))))
    spread = max(len(cell.spread) for cell in cells)
    step = 1 + digits + any(cell.unsure for cell in cells) + spread + bool(spread)  # a space, number, mark, deviation
    while sum(names) + 1 + step > width and max(names) > _LEAST:
        names[names.index(max(names))] -= 1
    fitting = max(1, (width - sum(names) - 1) // step)
    for start in range(0, len(block.columns), fitting):
        yield _grid(block, slice(start, start + fitting), names, digits, step - 1)


def _grid(block: Block, scales: slice, names: list[int], digits: int, cell: int) -> RichTable:
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="dim")
    for name, room in zip((block.grouped_by, "row"), names, strict=True):
        grid.add_column(name, overflow="fold", width=room)
    for name in block.columns[scales]:
        grid.add_column(Text(f"{name:>{digits}}"), no_wrap=True, min_width=cell, max_width=cell)
    several = len({line.row for line in block.lines}) > 1
    above = ""
    for line in block.lines:
        if several and above and line.group != above:
            grid.add_section()
        group = Text("" if line.group == above else line.group)
        figures = (_number(figure, digits) for figure in line.cells[scales])
        grid.add_row(group, Text(line.row), *figures, style="bright_black" if line.paper else "")
        above = line.group
    return grid


def _number(cell: Cell, digits: int) -> Text:
    spread = f" {cell.spread}" if cell.spread else ""
    return Text(f"{cell.text:>{digits}}{'~' * cell.unsure}{spread}", style="bold green" if cell.best else "")


def _context(table: Table) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", overflow="fold")
    grid.add_column(overflow="fold")
    said = footnotes(table)
    for subject in (subject for subject in _CONTEXT if subject in said):
        grid.add_row(Text(subject), Text(said[subject]))
    return grid
