"""The part ``step``: the bench of a training step, captured, eager, plain and with features extracted on the fly."""

from collections.abc import Iterator

from fsrcache.benchmarks.step import step_makers
from studies.gpu.checks import Check, Setting
from studies.gpu.timed import case_checks


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    makers = step_makers(setting.device, quick=setting.rehearsal)
    yield from case_checks("cases", makers, setting, keep=lambda _case, _alternative: True, alone=True)
