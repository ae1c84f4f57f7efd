"""``fsrcache bench``'s work: the roofs, then one case after another, as records; a case that fails ends no other."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch

from fsrcache.benchmarks.harness import Case, commit, machine, measure_roofs, run_case
from fsrcache.device import fp32_precision
from fsrcache.errors import FsrcacheError

SUBJECTS = ("kernels", "step", "store", "predict")
Item = TypeVar("Item")
Makers = Iterable[Callable[[], Iterable[Case]]]  # each makes cases that another's failure does not touch


@fp32_precision(tf32=False)
def bench(
    subject: str, device: torch.device, *, quick: bool, on_progress: Callable[[str, dict[str, Any]], None]
) -> dict[str, Any]:
    """Run the cases of ``kernels``, ``step``, ``store``, ``predict`` or ``all``.

    Parameters
    ----------
    subject
        Subject of the cases.
    device
        Device of the cases; a store is read on the CPU.
    quick
        Whether sizes are smaller and runs fewer: a check that it works, no timing.
    on_progress
        Called after every case with a line about it and the record so far.

    Returns
    -------
    dict
        ``machine``, ``commit``, ``quick``, ``roofs`` (``gb_per_second`` copied, ``tflop_per_second`` of fp32 products,
        ``tf32_tflop_per_second`` and ``fp16_tflop_per_second``, None on a CPU), ``not_run`` (in words), ``failed``
        (``case`` and ``error``: a result that differs from its reference, or an exception) and ``cases``:
        ``case``, ``candidate``, ``ms`` with ``ms_p20`` and ``ms_p80``, ``alternative``, ``alternative_ms``, ``ratio``
        (None without an alternative), ``gb_per_second``, ``tflop_per_second``, ``flop_per_byte``, ``share_of_roof``,
        ``samples_per_second`` (None where not counted), ``checked``, ``clock`` (``device`` or ``host``); on a GPU
        ``l2`` is ``cold``, and ``ms_warm`` and ``ratio_warm`` are the same with what the last run left there (None on
        a CPU).
    """
    seconds = 0.02 if quick else 1.0
    roofs = measure_roofs(device, seconds=seconds)
    cases: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    not_run: list[str] = []
    record = {
        "machine": machine(device), "commit": commit(), "quick": quick,
        "roofs": {
            "gb_per_second": roofs.bandwidth / 1e9, "tflop_per_second": roofs.rate / 1e12,
            "tf32_tflop_per_second": None if roofs.tf32_rate is None else roofs.tf32_rate / 1e12,
            "fp16_tflop_per_second": None if roofs.fp16_rate is None else roofs.fp16_rate / 1e12,
        },
        "not_run": not_run, "failed": failed, "cases": cases,
    }  # fmt: skip

    def fail(name: str, error: Exception) -> None:
        what = error.what if isinstance(error, FsrcacheError) else f"{type(error).__name__}: {error}"
        failed.append({"case": name, "error": what})
        on_progress(f"{name}: failed. {what}", record)

    def until_failure(name: str, make: Callable[[], Iterable[Item]]) -> Iterator[Item]:
        try:
            yield from make()
        except Exception as error:
            fail(name, error)

    for chosen in SUBJECTS if subject == "all" else (subject,):
        target = torch.device("cpu") if chosen == "store" else device  # which reads a store: no GPU's clock
        peers = until_failure(f"peers of {chosen}", partial(_not_run, chosen, device))
        not_run += [words for words in peers if words not in not_run]
        for maker in until_failure(chosen, partial(_makers, chosen, device, quick=quick)):
            for case in until_failure(f"a case of {chosen}", maker):
                try:
                    rows = run_case(case, roofs, target, seconds=seconds)
                except Exception as error:
                    fail(case.name, error)
                else:
                    cases += rows
                    on_progress(f"{case.name}: {rows[0]['ms']:.3g} ms", record)
    return record


def _makers(subject: str, device: torch.device, *, quick: bool) -> Makers:
    """Return the functions that make a subject's cases.

    Its module is imported here, since it may need packages that are not installed: a store needs zarr, kernels do not.
    """
    if subject == "kernels":
        from fsrcache.benchmarks.kernels import kernel_makers

        return kernel_makers(device, quick=quick)
    if subject == "step":
        from fsrcache.benchmarks.step import step_makers

        return step_makers(device, quick=quick)
    if subject == "predict":
        from fsrcache.benchmarks.predict import predict_cases

        return [partial(predict_cases, device, quick=quick)]
    from fsrcache.benchmarks.store import store_cases

    return [partial(store_cases, device, quick=quick)]


def _not_run(subject: str, device: torch.device) -> list[str]:
    """Return, in words, which cases of a subject cannot be run here."""
    if subject == "store":
        from fsrcache.benchmarks.store import store_not_run

        return store_not_run()
    if subject == "predict":
        from fsrcache.benchmarks.predict import predict_not_run

        return predict_not_run()
    from fsrcache.benchmarks.kernels import not_run

    return not_run(device)
