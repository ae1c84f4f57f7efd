"""The picture of a benchmark: ratios as bars, and how far from the machine's roof each case is, or else its time."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.style import own_style, write_figure

_FASTER, _SLOWER = "#2a6f97", "#b5523b"
_MARKERS = "osD^vPX*"
_DECADE = 10  # largest value by smallest that a linear axis still shows
_LINE = 0.36  # inches of a bar with the two lines of its label


@own_style()
def write_bench_figure(record: dict[str, Any], path: str | PathLike[str]) -> None:
    """Draw the rows of a record as ``fsrcache bench --json`` prints it into a PNG, SVG or PDF.

    Parameters
    ----------
    record
        What :func:`fsrcache.benchmarks.bench.bench` returns. The first panel has the ratios, the second the roofline
        where operations and bytes are counted and the times elsewhere; a panel without a value is left out.
    path
        The file.

    Raises
    ------
    FsrcacheError
        If the record has no case, or the file cannot be written.
    """
    compared = [row for row in record["cases"] if row["ratio"]]
    cases = list({row["case"]: row for row in record["cases"]}.values())
    counted = [row for row in cases if row["flop_per_byte"]]
    if not cases:
        raise FsrcacheError(f"{path} is not drawn: no case of the benchmark has a time.", "Read why above.")
    bars = max(len(compared), 0 if counted else len(cases))
    height = max(1.2 + _LINE * bars, 3.6 + 0.16 * len(counted) if counted else 0)
    panels = bool(compared) + 1
    figure = Figure(figsize=(6.8 * panels, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=(3, 2)[2 - panels :] if counted else None)[0]
    if compared:
        _draw_ratios(axes[0], compared)
    if counted:
        _draw_roof(axes[-1], counted, record["roofs"])
    else:
        _draw_times(axes[-1], cases)
    write_figure(figure, path, dpi=150)


def _draw_ratios(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a bar from 1 to the ratio of each row: to the right where ours is the faster."""
    labels = [f"{row['case']}\nagainst {row['alternative']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    colours = [_FASTER if ratio >= 1 else _SLOWER for ratio in ratios]
    panel.barh(range(len(rows)), [ratio - 1 for ratio in ratios], left=1, color=colours)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_xlabel("time of the alternative / time of the candidate")
    _dress_bars(panel, labels, [1, *ratios])
    _write_numbers(panel, ratios, [max(1, ratio) for ratio in ratios])


def _draw_times(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the time of every case, from its 20th to its 80th percentile."""
    times = [row["ms"] for row in rows]
    panel.barh(range(len(rows)), times, color=_FASTER)
    spread = [[row["ms"] - row["ms_p20"] for row in rows], [row["ms_p80"] - row["ms"] for row in rows]]
    panel.errorbar(times, range(len(rows)), xerr=spread, fmt="none", ecolor="black", elinewidth=0.8)
    panel.set_xlabel("ms, with 20th and 80th percentile")
    _dress_bars(panel, [f"{row['case']}\n{row['candidate']}" for row in rows], times)
    _write_numbers(panel, times, [row["ms_p80"] for row in rows])


def _write_numbers(panel: Axes, numbers: Sequence[float], ends: Sequence[float]) -> None:
    """Write a number at the end of every bar."""
    for line, (number, end) in enumerate(zip(numbers, ends, strict=True)):
        text = f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
        panel.annotate(text, (end, line), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)


def _dress_bars(panel: Axes, labels: Sequence[str], values: Sequence[float]) -> None:
    if max(values) > _DECADE * min(values):
        panel.set_xscale("log")
    panel.set_yticks(range(len(labels)), labels, fontsize=7)
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.margins(x=0.12)  # room for the numbers at the bars' ends
    panel.spines[["top", "right"]].set_visible(False)


def _draw_roof(panel: Axes, rows: Sequence[dict[str, Any]], roofs: dict[str, Any]) -> None:
    bandwidth, rate = roofs["gb_per_second"], roofs["tflop_per_second"]
    ends = [row["flop_per_byte"] for row in rows]
    intensities = sorted({0.5 * min(0.2, *ends), 1e3 * rate / bandwidth, 2 * max(500, *ends)})
    panel.loglog(intensities, [min(rate, at * bandwidth / 1e3) for at in intensities], color="black")
    for number, row in enumerate(rows):
        panel.plot(row["flop_per_byte"], row["tflop_per_second"], _MARKERS[number % len(_MARKERS)], markersize=5,
                   linestyle="none", color=f"C{number % 10}", label=row["case"])  # fmt: skip
    panel.set_xlabel("operations a byte")
    panel.set_ylabel("TFLOP/s")
    panel.set_title("below the measured roof", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), fontsize=7, frameon=False)
