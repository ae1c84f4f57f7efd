"""The figure: accuracy against scale, a panel per head, intervals as bands; the paper in grey only when asked.

With more rows than a panel can show, each head has a line of panels, and the rows are shared out among its panels;
bicubic is in all of them.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product, zip_longest
from textwrap import wrap
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from fsrcache.evaluation.layout import scale_name
from fsrcache.evaluation.paper import HR_ACCURACY, TABLE_1
from fsrcache.evaluation.scores import BICUBIC, Score
from fsrcache.evaluation.style import own_style
from fsrcache.evaluation.tables import Table
from fsrcache.records import Between, check_value, shortened

# Okabe and Ito's colours, told apart by the colour-blind; markers tell rows apart without any colour.
_BLUE, _RED = "#0072B2", "#D55E00"  # bicubic's and FSR-FER's, in every figure
_COLOURS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#555555")
_OURS = "FSR-FER"
_MARKERS = ("s", "^", "v", "P", "X", "*", "p", "h")
_LINES = ("-", "--", "-.", ":")
_GREY, _INK = "#8c8c8c", "#333333"
_PAPER_STYLES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        row: {"color": _GREY, "linestyle": (0, dashes), "linewidth": 1.1}
        for row, dashes in ((BICUBIC, (1, 1.5)), ("Meta-SR re-trained", (5, 2)), ("FSR-FER", ()))
    }
)
_MOST, _EACH = 6, 4  # rows of the only panel of a head, and of each of several beside bicubic
_COLUMN, _ALONE, _LINE = 3.3, 5.3, 0.19  # inches of a panel's width beside others and alone, and of a legend's line
_HANDLE, _LETTER = 0.6, 0.075  # inches of a legend's entry: its line, and a letter
_SMALL_LETTER, _SMALL_LINE, _MOST_LINES = 0.05, 0.11, 4  # inches of the settings' letters and lines; most lines
_DIGIT, _GAP = 0.082, 0.06  # inches under the axis: a digit, and the least space between two labels
_LETTERS = 40  # of a name in the legend


class _Look(NamedTuple):
    """Colour, marker and line style of a row."""

    colour: str
    marker: str
    line: str


@own_style()
def accuracy_figure(table: Table, *, side: int | None = None, paper: bool = False) -> Figure:
    """Draw total accuracy against scale, full resolution first; on all pictures of the split, twins included.

    Means of three trainings and parts of other rows are left out.

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
    scores = [score for score in table.rows if score.label == score.row and score.row in table.order]
    heads = list(dict.fromkeys(score.head for score in scores))
    present = {score.row for score in scores}
    groups = _groups([row for row in table.order if row in present])
    looks = _looks(table.order)
    papers = _paper_handles() if paper else []
    several = len(groups) > 1
    lines, columns = (len(heads), len(groups)) if several else (1, len(heads))
    height = 2.9 * lines + 0.4 + _LINE * (max(map(len, groups)) + len(papers)) if several else 4.1
    figure = Figure(figsize=(0.5 + _ALONE if columns == 1 else 1.0 + _COLUMN * columns, height), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for panel, (head, group) in zip(panels.flat, product(heads, groups), strict=True):
        _draw(panel, [score for score in scores if score.head == head and score.row in group], looks)
        if paper:
            _draw_paper(panel)
        if table.classes:
            _draw_chance(panel, len(table.classes))
        width = _COLUMN if columns > 1 else _ALONE
        _dress(panel, sorted({score.scale for score in scores}), side=side, width=width)
        if group is groups[0]:
            panel.set_title(f"head: {head}", fontsize=9, loc="left", color=_INK)
    for panel in panels[:, 0]:
        panel.set_ylabel("total accuracy, %")
        if side:
            panel.annotate("\npx", (0, 0), xycoords="axes fraction", xytext=(-9, -6), textcoords="offset points",
                           ha="right", va="top", color=_INK)  # fmt: skip
    caption = f"{table.split}, n = {table.pictures:,}; 95 % bands"
    panels[0, -1].set_title(caption, fontsize=8, loc="right", color=_INK)
    _write_settings(figure, table.context.settings)
    if several:
        for panel, group in zip(panels[-1], groups, strict=True):
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
            panel.legend(handles=[*_handles(group, looks), *papers], frameon=False, **below)
    else:
        _legend(figure, _handles(groups[0], looks), papers)
    return figure


def _write_settings(figure: Figure, settings: str) -> None:
    """Write the settings above the panels, as many lines as have room."""
    lines = wrap(settings, int(figure.get_figwidth() / _SMALL_LETTER), max_lines=_MOST_LINES, placeholder=" ...")
    line = _SMALL_LINE / figure.get_figheight()
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, 0, 1, 1 - line * len(lines)))
    figure.text(0.5, 1 - line / 3, "\n".join(lines), ha="center", va="top", fontsize=6, color=_INK)


def _groups(rows: Sequence[str]) -> list[list[str]]:
    """Share rows out among panels: bicubic in all of them, the others in order and as evenly as can be."""
    if len(rows) <= _MOST:
        return [list(rows)]
    first, others = [row for row in rows if row == BICUBIC], [row for row in rows if row != BICUBIC]
    count = -(-len(others) // _EACH)
    size, more = divmod(len(others), count)
    starts = [number * size + min(number, more) for number in range(count + 1)]
    return [[*first, *others[start:stop]] for start, stop in pairwise(starts)]


def _looks(order: Sequence[str]) -> dict[str, _Look]:
    """Return the looks of rows by their position; two have colours of their own, 20 others are different."""
    looks = {BICUBIC: _Look(_BLUE, "o", "-"), _OURS: _Look(_RED, "D", "-")}
    for number, row in enumerate(row for row in order if row not in looks):
        dashes = _LINES[number // len(_COLOURS) % len(_LINES)]
        looks[row] = _Look(_COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)], dashes)
    return looks


def _draw(panel: Axes, scores: Sequence[Score], looks: Mapping[str, _Look]) -> None:
    for row in dict.fromkeys(score.row for score in scores):
        line = [score for score in scores if score.row == row]
        scales = [score.scale for score in line]
        low, high = [score.low for score in line], [score.high for score in line]
        panel.fill_between(scales, low, high, color=looks[row].colour, alpha=0.15, linewidth=0)
        panel.plot(scales, [score.accuracy for score in line], label=row, **_style(looks[row]))


def _style(look: _Look) -> dict[str, Any]:
    return {"color": look.colour, "marker": look.marker, "linestyle": look.line, "markersize": 4.5, "linewidth": 1.6}


def _draw_paper(panel: Axes) -> None:
    for row, style in _PAPER_STYLES.items():
        line = {1: HR_ACCURACY, **TABLE_1[row]} if row == BICUBIC else dict(TABLE_1[row])
        panel.plot(list(line), list(line.values()), zorder=1, label=_paper_name(row), **style)


def _draw_chance(panel: Axes, classes: int) -> None:
    panel.axhline(100 / classes, color=_GREY, linestyle=":", linewidth=0.9, zorder=1)
    panel.annotate("chance", (1, 100 / classes), xycoords=("axes fraction", "data"), xytext=(0, 2),
                   textcoords="offset points", ha="right", fontsize=7, color=_GREY)  # fmt: skip


def _handles(rows: Sequence[str], looks: Mapping[str, _Look]) -> list[Line2D]:
    return [Line2D([], [], label=shortened(row, most=_LETTERS)[1:-1], **_style(looks[row])) for row in rows]


def _paper_handles() -> list[Line2D]:
    return [Line2D([], [], label=_paper_name(row), **style) for row, style in _PAPER_STYLES.items()]


def _legend(figure: Figure, rows: Sequence[Line2D], papers: Sequence[Line2D]) -> None:
    """Write the legend below all panels, in as many columns as have room; the paper's entries stand under the rows'."""
    longest = max(len(str(entry.get_label())) for entry in (*rows, *papers))
    room = max(1, int(figure.get_figwidth() / (_HANDLE + _LETTER * longest)))
    columns = max(len(rows), len(papers))
    entries = [*rows, *papers]
    if papers and columns <= room:
        empty = Line2D([], [], linestyle="none", label=" ")
        entries = [entry for pair in zip_longest(rows, papers, fillvalue=empty) for entry in pair]
    figure.legend(handles=entries, loc="outside lower center", ncols=min(columns, room), frameon=False)


def _paper_name(row: str) -> str:
    return f"paper: {row}"


def _dress(panel: Axes, scales: Sequence[int], *, side: int | None, width: float) -> None:
    margin = max(0.3, 0.03 * (scales[-1] - scales[0]))
    low, high = scales[0] - margin, scales[-1] + margin
    panel.set_xlim(low, high)
    panel.set_xticks(scales, _scale_labels(scales, side=side, inches=(width - 0.2) / (high - low)))
    panel.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=2.5, colors=_INK)


def _scale_labels(scales: Sequence[int], *, side: int | None, inches: float) -> list[str]:
    """Return the labels of ascending scales, empty where one has no room; the first and the last always have it.

    ``inches`` are those from a scale to the next whole number.
    """
    pixels = [f"\n{-(-side // scale)}" if side else "" for scale in scales]
    labels = [scale_name(scale) + below for scale, below in zip(scales, pixels, strict=True)]
    widths = [_DIGIT * max(map(len, label.split("\n"))) for label in labels]

    def apart(one: int, other: int) -> bool:
        return inches * (scales[other] - scales[one]) >= (widths[one] + widths[other]) / 2 + _GAP

    last = len(scales) - 1
    kept = [0]
    for number in range(1, last):
        if apart(kept[-1], number) and apart(number, last):
            kept.append(number)
    return [label if number in (*kept, last) else "" for number, label in enumerate(labels)]
