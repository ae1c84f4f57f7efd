"""The parts of the run, the most valuable first, and the checks of each."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import NamedTuple

from studies.gpu.checks import Check, Setting


class Part(NamedTuple):
    """A part: its name, the seconds without which it is not started, its time limit, and its wave.

    The parts of a wave run side by side: they time nothing, and mostly wait for the compiler.
    """

    name: str
    least: float
    most: float
    wave: int


# A part's checks are what ``checks(setting)`` of the module of its name yields.
PARTS = (
    Part("machine", 0, 30, 0),  # versions, driver and roofs
    Part("pooling", 10, 120, 1),  # the covariance poolings against float64
    Part("ops", 10, 120, 1),  # all other ops
    Part("training", 10, 150, 1),  # captured, eager, plain, resumed: the same training
    Part("way", 15, 150, 1),  # from faces to a table, as on a CPU
    Part("stress", 10, 120, 1),  # races, other devices, more than 2^31 numbers, opcheck, compilation
    Part("kernels", 10, 60, 2),  # ops, timed
    Part("step", 10, 60, 3),  # a training step, timed
    Part("longer", 15, 60, 4),  # steps a second at full sizes, extraction
    Part("tiles", 10, 80, 5),  # compile-time settings, swept
    Part("profiles", 10, 50, 6),  # where the time goes
    Part("compiled", 15, 80, 7),  # ops against Inductor
)


def checks_of(name: str, setting: Setting) -> Iterable[Check]:
    """Return the checks of a part."""
    checks: Callable[[Setting], Iterable[Check]] = import_module(f"studies.gpu.{name}").checks
    return checks(setting)
