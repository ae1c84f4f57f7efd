"""The figure: written, reproducible to the byte, without pyplot, the paper only when asked."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fsrcache.benchmarks.figures import write_bench_figure
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.plots import accuracy_figure
from fsrcache.evaluation.style import write_figure
from fsrcache.evaluation.tables import score_table
from studies.profile_step import draw

# What people set for figures of their own.
PERSONAL = {
    "text.usetex": True, "font.family": "serif", "font.size": 30.0, "mathtext.fontset": "cm", "axes.facecolor": "red",
    "axes.prop_cycle": mpl.cycler(color=["k"]), "axes.grid": True, "axes.formatter.use_locale": True,
    "lines.linewidth": 9.0, "figure.autolayout": False, "figure.dpi": 20.0, "figure.facecolor": "black",
    "savefig.bbox": "tight", "savefig.transparent": True, "savefig.format": "pdf", "svg.fonttype": "none",
    "xtick.direction": "in", "legend.fontsize": 30.0, "path.effects": [], "svg.hashsalt": "mine",
}  # fmt: skip


def draw_accuracy(table, path):
    write_figure(accuracy_figure(table, side=48, paper=True), path)


def draw_bench(_, path):
    row = {"case": "a", "ratio": 2.0, "alternative": "b", "flop_per_byte": 3.0, "tflop_per_second": 0.1}
    roofs = {"gb_per_second": 10.0, "tflop_per_second": 1.0}
    write_bench_figure({"cases": [row, {**row, "case": "c", "ratio": 0.5}], "roofs": roofs}, path)


def draw_profile(_, path):
    draw({"profiles": [{"case": "a", "ms": 2.0, "operations": {"mm": 1.5, "all others": 0.5}}]}, path)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_bytes_are_reproducible(table, tmp_path, kind):
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    write_figure(accuracy_figure(table, side=48), first)
    write_figure(accuracy_figure(table, side=48), second)
    assert len(first.read_bytes()) > 10_000
    assert first.read_bytes() == second.read_bytes()
    assert b"date>" not in first.read_bytes()


def test_png_shows_something(table, tmp_path):
    write_figure(accuracy_figure(table), tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # bicubic and FSR-FER


def test_what_is_drawn(table):
    frozen, linear = accuracy_figure(table, side=48).axes
    assert [line.get_label() for line in frozen.lines] == ["bicubic", "FSR-FER"]
    assert frozen.lines[1].get_xydata().tolist() == [[1, 85], [2, 70], [4, 65]]
    band = frozen.collections[1].get_paths()[0].get_extents()
    scores = [score for score in table.rows if score.row == "FSR-FER"]
    assert (band.y0, band.y1) == pytest.approx((min(s.low for s in scores), max(s.high for s in scores)))
    assert [label.get_text() for label in frozen.get_xticklabels()] == ["HR\n48", "x2\n24", "x4\n12"]
    assert [text.get_text() for text in frozen.texts] == ["\npx"]
    assert [line.get_label() for line in linear.lines] == ["bicubic"]
    assert frozen.lines[0].get_color() == linear.lines[0].get_color()


def test_the_paper_is_drawn_only_when_asked(table):
    axes = accuracy_figure(table, paper=True).axes[0]
    grey = [line for line in axes.lines if line.get_label().startswith("paper")]
    assert [line.get_label() for line in grey] == ["paper: bicubic", "paper: Meta-SR re-trained", "paper: FSR-FER"]
    assert len({line.get_color() for line in grey}) == 1
    assert not [line for line in accuracy_figure(table).axes[0].lines if line.get_label().startswith("paper")]


def drawn_labels(panel):
    """Return the boxes of the labels under a panel that are not empty."""
    return [label.get_window_extent() for label in panel.get_xticklabels() if label.get_text()]


@pytest.mark.parametrize("heads", [("frozen",), ("frozen", "refit-mlp", "refit-linear")])
@pytest.mark.parametrize("scales", [*(range(1, most + 1) for most in (1, 2, 5, 9, 12, 16)), (1, 2, 3, 8, 64)])
def test_labels_of_scales_never_overlap(context, tmp_path, scales, heads):
    figure = accuracy_figure(many_rows(context, 2, heads=heads, scales=scales), side=200)
    write_figure(figure, tmp_path / "figure.png", dpi=50)
    for panel in figure.axes:
        boxes = drawn_labels(panel)
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
        texts = [label.get_text() for label in panel.get_xticklabels()]
        assert texts[0]
        assert texts[-1]
        assert len(panel.get_xticks()) == len(scales)  # each has its tick
    if len(scales) <= 9 and scales[-1] == len(scales):
        assert all(texts)  # as many as the paper's have room


def test_the_settings_stand_above_the_panels(context, tmp_path):
    settings = "preset best with " + ", ".join(f"generator.width={number}" for number in range(60))
    table = many_rows(replace(context, settings=settings), 2)
    figure = accuracy_figure(table, side=48)
    (text,) = (text for text in figure.texts if text.get_text())
    assert text.get_text().startswith("preset best with generator.width=0, generator.width=1,")
    write_figure(figure, tmp_path / "figure.png", dpi=60)
    box, panel = text.get_window_extent(), figure.axes[0].get_tightbbox()
    assert panel.y1 <= box.y0 < box.y1 <= figure.bbox.y1
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def bench_panels(tmp_path, monkeypatch, rows):
    """Return the panels of a benchmark's figure."""
    figures = []
    monkeypatch.setattr("fsrcache.benchmarks.figures.write_figure", lambda figure, *_, **__: figures.append(figure))
    roofs = {"gb_per_second": 10.0, "tflop_per_second": 1.0}
    write_bench_figure({"cases": rows, "roofs": roofs}, tmp_path / "bench.png")
    return figures[0].axes


ROW = {"case": "a", "candidate": "c", "ratio": 2.0, "alternative": "b", "ms": 1.0, "ms_p20": 0.9, "ms_p80": 1.1,
       "flop_per_byte": None, "tflop_per_second": None}  # fmt: skip


def test_ratios_over_more_than_a_decade_have_a_logarithmic_axis(tmp_path, monkeypatch):
    for ratio, scale in ((9.0, "linear"), (11.0, "log"), (0.05, "log")):
        panel = bench_panels(tmp_path, monkeypatch, [ROW, {**ROW, "ratio": ratio}])[0]
        assert panel.get_xscale() == scale
        ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in panel.patches]
        assert ends == [(1, 2), pytest.approx((1, ratio))]
        assert [text.get_text() for text in panel.texts] == ["2", f"{ratio:.3g}"]


def test_no_panel_of_a_benchmark_is_empty(tmp_path, monkeypatch):
    alone = {**ROW, "ratio": None, "alternative": None}
    ratios, times = bench_panels(tmp_path, monkeypatch, [ROW, {**alone, "case": "d", "ms": 30.0, "ms_p80": 40.0}])
    assert ratios.get_xlabel() == "time of the alternative / time of the candidate"
    assert [label.get_text() for label in times.get_yticklabels()] == ["a\nc", "d\nc"]
    assert times.get_xscale() == "log"
    assert len(bench_panels(tmp_path, monkeypatch, [alone])) == 1
    counted = {**alone, "flop_per_byte": 3.0, "tflop_per_second": 0.1}
    (roof,) = bench_panels(tmp_path, monkeypatch, [counted])
    assert (roof.get_ylabel(), [text.get_text() for text in roof.get_legend().get_texts()]) == ("TFLOP/s", ["a"])
    with pytest.raises(FsrcacheError, match="no case of the benchmark has a time"):
        bench_panels(tmp_path, monkeypatch, [])


def test_no_other_kind_of_file(table, tmp_path):
    with pytest.raises(RequestError, match=r"figure\.jpg"):
        write_figure(accuracy_figure(table), tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())
    write_figure(accuracy_figure(table), tmp_path / "figure.PDF")
    assert (tmp_path / "figure.PDF").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("drawing", [draw_accuracy, draw_bench, draw_profile])
def test_what_a_person_has_configured_shows_in_no_figure(table, tmp_path, drawing, kind):
    drawing(table, tmp_path / f"a.{kind}")
    with mpl.rc_context(PERSONAL):
        drawing(table, tmp_path / f"b.{kind}")
        assert mpl.rcParams["lines.linewidth"] == 9  # and stays what it was
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_figure_that_cannot_be_written_leaves_nothing(table, tmp_path, monkeypatch):
    (tmp_path / "figure.png").mkdir()
    with pytest.raises(FsrcacheError, match=r"figure\.png cannot be written"):
        write_figure(accuracy_figure(table), tmp_path / "figure.png")
    figure = accuracy_figure(table)
    monkeypatch.setattr("matplotlib.font_manager.FontManager.findfont", lambda *_, **__: str(tmp_path / "no.ttf"))
    with pytest.raises(FsrcacheError, match=r"figure\.svg cannot be drawn"):
        write_figure(figure, tmp_path / "figure.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("side", [0, 48.0, "48"])
def test_a_side_that_is_none_is_named(table, side):
    with pytest.raises(RequestError, match=f"side is {side!r}"):
        accuracy_figure(table, side=side)


def test_pyplot_is_never_loaded():
    code = "import sys, fsrcache.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def many_rows(context, count, *, heads=("frozen",), classes=tuple("abcdefg"), scales=(1, 2, 4)):
    labels = np.arange(40) % 4
    names = ["bicubic", *(f"row {number}" for number in range(1, count))]
    made = {
        (name, head, scale, None): np.where(np.arange(40) < 38 - scale % 20 - number, labels, (labels + 1) % 4)
        for number, name in enumerate(names) for head in heads for scale in scales
    }  # fmt: skip
    return score_table(made, labels, split="val", context=context, order=names, classes=classes)


def test_fifteen_rows_are_told_apart_in_small_multiples(context, tmp_path):
    figure = accuracy_figure(many_rows(context, 15, heads=("frozen", "refit-mlp")), side=48)
    panels = figure.axes
    assert len(panels) == 8  # two heads, four groups of rows
    drawn = [[line for line in panel.lines if not line.get_label().startswith("_")] for panel in panels]
    assert [len(lines) for lines in drawn] == [5, 5, 4, 4] * 2
    assert all(lines[0].get_label() == "bicubic" for lines in drawn)
    looks = {
        line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle())
        for lines in drawn
        for line in lines
    }
    assert len(looks) == len(set(looks.values())) == 15
    for lines in drawn:
        assert len({line.get_color() for line in lines}) == len(lines)
    legends = [panel.get_legend() for panel in panels]
    assert [legend is not None for legend in legends] == [False] * 4 + [True] * 4
    named = {text.get_text() for legend in legends[4:] for text in legend.get_texts()}
    assert named == set(looks)
    write_figure(figure, tmp_path / "figure.png", dpi=60)
    for panel, legend in zip(panels[4:], legends[4:], strict=True):  # outside the axes, and on the page
        box = legend.get_window_extent()
        assert box.y1 <= panel.get_window_extent().y0
        assert box.y0 >= 0


def test_a_row_keeps_its_look_whatever_others_are_there(context):
    whole = accuracy_figure(many_rows(context, 5)).axes[0].lines
    table = many_rows(context, 5)
    fewer = replace(table, rows=tuple(score for score in table.rows if score.row in ("bicubic", "row 4")))
    few = accuracy_figure(fewer).axes[0].lines
    assert [line.get_label() for line in few][:2] == ["bicubic", "row 4"]
    assert few[1].get_color() == next(line for line in whole if line.get_label() == "row 4").get_color()


def test_chance_is_a_line(context):
    panel = accuracy_figure(many_rows(context, 2, classes=tuple("abcd"))).axes[0]
    assert [line.get_ydata()[0] for line in panel.lines if len(set(line.get_ydata())) == 1] == [25]
    assert [text.get_text() for text in panel.texts] == ["chance"]
    assert not accuracy_figure(many_rows(context, 2, classes=())).axes[0].texts


def test_a_long_name_does_not_leave_the_page(context, tmp_path):
    labels = np.arange(40) % 4
    names = ["bicubic", "FSR-FER", f"FSR-FER ({'long-' * 12})", f"FSR-FER ({'other-' * 10})"]
    made = {(name, "frozen", scale, None): labels for name in names for scale in (1, 2)}
    figure = accuracy_figure(score_table(made, labels, split="val", context=context, order=names))
    write_figure(figure, tmp_path / "figure.png", dpi=60)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
