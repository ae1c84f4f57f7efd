"""The bench's cases as checks, one for each maker of cases, so that a failure or a time-out costs no other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from fsrcache.benchmarks.harness import Case, Roofs, measure_roofs, run_case
from fsrcache.device import fp32_precision
from studies.gpu.checks import Check, Failure, Setting, part_file, read_part

_SECONDS = 0.3  # of runs of every candidate and alternative

Maker = Callable[[], Iterable[Case]]


def case_checks(
    title: str, makers: Iterable[Maker], setting: Setting, *, keep: Callable[[Case, str], bool], alone: bool
) -> Iterator[Check]:
    """Yield a check a maker.

    Parameters
    ----------
    title
        Title of the checks.
    makers
        Functions that make the cases.
    setting
        Device and sizes.
    keep
        Function of a case and the name of an alternative that returns whether the alternative is run.
    alone
        Whether a case without such an alternative is run too.
    """
    roofs = _roofs(setting)
    for number, maker in enumerate(makers, 1):
        yield Check(f"{title} {number}", partial(_timed, maker, roofs, setting, keep, alone))


def _roofs(setting: Setting) -> Roofs:
    """Return the roofs as the part ``machine`` measured them, or measure them."""
    record = read_part(part_file(setting.folder, "machine"))
    figures = {} if record is None else record["checks"].get("roofs", {}).get("found", {})
    if "fp16 TFLOP/s" not in figures:
        return measure_roofs(setting.device, seconds=0.02 if setting.rehearsal else 0.3)
    tf32, fp16 = (None if figures[name] is None else 1e12 * figures[name] for name in ("TF32 TFLOP/s", "fp16 TFLOP/s"))
    return Roofs(1e9 * figures["GB/s copied"], 1e12 * figures["fp32 TFLOP/s"], tf32, fp16)


def _timed(
    maker: Maker, roofs: Roofs, setting: Setting, keep: Callable[[Case, str], bool], alone: bool
) -> Iterator[tuple[str, Any]]:
    with fp32_precision(tf32=False):  # cases are captured as they are made
        for case in maker():
            alternatives = {name: work for name, work in case.alternatives.items() if keep(case, name)}
            if not (alternatives or alone):
                continue
            try:
                rows = run_case(replace(case, alternatives=alternatives), roofs, setting.device,
                                seconds=0.02 if setting.rehearsal else _SECONDS)  # fmt: skip
            except Exception as error:
                yield case.name, Failure(f"{type(error).__name__}: {error}")
                continue
            for row in rows:
                name = case.name if row["alternative"] is None else f"{case.name}, against {row['alternative']}"
                figures = {key: value for key, value in row.items() if key not in ("case", "alternative", "checked")}
                yield name, {key: value for key, value in figures.items() if value is not None}
