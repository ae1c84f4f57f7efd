"""The picture of a benchmark: ratios as bars, and how far from the machine's roof each case is."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from fsrcache.evaluation.style import own_style, write_figure


@own_style()
def write_bench_figure(record: dict[str, Any], path: Path) -> None:
    """Draw the rows of a record as ``fsrcache bench --json`` prints it into a PNG, SVG or PDF."""
    compared = [row for row in record["cases"] if row["ratio"]]
    placed = list({row["case"]: row for row in record["cases"] if row["flop_per_byte"]}.values())
    figure = Figure(figsize=(12, 1.5 + 0.32 * max(len(compared), 12)), layout="constrained")
    bars, roof = figure.subplots(1, 2, width_ratios=(2, 1))
    labels = [f"{row['case']}\nagainst {row['alternative']}" for row in compared]
    colours = ["#2a6f97" if row["ratio"] >= 1 else "#b5523b" for row in compared]
    drawn = bars.barh(range(len(compared)), [row["ratio"] for row in compared], color=colours)
    bars.bar_label(drawn, fmt="%.2f", padding=3, fontsize=7)
    bars.set_yticks(range(len(compared)), labels, fontsize=6)
    bars.invert_yaxis()
    bars.axvline(1, color="black", linewidth=0.8)
    bars.set_xlabel("time of the alternative / time of the candidate")
    bandwidth, rate = record["roofs"]["gb_per_second"], record["roofs"]["tflop_per_second"]
    intensities = [0.1, 1e3 * rate / bandwidth, 1e3]
    roof.loglog(intensities, [min(rate, at * bandwidth / 1e3) for at in intensities], color="black")
    for number, row in enumerate(placed):
        roof.plot(row["flop_per_byte"], row["tflop_per_second"], "o", color=f"C{number % 10}", label=row["case"])
    roof.set_xlabel("operations a byte")
    roof.set_ylabel("TFLOP/s")
    roof.set_title("below the measured roof", fontsize=9)
    if placed:
        roof.legend(fontsize=5, loc="lower right")
    write_figure(figure, path, dpi=150)
