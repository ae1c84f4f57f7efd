"""Cost against accuracy: a point a row that has all scales, and no name over another."""

from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from fsrcache.evaluation.cost import Cost
from fsrcache.reports.cost_figure import Point, cost_figure, spread
from fsrcache.reports.page import page
from fsrcache.reports.sections import sections


def cost(label, gmac):
    return Cost(
        row=label, label=label, members=1, parameters=4_830_000, gmac=gmac, training_seconds=None,
        training_cpu_seconds=None,
    )  # fmt: skip


def section(data, *costs):
    made = sections(replace(data, table=replace(data.table, cost=costs)))
    return next((one for one in made if one.id == "cost"), None)


def test_the_section_has_figure_and_table(data):
    shown = section(data, cost("bicubic", 0.1269), cost("FSR-FER", 0.137))
    assert "FSR-FER" in shown.content["figure"]
    assert (shown.content["scales"], shown.content["left_out"]) == ("x2, x4", [])
    html = page(data, [shown])
    assert html.count("4.83M") == 2
    assert "Cost against accuracy" in html


def test_rows_of_unknown_cost_are_named_and_not_drawn(data):
    shown = section(data, cost("bicubic", 0.1269), cost("FSR-FER", None))
    assert ">FSR-FER<" not in shown.content["figure"]
    assert shown.content["left_out"] == ["FSR-FER"]
    assert "that are known: FSR-FER." in page(data, [shown])


def test_rows_without_some_scales_are_not_drawn(data):
    rows = tuple(score for score in data.table.rows if (score.row, score.scale) != ("FSR-FER", 4))
    shown = section(replace(data, table=replace(data.table, rows=rows)), cost("bicubic", 0.1), cost("FSR-FER", 0.2))
    assert shown.content["left_out"] == ["FSR-FER"]


def test_without_costs_there_is_no_section(data):
    assert section(data) is None


def test_no_name_lies_over_another():
    points = [Point(f"row {number}", 0.1 * (1 + number % 3), 50 + 0.01 * number) for number in range(30)]
    figure = cost_figure(points, own="row 3")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # which places the names
    names = [Text.get_window_extent(text, canvas.get_renderer()) for text in figure.axes[0].texts]
    boxes = sorted(names, key=lambda box: box.y0)
    assert len(boxes) == 30
    assert all(above.y0 >= below.y1 - 0.5 for below, above in pairwise(boxes))
    width, height = figure.get_size_inches() * figure.dpi
    assert boxes[0].y0 >= 0
    assert boxes[-1].y1 <= height
    assert max(box.x1 for box in boxes) <= width


@pytest.mark.parametrize("wanted", [[0, 0, 0], [1, 5, 9], [9.9, 9.9, 10], [4, 4.5, 10]])
def test_positions_are_apart_and_inside(wanted):
    positions = spread(wanted, 2.0, 10.0)
    assert all(above - below >= 2.0 for below, above in pairwise(positions))
    assert positions[0] >= 1.0
    assert positions[-1] <= 9.0


def test_positions_stay_where_there_is_room():
    assert spread([2, 5, 8], 2.0, 10.0) == [2, 5, 8]
