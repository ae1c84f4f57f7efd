"""Timing that can be trusted: check first, then candidate and alternatives in turn, in one run on one machine.

A case counts the bytes it must move and the operations it must do; with the machine's own copying bandwidth and matrix
rate, measured first, that is its roof: the time below which no program could do it.
"""

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fsrcache
from fsrcache.errors import FsrcacheError

Work = Callable[[], Any]
_PACKAGES = ("torch", "triton", "numpy", "spd-learn", "zarr", "zarrs", "webdataset", "mosaicml-streaming")


def _same(result: Any) -> Any:
    return result


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to do, by us and by others.

    Attributes
    ----------
    name, candidate
        What is done, and by which of our ops.
    work, reference
        The candidate, and the same in float64: tensors, compared before anything is timed.
    error
        The greatest relative distance (Frobenius) from the reference.
    alternatives
        The same by others; they are checked too, at ten times that distance.
    bytes, flops
        The least that must be moved, and done.
    samples
        Rows or pictures, where their number a second is of interest.
    parts
        What part of the work an alternative does where the whole takes too long; it is reckoned up.
    before
        Called before every run, outside its time.
    shown
        Makes tensors of a result, outside its time.
    """

    name: str
    candidate: str
    work: Work
    reference: Work
    error: float
    alternatives: Mapping[str, Work] = field(default_factory=dict)
    bytes: float = 0.0
    flops: float = 0.0
    samples: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    before: Work | None = None
    shown: Callable[[Any], Any] = _same


@dataclass(frozen=True)
class Roofs:
    """What the machine can do: bytes a second copied, fp32 operations a second in a product of large matrices."""

    bandwidth: float
    rate: float

    def seconds(self, case: Case) -> float:
        """Return the time below which the case cannot be done."""
        return max(case.bytes / self.bandwidth, case.flops / self.rate)


def measure_roofs(device: torch.device, *, seconds: float) -> Roofs:
    """Measure copying (read and write counted) and a product of square fp32 matrices."""
    size, side = (2**28, 8192) if device.type == "cuda" else (2**26, 2048)
    source, target = torch.rand(size, device=device), torch.empty(size, device=device)
    matrix, product = torch.rand(side, side, device=device), torch.empty(side, side, device=device)
    copied = durations([lambda: target.copy_(source)], device, seconds=seconds)[0]
    multiplied = durations([lambda: torch.mm(matrix, matrix, out=product)], device, seconds=seconds)[0]
    return Roofs(2 * source.nbytes / statistics.median(copied), 2 * side**3 / statistics.median(multiplied))


def durations(
    works: list[Work], device: torch.device, *, seconds: float, before: Work | None = None
) -> list[list[float]]:
    """Return the seconds of every run of each work; they take turns, at least five, until the time is over."""
    for work in works if before is None else ():
        work()
        work()
    taken: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while time.perf_counter() < end or len(taken[0]) < 5:
        for work, kept in zip(works, taken, strict=True):
            if before is not None:
                before()
            kept.append(_once(work, device))
    return taken


def run_case(case: Case, roofs: Roofs, device: torch.device, *, seconds: float) -> list[dict[str, Any]]:
    """Check and time a case; return a row for every alternative, or one row without any.

    Raises
    ------
    FsrcacheError
        If a result is not the reference's: nothing wrong is timed.
    """
    expected = _tensors(case.shown(case.reference()))
    works = {case.candidate: case.work, **case.alternatives}
    for name, work in works.items():
        if case.before is not None:
            case.before()
        distance = _distance(_tensors(case.shown(work())), expected)
        allowed = case.error * (1 if name == case.candidate else 10)
        if not distance <= allowed:
            raise FsrcacheError(
                f"{case.name}: {name} is {distance:.1e} from its reference, more than {allowed:.1e}.",
                "It is not timed. Please report it with `fsrcache bench --json`'s machine and versions.",
            )
    times = durations(list(works.values()), device, seconds=seconds, before=case.before)
    taken = dict(zip(works, times, strict=True))
    middle = {name: statistics.median(taken[name]) / case.parts.get(name, 1.0) for name in works}
    low, *_, high = statistics.quantiles(taken[case.candidate], n=5)
    ours = middle[case.candidate]
    row = {
        "case": case.name, "candidate": case.candidate, "ms": 1e3 * ours, "ms_p20": 1e3 * low, "ms_p80": 1e3 * high,
        "gb_per_second": case.bytes / ours / 1e9 or None, "tflop_per_second": case.flops / ours / 1e12 or None,
        "flop_per_byte": case.flops / case.bytes if case.bytes else None,
        "share_of_roof": roofs.seconds(case) / ours or None, "samples_per_second": case.samples / ours or None,
        "checked": True,
    }  # fmt: skip
    if not case.alternatives:
        return [{**row, "alternative": None, "alternative_ms": None, "ratio": None}]
    return [
        {**row, "alternative": name, "alternative_ms": 1e3 * middle[name], "ratio": middle[name] / ours}
        for name in case.alternatives
    ]


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a reader must know of the machine and the software."""
    versions = {"python": platform.python_version(), "fsrcache": fsrcache.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    record = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "device": device.type,
        "versions": versions,
    }
    if device.type == "cuda":
        record["gpu"] = torch.cuda.get_device_name(device)
        record["cuda"] = torch.version.cuda
    return record


def commit() -> str | None:
    """Return the commit of the checkout that the package lies in, with ``+`` where files differ; None elsewhere."""
    folder = Path(__file__).resolve().parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        said = [
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return said[0] + ("+" if said[1] else "")


def peak_memory() -> int:
    """Return the most bytes that were resident since the program began, on Linux; getrusage counts its parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def compiled(work: Callable[..., Any], *arguments: Any) -> Work:
    """Return what does the work by ``torch.compile``."""
    made = torch.compile(work, fullgraph=True, dynamic=False)
    return lambda: made(*arguments)


def captured(work: Work, device: torch.device) -> Work:
    """Return what replays the work from a CUDA graph; on a CPU the work itself."""
    if device.type != "cuda":
        return work
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = work()

    def replay() -> Any:
        graph.replay()
        return kept

    return replay


def _once(work: Work, device: torch.device) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def _tensors(result: Any) -> list[Tensor]:
    """Return the tensors of a result, in order."""
    if isinstance(result, Tensor):
        return [result.detach()]
    return [tensor for part in result for tensor in _tensors(part)]


def _distance(got: list[Tensor], expected: list[Tensor]) -> float:
    """Return the greatest relative distance of any tensor; infinite where one is missing or not finite."""
    if [tensor.shape for tensor in got] != [tensor.shape for tensor in expected]:
        return float("inf")
    worst = 0.0
    for mine, theirs in zip(got, expected, strict=True):
        distance = (mine.double() - theirs.double()).norm() / theirs.double().norm().clamp(min=1e-300)
        worst = max(worst, float(distance)) if bool(distance.isfinite()) else float("inf")
    return worst


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
