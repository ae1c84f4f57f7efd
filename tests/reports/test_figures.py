"""What the figures of a report draw: any class by its name, and trainings that can be compared."""

from dataclasses import replace

import numpy as np
import pytest

from fsrcache.presets import TRAINING
from fsrcache.reports.data import Training
from fsrcache.reports.figures import held_out_figure, movement_figure
from fsrcache.reports.movement import movement
from fsrcache.reports.svg import inline_svg

ONE = Training(name="one", config=TRAINING["best"], seed=0, scales=(1, 2, 4), store={"features": "aa"}, history=[])
OTHER = replace(ONE, name="other", config=replace(ONE.config, reweight="none"))


def test_a_class_may_have_any_name():
    classes = ["a$\\frac{$", "_left", "$100$", "b"]
    labels = np.arange(40) % 4
    fine = np.random.default_rng(0).standard_normal((40, 6))
    figure = movement_figure(movement(fine + 1, fine, fine, labels), labels.tolist(), classes)
    inline_svg(figure, name="figure", text="figure")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == classes


def test_curves_are_means_over_the_scales_that_all_have():
    def scored(**accuracy):
        return [{"step": 1, "held_out_accuracy": {name[1:]: value for name, value in accuracy.items()}}]

    trainings = [
        replace(ONE, history=scored(x1=90.0, x2=60.0, x4=50.0)),
        replace(OTHER, history=scored(x1=90.0, x4=40.0, x8=20.0)),
        replace(OTHER, name="on its way", history=[{"step": 1, "l2": 0.5}]),
    ]
    (panel,) = held_out_figure(trainings).axes
    assert [line.get_ydata().tolist() for line in panel.lines] == [[50], [40]]
    assert held_out_figure([trainings[0], replace(OTHER, history=scored(x1=90.0, x8=20.0))]) is None
    assert held_out_figure(trainings[2:]) is None


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"scales": (1, 4)}, {"extra": ("view-1",)}, {"store": {"features": "bb"}}]
)
def test_trainings_that_differ_in_weights_alone(changes):
    assert ONE.differs_in_weights_alone(OTHER)
    assert OTHER.differs_in_weights_alone(replace(ONE, name="third"))
    assert not ONE.differs_in_weights_alone(replace(ONE, name="third"))
    assert not ONE.differs_in_weights_alone(replace(OTHER, **changes))
    assert not ONE.differs_in_weights_alone(replace(OTHER, config=replace(OTHER.config, batch=16)))
