"""The figure: accuracy against scale, a panel per head, intervals as bands; the paper in grey only when asked."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import Annotated

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fsrcache.evaluation.layout import scale_name
from fsrcache.evaluation.paper import HR_ACCURACY, TABLE_1
from fsrcache.evaluation.style import own_style
from fsrcache.evaluation.tables import ROWS, Score, Table, position
from fsrcache.records import Between, check_value

# Okabe and Ito's colours, told apart by the colour-blind; markers tell rows apart without any colour.
_LOOKS = (("#0072B2", "o"), ("#E69F00", "s"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v"), ("#56B4E9", "P"))
_PAPER_DASHES: Mapping[str, tuple[float, tuple[float, ...]]] = MappingProxyType(
    {"bicubic": (0, (1, 1.5)), "Meta-SR re-trained": (0, (5, 2)), "FSR-FER": (0, ())}
)
_GREY, _INK = "#8c8c8c", "#333333"


@own_style()
def accuracy_figure(table: Table, *, side: int | None = None, paper: bool = False) -> Figure:
    """Draw total accuracy against scale, full resolution first; on all pictures of the split, twins included.

    Parameters
    ----------
    table
        The scores.
    side
        Pixels of a face at full resolution, to write under each scale how many are left of them.
    paper
        Whether to draw the paper's Table 1 in grey; only for RAF-DB.

    Returns
    -------
    Figure
        Free of pyplot's global state; :func:`fsrcache.evaluation.style.write_figure` writes it.

    Raises
    ------
    RequestError
        If ``table`` is none, or ``side`` no number of pixels.
    """
    check_value(Table, table, name="table")
    check_value(Annotated[int, Between(1, 1 << 16)] | None, side, name="side")
    heads = list(dict.fromkeys(score.head for score in table.rows))
    rows = sorted(dict.fromkeys(score.row for score in table.rows), key=lambda row: position(row, ROWS))
    looks = {row: _LOOKS[place % len(_LOOKS)] for place, row in enumerate(dict.fromkeys((*ROWS, *rows)))}
    figure = Figure(figsize=(5.8 if len(heads) == 1 else 1.0 + 3.3 * len(heads), 4.1), layout="constrained")
    panels = figure.subplots(1, len(heads), sharey=True, squeeze=False)[0]
    for panel, head in zip(panels, heads, strict=True):
        _draw(panel, [score for score in table.rows if score.head == head], looks)
        if paper:
            _draw_paper(panel)
        _dress(panel, sorted({score.scale for score in table.rows}), side=side)
        panel.set_title(f"head: {head}", fontsize=9, loc="left", color=_INK)
    panels[0].set_ylabel("total accuracy, %")
    caption = f"{table.split}, n = {table.pictures:,}; 95 % bands"
    panels[-1].set_title(caption, fontsize=8, loc="right", color=_INK)
    _legend(figure, rows, [_paper_name(row) for row in _PAPER_DASHES] if paper else [])
    return figure


def _draw(panel: Axes, scores: Sequence[Score], looks: Mapping[str, tuple[str, str]]) -> None:
    for row in dict.fromkeys(score.row for score in scores):
        line = [score for score in scores if score.row == row]
        scales, (colour, marker) = [score.scale for score in line], looks[row]
        low, high = [score.low for score in line], [score.high for score in line]
        panel.fill_between(scales, low, high, color=colour, alpha=0.18, linewidth=0)
        accuracies = [score.accuracy for score in line]
        panel.plot(scales, accuracies, color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=row)


def _draw_paper(panel: Axes) -> None:
    for row, dashes in _PAPER_DASHES.items():
        line = {1: HR_ACCURACY, **TABLE_1[row]} if row == "bicubic" else dict(TABLE_1[row])
        panel.plot(
            list(line),
            list(line.values()),
            color=_GREY,
            linestyle=dashes,
            linewidth=1.1,
            zorder=1,
            label=_paper_name(row),
        )


def _legend(figure: Figure, rows: Sequence[str], papers: Sequence[str]) -> None:
    """Write the legend below the panels: the rows on a line, the paper's under them."""
    entries: dict[str, Artist] = {"": Line2D([], [], linestyle="none")}
    for panel in figure.axes:
        entries |= {name: handle for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    names = [name for pair in zip_longest(rows, papers, fillvalue="") for name in pair] if papers else list(rows)
    columns = max(len(rows), len(papers))
    figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=columns, frameon=False)


def _paper_name(row: str) -> str:
    return f"paper: {row}"


def _dress(panel: Axes, scales: Sequence[int], *, side: int | None) -> None:
    pixels = [f"\n{-(-side // scale)} px" if side else "" for scale in scales]
    panel.set_xticks(scales, [scale_name(scale) + size for scale, size in zip(scales, pixels, strict=True)])
    panel.set_xlim(min(scales) - 0.3, max(scales) + 0.3)
    panel.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=2.5, colors=_INK)
