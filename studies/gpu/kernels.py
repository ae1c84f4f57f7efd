"""The part ``kernels``: the bench of the ops at its full sizes, without the cases that Inductor compiles."""

from collections.abc import Iterator

from fsrcache.benchmarks.harness import Case
from fsrcache.benchmarks.kernels import kernel_makers
from studies.gpu.checks import Check, Setting
from studies.gpu.timed import case_checks


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""

    def keep(_case: Case, alternative: str) -> bool:
        return not alternative.startswith("torch.compile")

    makers = kernel_makers(setting.device, quick=setting.rehearsal)
    yield from case_checks("cases", makers, setting, keep=keep, alone=True)
