"""The figure: written, reproducible to the byte, without pyplot, the paper only when asked."""

import subprocess
import sys

import pytest
from PIL import Image

from fsrcache.errors import RequestError
from fsrcache.evaluation.plots import accuracy_figure, write_figure


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
    assert [label.get_text() for label in frozen.get_xticklabels()] == ["HR\n48 px", "x2\n24 px", "x4\n12 px"]
    assert [line.get_label() for line in linear.lines] == ["bicubic"]
    assert frozen.lines[0].get_color() == linear.lines[0].get_color()


def test_the_paper_is_drawn_only_when_asked(table):
    axes = accuracy_figure(table, paper=True).axes[0]
    grey = [line for line in axes.lines if line.get_label().startswith("paper")]
    assert [line.get_label() for line in grey] == ["paper: bicubic", "paper: Meta-SR re-trained", "paper: FSR-FER"]
    assert len({line.get_color() for line in grey}) == 1
    assert not [line for line in accuracy_figure(table).axes[0].lines if line.get_label().startswith("paper")]


def test_no_other_kind_of_file(table, tmp_path):
    with pytest.raises(RequestError, match=r"figure\.jpg"):
        write_figure(accuracy_figure(table), tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())


def test_pyplot_is_never_loaded():
    code = "import sys, fsrcache.evaluation.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
