"""The table for the terminal, as something rich can print."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from fsrcache.evaluation.layout import FIRST_LOOK, Block, Cell, blocks
from fsrcache.evaluation.tables import Table, footnotes

_COLUMNS = 8  # scales side by side; they and our names fit into 80 characters
_DIGITS = 5  # characters of a number, right-aligned; the mark of doubt hangs behind them


def terminal_table(table: Table, *, measures: Sequence[str] = FIRST_LOOK, paper: bool = False) -> RenderableType:
    """Lay out a table for the terminal: its blocks, the best of each column bold, and below them its context.

    Parameters
    ----------
    table
        The scores.
    measures
        Names of :data:`fsrcache.evaluation.layout.MEASURES`, a block each.
    paper
        Whether to add the paper's Table 1 in grey; only for RAF-DB.

    Raises
    ------
    RequestError
        If a measure is unknown.
    """
    parts: list[RenderableType] = []
    for block in blocks(table, measures=measures, paper=paper):
        parts += [Text(block.title, style="bold"), Text()]
        for start in range(0, len(block.columns), _COLUMNS):
            parts += [_grid(block, start), Text()]
        if block.legend:
            parts += [Text(block.legend, style="dim"), Text()]
    return Group(*parts, _context(table))


def _grid(block: Block, start: int) -> RichTable:
    shown = slice(start, start + _COLUMNS)
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=0, header_style="dim")
    grid.add_column("head", no_wrap=True)
    grid.add_column("row", no_wrap=True)
    for name in block.columns[shown]:
        grid.add_column(Text(f"{name:>{_DIGITS}}"), no_wrap=True, width=_DIGITS + 1)
    above = ""
    for line in block.lines:
        if above and line.head != above:
            grid.add_section()
        head = Text("" if line.head == above else line.head)
        cells = (_number(cell) for cell in line.cells[shown])
        grid.add_row(head, Text(line.row), *cells, style="bright_black" if line.paper else "")
        above = line.head
    return grid


def _number(cell: Cell) -> Text:
    return Text(f"{cell.text:>{_DIGITS}}{'~' * cell.unsure}", style="bold green" if cell.best else "")


def _context(table: Table) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for subject, sentence in footnotes(table).items():
        grid.add_row(Text(subject), Text(sentence))
    return grid
