"""The figure of cost against accuracy: a point a row, its name beside the panel, no name over another."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.style import own_style
from fsrcache.records import shortened

_BLUE, _RED, _GREY, _INK, _RULE = "#0072b2", "#d55e00", "#8c8c8c", "#333333", "#e4e4e4"
_LINE, _LETTER, _LETTERS = 0.17, 0.075, 40  # inches of a name's height and of a letter, and letters of a name
_PANEL = 3.8, 3.0  # inches of the panel, which is higher where the names need it
_LEFT, _BOTTOM, _TOP, _GAP = 0.6, 0.5, 0.15, 0.35  # inches around it, and to the names


class Point(NamedTuple):
    """Name, billions of multiplications for a face, and mean accuracy of a row in percent."""

    name: str
    gmac: float
    accuracy: float


@own_style()
def cost_figure(points: Sequence[Point], *, own: str) -> Figure:
    """Draw accuracy against multiplications; names in the order of the accuracies, with lines to their points.

    Parameters
    ----------
    points
        One or more, with multiplications above 0.
    own
        Name of the point in the row's own colour.
    """
    points = sorted(points, key=lambda one: one.accuracy)
    names = [shortened(one.name, most=_LETTERS)[1:-1] for one in points]
    height = max(_PANEL[1], _LINE * len(points))
    width = _LEFT + _PANEL[0] + _GAP + _LETTER * max(map(len, names))
    figure = Figure(figsize=(width, _BOTTOM + height + _TOP))
    panel = figure.add_axes(
        (_LEFT / width, _BOTTOM / (_BOTTOM + height + _TOP), _PANEL[0] / width, height / (_BOTTOM + height + _TOP))
    )
    panel.set_xscale("log")
    low, high = min(one.gmac for one in points), max(one.gmac for one in points)
    panel.set_xlim(low / 1.6, high * 1.6)
    margin = max(1.0, 0.08 * (points[-1].accuracy - points[0].accuracy))
    floor, ceiling = points[0].accuracy - margin, points[-1].accuracy + margin
    panel.set_ylim(floor, ceiling)
    wanted = [height * (one.accuracy - floor) / (ceiling - floor) for one in points]
    for one, name, inches in zip(points, names, spread(wanted, _LINE, height), strict=True):
        colour = {own: _RED, BICUBIC: _BLUE}.get(one.name, _INK)
        panel.plot(one.gmac, one.accuracy, marker="o", markersize=5, color=colour, zorder=3 if one.name == own else 2)
        panel.annotate(
            name, (one.gmac, one.accuracy), (1 + _GAP / _PANEL[0], inches / height), textcoords="axes fraction",
            va="center", color=colour, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 2},
        )  # fmt: skip
    panel.set_xlabel("multiplications for a face, billions (GMAC)")
    panel.set_ylabel("mean accuracy, %")
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(color=_RULE, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=2.5)
    return figure


def spread(wanted: Sequence[float], step: float, length: float) -> list[float]:
    """Return ascending positions a step apart at least, near the wanted ones, half a step from both ends.

    Parameters
    ----------
    wanted
        Ascending positions from 0 to the length, which has room for all steps.
    step, length
        Least distance of two positions, and length of the line.
    """
    lowest = [step / 2 + step * number for number in range(len(wanted))]
    highest = [length - step / 2 - step * (len(wanted) - 1 - number) for number in range(len(wanted))]
    positions: list[float] = []
    for one, low, high in zip(wanted, lowest, highest, strict=True):
        after = positions[-1] + step if positions else low
        positions.append(max(low, min(high, max(one, after))))
    return positions
