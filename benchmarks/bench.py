"""``fsrcache bench``'s work: the roofs, then one case after another, as records."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import torch
from fsrcache.benchmarks.harness import Case, commit, machine, measure_roofs, run_case
from fsrcache.benchmarks.kernels import kernel_cases, not_run
from fsrcache.benchmarks.step import step_cases
from fsrcache.benchmarks.store import store_cases, store_not_run

SUBJECTS = {"kernels": kernel_cases, "step": step_cases, "store": store_cases}


def bench(
    subject: str, device: torch.device, *, quick: bool, watch: Callable[[list[dict[str, Any]]], None]
) -> dict[str, Any]:
    """Run the cases of ``kernels``, ``step``, ``store`` or ``all``.

    Parameters
    ----------
    subject
        Which.
    device
        Where.
    quick
        Smaller sizes and fewer runs: to see that it works, not how fast.
    watch
        Called with the rows of every case when it is done.

    Returns
    -------
    dict
        ``machine``, ``commit``, ``quick``, ``roofs`` (``gb_per_second`` copied, ``tflop_per_second`` of fp32
        products), ``not_run`` (in words) and ``cases``: ``case``, ``candidate``, ``ms`` with ``ms_p20`` and
        ``ms_p80``, ``alternative``, ``alternative_ms``, ``ratio`` (None without an alternative), ``gb_per_second``,
        ``tflop_per_second``, ``flop_per_byte``, ``share_of_roof``, ``samples_per_second`` (None where not counted),
        ``checked``.

    Raises
    ------
    FsrcacheError
        If a result is not its reference's.
    """
    seconds = 0.02 if quick else 1.0
    roofs = measure_roofs(device, seconds=seconds)
    cases: list[dict[str, Any]] = []
    chosen = SUBJECTS if subject == "all" else {subject: SUBJECTS[subject]}
    yielded: Iterator[Case] = chain.from_iterable(make(device, quick=quick) for make in chosen.values())
    for case in yielded:
        rows = run_case(case, roofs, device, seconds=seconds)
        watch(rows)
        cases += rows
    return {
        "machine": machine(device),
        "commit": commit(),
        "quick": quick,
        "roofs": {"gb_per_second": roofs.bandwidth / 1e9, "tflop_per_second": roofs.rate / 1e12},
        "not_run": [*(not_run(device) if subject != "store" else []), *(store_not_run() if "store" in chosen else [])],
        "cases": cases,
    }
