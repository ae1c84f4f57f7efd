"""The part ``compiled``: ops against Inductor's code for their definitions, which takes some ten seconds each."""

from collections.abc import Iterator

from fsrcache.benchmarks.harness import Case
from fsrcache.benchmarks.kernels import kernel_makers
from studies.gpu.checks import Check, NotRunError, Setting
from studies.gpu.timed import case_checks


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks; in a rehearsal nothing is compiled."""
    if setting.rehearsal:
        yield Check("cases", _not_here)
        return

    def keep(_case: Case, alternative: str) -> bool:
        return alternative.startswith("torch.compile")

    makers = kernel_makers(setting.device, quick=False)
    yield from case_checks("cases", makers, setting, keep=keep, alone=False)


def _not_here() -> Iterator[tuple[str, object]]:
    raise NotRunError("A rehearsal compiles nothing.")
