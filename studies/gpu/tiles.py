"""The part ``tiles``: each kernel with other compile-time settings, timed against its table's choice.

A candidate that cannot be compiled, or is wrong, is recorded and not timed. To try others, edit ``_CANDIDATES``.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from fsrcache.benchmarks.harness import durations
from studies.gpu.checks import Check, Limited, Setting, distance
from studies.gpu.works import Work, works

Results = Iterator[tuple[str, Any]]
Change = Mapping[str, Any]
_SECONDS = 0.1  # of runs of each

# Changes of a kernel's settings; the others stay as they are.
_CANDIDATES: Mapping[str, list[Change]] = {
    "covariance_pool": [
        {"num_stages": 2}, {"num_stages": 4}, {"BLOCK": 64, "num_warps": 4},
        {"BLOCK": 64, "num_warps": 4, "BLOCK_N": 32},
        {"BLOCK_ROWS": 32}, {"BLOCK_COLUMNS": 32}, {"BLOCK_COLUMNS": 128, "BLOCK_ROWS": 32},
        {"BLOCK_COLUMNS": 256, "BLOCK_ROWS": 16},
    ],
    "covariance_pool backward": [
        {"num_stages": 1}, {"num_stages": 3}, {"BLOCK_K": 16}, {"BLOCK_K": 16, "num_stages": 3},
        {"BLOCK_COLUMNS": 64}, {"num_stages": 3, "BLOCK_COLUMNS": 64},
    ],
    "bimap_covariance_pool": [
        {"num_stages": 2}, {"num_stages": 4}, {"BLOCK_K": 32}, {"maxnreg": 168}, {"maxnreg": 168, "BLOCK_K": 32},
        {"maxnreg": 128}, {"BLOCK_COLUMNS": 64},
    ],
    "log_eig_gemm": [
        {"num_stages": 1}, {"num_stages": 3}, {"BLOCK_K": 32}, {"BLOCK_K": 64}, {"maxnreg": 128}, {"num_warps": 8},
    ],
    "penalty_direction": [{"num_warps": 4}, {"num_warps": 8}, {"num_warps": 32}],
    "symmetric_gather": [
        {"num_warps": 4}, {"TILE": 32}, {"TILE": 32, "num_warps": 4}, {"TILE": 128}, {"num_warps": 16},
    ],
}  # fmt: skip


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks: a kernel's table first, then its candidates."""
    for name, make in works(setting.device, rehearsal=setting.rehearsal).items():
        kernel = max((known for known in _CANDIDATES if name.startswith(known)), key=len)
        candidates = _CANDIDATES[kernel][: 2 if setting.rehearsal else None]
        yield Check(f"{name}, its candidates", partial(_sweep, make, candidates, setting))


def _sweep(make: Any, candidates: list[Change], setting: Setting) -> Results:
    """Time every candidate in turn with the table's choice; yield both, the best one last."""
    work: Work = make()
    expected = work.reference()
    module = import_module(f"fsrcache.kernels.{work.module}")
    yield "the table's choice", Limited(distance(work.result(), expected), work.error)
    best, ratio = "the table's choice", 1.0
    for change in candidates:
        name = ", ".join(f"{key} {value}" for key, value in change.items())
        try:
            with _changed(module, work.settings, change):
                apart = distance(work.result(), expected)
            if not apart <= work.error:
                yield name, f"wrong: {apart:.1e} from its reference"
                continue
            times = _times(module, work, change, setting)
        except Exception as error:  # the next one is tried; a device that is lost ends the part all the same
            yield name, f"refused: {type(error).__name__}: {str(error)[:200]}"
            continue
        yield name, times
        if times["ratio"] > ratio:
            best, ratio = name, times["ratio"]
    yield "best", best
    yield "times as fast as the table's choice", ratio


def _times(module: Any, work: Work, change: Change, setting: Setting) -> dict[str, float]:
    """Return milliseconds of a candidate and of the table's choice, timed in turn with a cleared L2."""

    def changed() -> None:
        with _changed(module, work.settings, change):
            work.launch()

    if setting.rehearsal:  # once each: an interpreter's times say nothing
        runs = [[_seconds(run)] for run in (changed, work.launch)]
    else:
        runs = durations([changed, work.launch], setting.device, seconds=_SECONDS, cold=True)
    ours, tables = (1e3 * statistics.median(times) for times in runs)
    return {"ms": ours, "table's ms": tables, "ratio": tables / ours}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def _changed(module: Any, function: str, change: Change) -> Iterator[None]:
    """Change a module's settings within a block."""
    table = getattr(module, function)
    setattr(module, function, lambda *sizes: {**table(*sizes), **change})
    try:
        yield
    finally:
        setattr(module, function, table)
