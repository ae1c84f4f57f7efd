"""The bench's cases as checks: each maker of cases is one, so that what fails, or takes long, costs no other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from fsrcache.benchmarks.harness import Case, Roofs, measure_roofs, run_case
from studies.gpu.checks import Check, Failure, Setting, part_file, read_part

_SECONDS = 0.3  # that every candidate and alternative is run for

Maker = Callable[[], Iterable[Case]]


def case_checks(
    title: str, makers: Iterable[Maker], setting: Setting, *, kept: Callable[[Case, str], bool], alone: bool
) -> Iterator[Check]:
    """Yield a check a maker.

    Parameters
    ----------
    title
        Of the checks.
    makers
        What makes the cases.
    setting
        Where.
    kept
        Tells of a case and the name of an alternative whether it is run.
    alone
        Whether cases none of whose alternatives is kept are run too.
    """
    roofs = _roofs(setting)
    for number, maker in enumerate(makers, 1):
        yield Check(f"{title} {number}", partial(_timed, maker, roofs, setting, kept, alone))


def _roofs(setting: Setting) -> Roofs:
    """Return the roofs as the part ``machine`` measured them, or measure them."""
    record = read_part(part_file(setting.folder, "machine"))
    found = {} if record is None else record["checks"].get("roofs", {}).get("found", {})
    if "fp16 TFLOP/s" not in found:
        return measure_roofs(setting.device, seconds=0.02 if setting.rehearsal else 0.3)
    tf32, fp16 = (None if found[name] is None else 1e12 * found[name] for name in ("TF32 TFLOP/s", "fp16 TFLOP/s"))
    return Roofs(1e9 * found["GB/s copied"], 1e12 * found["fp32 TFLOP/s"], tf32, fp16)


def _timed(
    maker: Maker, roofs: Roofs, setting: Setting, kept: Callable[[Case, str], bool], alone: bool
) -> Iterator[tuple[str, Any]]:
    for case in maker():
        alternatives = {name: work for name, work in case.alternatives.items() if kept(case, name)}
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
            told = {key: value for key, value in row.items() if key not in ("case", "alternative", "checked")}
            yield name, {key: value for key, value in told.items() if value is not None}
