"""The report's own figures: calibration, reject curve, movement of features, convergence."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.style import own_style
from fsrcache.reports.data import Training
from fsrcache.reports.movement import Movement
from fsrcache.reports.reliability import Reliability

_SIZE = 4.6, 3.3  # inches
_RULE, _GREY = "#e4e4e4", "#8c8c8c"
_ROW, _BICUBIC = "#d55e00", "#0072b2"
_CLASSES = ("#0072b2", "#e69f00", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#8c8c8c")
_DASHES = ("-", "--", ":", "-.")
_POINTS = 600  # faces that are dots


@own_style()
def reliability_figure(curves: Mapping[str, Reliability]) -> Figure:
    """Draw accuracy against confidence for rows by name; on the diagonal a probability means what it says."""
    figure, panel = _panel("confidence, %", "accuracy, %")
    panel.plot([0, 100], [0, 100], color=_GREY, linestyle=":", linewidth=1)
    for row, curve in curves.items():
        colour = _colour(row)
        panel.plot(100 * curve.confidence, 100 * curve.accuracy, color=colour, marker="o", markersize=4, label=row)
    panel.set(xlim=(0, 102), ylim=(0, 102))
    panel.legend(frameon=False, loc="upper left")
    return figure


@own_style()
def reject_figure(curves: Mapping[str, tuple[Any, Any]]) -> Figure:
    """Draw accuracy against the share of faces that are kept, (kept [n], accuracy [n]) for rows by name."""
    figure, panel = _panel("faces kept, the surest first, %", "accuracy, %")
    for row, (kept, accuracy) in curves.items():
        step = max(1, len(kept) // 200)
        first = max(0, len(kept) // 20 - 1)  # of fewer faces an accuracy says little
        panel.plot(100 * kept[first::step], 100 * accuracy[first::step], color=_colour(row), label=row)
    panel.set_xlim(100, 0)
    panel.legend(frameon=False, loc="upper left")
    return figure


@own_style()
def movement_figure(moved: Movement, labels: Sequence[int], classes: Sequence[str]) -> Figure:
    """Draw fine features as dots, and an arrow for each class from the coarse mean to the super-resolved one."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    panel = figure.subplots()
    colours = [_CLASSES[label % len(_CLASSES)] for label in labels[:_POINTS]]
    across, up = moved.fine[:_POINTS].T
    panel.scatter(across, up, s=5, c=colours, alpha=0.3, linewidths=0)
    means = zip(moved.classes, moved.starts, moved.ends, moved.goals, strict=True)
    crosses = []  # whose names the legend is given: it drops labels of lines that begin with _
    for label, start, end, goal in means:
        colour = _CLASSES[label % len(_CLASSES)]
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
        panel.annotate("", end, start, arrowprops=arrow)
        panel.plot(*start, marker="o", markersize=6, markerfacecolor="none", markeredgecolor=colour)
        crosses += panel.plot(*goal, "x", markersize=7, markeredgewidth=1.8, color=colour)
    _dress(panel, "first principal axis", "second principal axis")
    panel.set(xticks=[], yticks=[])
    names = [classes[label] for label in moved.classes]
    figure.legend(crosses, names, loc="outside lower center", ncols=4, frameon=False)
    return figure


@own_style()
def held_out_figure(trainings: Sequence[Training]) -> Figure | None:
    """Draw held-out accuracy against the step, the mean over the coarse scales that every curve has; None without."""
    figure, panel = _panel("step", "held-out accuracy, %")
    scored = {
        number: lines
        for number, training in enumerate(trainings)
        if (lines := [line for line in training.history if line.get("held_out_accuracy")])
    }
    scales = [{*lines[0]["held_out_accuracy"]} - {"1"} for lines in scored.values()]
    if shared := set[str].intersection(*scales) if scales else set():
        for number, lines in scored.items():
            points = [(line["step"], fmean(line["held_out_accuracy"][scale] for scale in shared)) for line in lines]
            _draw_training(panel, number, trainings[number], points)
    return _finished(figure, panel)


@own_style()
def loss_figure(trainings: Sequence[Training], name: str) -> Figure | None:
    """Draw a term of the loss against the step; None where no training has it."""
    figure, panel = _panel("step", f"{name} term of the loss")
    for number, training in enumerate(trainings):
        points = [(line["step"], line[name]) for line in training.history if name in line]
        if points:
            _draw_training(panel, number, training, points)
    return _finished(figure, panel)


def _draw_training(panel: Axes, number: int, training: Training, points: Sequence[tuple[float, float]]) -> None:
    label = f"{training.name} (re-weighted by {training.config.reweight})"
    panel.plot(
        *zip(*points, strict=True), color=_CLASSES[(2 + number) % len(_CLASSES)], markersize=3.5, label=label,
        linestyle=_DASHES[number % len(_DASHES)], marker="o" if len(points) < 30 else "",
    )  # fmt: skip


def _finished(figure: Figure, panel: Axes) -> Figure | None:
    if not panel.lines:
        return None
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if len(panel.lines) > 1:
        panel.legend(frameon=False)
    return figure


def _panel(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    panel = figure.subplots()
    _dress(panel, across, up)
    return figure, panel


def _dress(panel: Axes, across: str, up: str) -> None:
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    panel.grid(color=_RULE, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=2.5)


def _colour(row: str) -> str:
    return _BICUBIC if row == BICUBIC else _ROW
