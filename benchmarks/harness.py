"""Timing that can be trusted: check first, then candidate and alternatives in turn, in one run on one machine.

A case counts the bytes it must move and the operations it must do; with the machine's own copying bandwidth and matrix
rates, measured first, that is its roof: the time below which no program could do it. Everything computes in fp32
unless a case chooses otherwise.
"""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import fsrcache
from fsrcache.device import computed_precision, fp32_precision
from fsrcache.errors import FsrcacheError
from fsrcache.threads import usable_cores

Work = Callable[[], Any]
_SPIN = 400_000  # cycles that a GPU waits before work, about 0.2 ms: meanwhile its launches are queued
_CLEARED = 2**28  # bytes written so that a GPU's L2 holds nothing else, or twice the L2 where that is more
_PACKAGES = ("triton", "numpy", "spd-learn", "zarr", "zarrs", "webdataset", "mosaicml-streaming")


def _same(result: Any) -> Any:
    return result


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to do, by us and by others.

    Attributes
    ----------
    name, candidate
        Name of the case, and of our op that does the work.
    work, reference
        The candidate, and the same in float64: tensors, compared before anything is timed. Without a reference nothing
        is compared, and the rows say so.
    error
        The greatest relative distance (Frobenius) from the reference.
    alternatives
        The same work by others, checked at ten times that distance.
    bytes, flops
        Least bytes that must be moved, and least operations.
    products
        Precision of products on a GPU: fp32, TensorFloat-32, or three in TensorFloat-32 or fp16 for one in fp32.
    samples
        Number of rows or pictures, where their rate is of interest.
    parts
        Share of the work that an alternative does where the whole takes too long; its time is extrapolated.
    clock
        Clock on a GPU: the ``device``'s, for kernels, whose launches are queued before; or the ``host``'s, from one
        idle moment of the device to the next, for work of the host too.
    before
        Function called before every run, outside its time.
    to_tensors
        Function that turns a result into tensors, outside its time.
    """

    name: str
    candidate: str
    work: Work
    reference: Work | None = None
    error: float = 0.0
    alternatives: Mapping[str, Work] = field(default_factory=dict)
    bytes: float = 0.0
    flops: float = 0.0
    products: Literal["fp32", "tf32", "tf32x3", "fp16x3"] = "fp32"
    samples: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    clock: Literal["device", "host"] = "device"
    before: Work | None = None
    to_tensors: Callable[[Any], Any] = _same


@dataclass(frozen=True)
class Roofs:
    """The machine's limits: bytes a second copied, operations a second in a product of large fp32 matrices.

    ``tf32_rate`` and ``fp16_rate`` are those of the same product in TensorFloat-32 and fp16, None where a device does
    not have them.
    """

    bandwidth: float
    rate: float
    tf32_rate: float | None = None
    fp16_rate: float | None = None

    def seconds(self, case: Case) -> float:
        """Return the time below which the case cannot be done."""
        rate, tf32, fp16 = self.rate, self.tf32_rate or 0.0, self.fp16_rate or 0.0
        by_products = {"fp32": rate, "tf32": tf32, "tf32x3": max(rate, tf32 / 3), "fp16x3": max(rate, fp16 / 3)}
        return max(case.bytes / self.bandwidth, case.flops / (by_products[case.products] or rate))


def measure_roofs(device: torch.device, *, seconds: float) -> Roofs:
    """Measure copying (read and write counted) and a product of square fp32 matrices, in every precision it has."""
    size, side = (2**28, 8192) if device.type == "cuda" else (2**26, 2048)
    source, target = torch.rand(size, device=device), torch.empty(size, device=device)
    matrix, product = torch.rand(side, side, device=device), torch.empty(side, side, device=device)
    copied = durations([lambda: target.copy_(source)], device, seconds=seconds)[0]

    def rate(matrix: Tensor, product: Tensor, *, tf32: bool = False) -> float:
        with fp32_precision(tf32=tf32):
            multiplied = durations([lambda: torch.mm(matrix, matrix, out=product)], device, seconds=seconds)[0]
        return 2 * side**3 / statistics.median(multiplied)

    bandwidth, in_fp32 = 2 * source.nbytes / statistics.median(copied), rate(matrix, product)
    if computed_precision("tf32", device) != "tf32":
        return Roofs(bandwidth, in_fp32)
    return Roofs(bandwidth, in_fp32, rate(matrix, product, tf32=True), rate(matrix.half(), product.half()))


def durations(
    works: list[Work],
    device: torch.device,
    *,
    seconds: float,
    before: Work | None = None,
    cold: bool = False,
    clock: Literal["device", "host"] = "device",
) -> list[list[float]]:
    """Return the seconds of every run of each work; they take turns until the time is over, at least five.

    ``cold`` clears a GPU's L2 before every run; otherwise the run before may have left there what the next one reads.
    ``clock`` is that of a ``Case``.
    """
    for work in works if before is None else ():
        work()
        work()
    cleared, on_device = _beyond_l2(device) if cold else None, device.type == "cuda" and clock == "device"
    times: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while time.perf_counter() < end or len(times[0]) < 5:
        for work, runs in zip(works, times, strict=True):
            if before is not None:
                before()
            if cleared is not None:
                cleared.zero_()
            runs.append(_device_seconds(work, device) if on_device else _host_seconds(work, device))
    return times


@fp32_precision(tf32=False)
def run_case(case: Case, roofs: Roofs, device: torch.device, *, seconds: float) -> list[dict[str, Any]]:
    """Check and time a case; return a row for every alternative, or one row without any.

    On a GPU all are timed twice, for half the time each: with a cleared L2, and with what the last run left in it.

    Raises
    ------
    FsrcacheError
        If a result differs from its reference; nothing wrong is timed.
    """
    works = {case.candidate: case.work, **case.alternatives}
    if case.reference is not None:
        _check(case, works, _tensors(case.to_tensors(case.reference())))
    on_gpu = device.type == "cuda"

    def medians(*, cold: bool) -> tuple[dict[str, float], list[float]]:
        """Return the median seconds of each, and all of the candidate's."""
        share, every = seconds / (1 + on_gpu), list(works.values())
        runs = durations(every, device, seconds=share, before=case.before, cold=cold, clock=case.clock)
        each = zip(works, runs, strict=True)
        return {name: statistics.median(times) / case.parts.get(name, 1.0) for name, times in each}, runs[0]

    middle, our_runs = medians(cold=on_gpu)
    warm = medians(cold=False)[0] if on_gpu else {}
    low, *_, high = statistics.quantiles(our_runs, n=5)
    ours, ours_warm = middle[case.candidate], warm.get(case.candidate)
    row = {
        "case": case.name, "candidate": case.candidate, "ms": 1e3 * ours, "ms_p20": 1e3 * low, "ms_p80": 1e3 * high,
        "ms_warm": None if ours_warm is None else 1e3 * ours_warm, "l2": "cold" if on_gpu else None,
        "clock": case.clock if on_gpu else "host",
        "gb_per_second": case.bytes / ours / 1e9 or None, "tflop_per_second": case.flops / ours / 1e12 or None,
        "flop_per_byte": case.flops / case.bytes if case.bytes else None,
        "share_of_roof": roofs.seconds(case) / ours or None, "samples_per_second": case.samples / ours or None,
        "checked": case.reference is not None,
    }  # fmt: skip
    if not case.alternatives:
        return [{**row, "alternative": None, "alternative_ms": None, "ratio": None, "ratio_warm": None}]
    return [
        {**row, "alternative": name, "alternative_ms": 1e3 * middle[name], "ratio": middle[name] / ours,
         "ratio_warm": None if ours_warm is None else warm[name] / ours_warm}
        for name in case.alternatives
    ]  # fmt: skip


def machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, threads, system, device and versions."""
    versions = {
        "python": platform.python_version(), "fsrcache": fsrcache.__version__, "torch": str(torch.__version__)
    }  # fmt: skip
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    record = {
        "processor": _processor(),
        "cores": usable_cores(),
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
        outputs = [
            subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return outputs[0] + ("+" if outputs[1] else "")


def peak_memory() -> int:
    """Return the most bytes that were resident since the program began, on Linux; getrusage counts its parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def compiled(work: Callable[..., Any], *arguments: Any) -> Work:
    """Return the work compiled by ``torch.compile``."""
    function = torch.compile(work, fullgraph=True, dynamic=False)
    return lambda: function(*arguments)


def captured(work: Work, device: torch.device) -> Work:
    """Return a function that replays the work from a CUDA graph; on a CPU the work itself."""
    if device.type != "cuda":
        return work
    side, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(current)  # which may still be making what the work reads
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        result = work()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def _check(case: Case, works: Mapping[str, Work], expected: list[Tensor]) -> None:
    """Raise if a result differs from its reference."""
    for name, work in works.items():
        if case.before is not None:
            case.before()
        distance = _distance(_tensors(case.to_tensors(work())), expected)
        allowed = case.error * (1 if name == case.candidate else 10)
        if not distance <= allowed:
            raise FsrcacheError(
                f"{case.name}: {name} is {distance:.1e} from its reference, more than {allowed:.1e}.",
                "It is not timed. Please report it with `fsrcache bench --json`'s machine and versions.",
            )


def _beyond_l2(device: torch.device) -> Tensor | None:
    """Return a tensor that fills a GPU's L2 when it is written; None for a CPU."""
    if device.type != "cuda":
        return None
    size = max(_CLEARED, 2 * torch.cuda.get_device_properties(device).L2_cache_size)
    return torch.empty(size, dtype=torch.uint8, device=device)


def _host_seconds(work: Work, device: torch.device) -> float:
    """Return the seconds of a run by the host's clock; a GPU is idle before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _device_seconds(work: Work, device: torch.device) -> float:
    """Return the seconds of a run by a GPU's clock, without the launches that fit into ``_SPIN``."""
    with torch.cuda.device(device):
        torch.cuda._sleep(_SPIN)  # type: ignore[no-untyped-call]
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
