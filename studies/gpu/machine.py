"""The part ``machine``: versions, driver, and the roofs: bytes copied, products in each precision."""

import shutil
import statistics
import subprocess
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from fsrcache.benchmarks.harness import commit, durations, machine, measure_roofs
from fsrcache.memory import free_memory
from studies.gpu.checks import Check, NotRunError, Setting

_QUERY = (
    "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu,memory.total"
)


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    yield Check("versions", partial(_versions, setting))
    yield Check("nvidia-smi", _driver)
    yield Check("properties", partial(_properties, setting))
    yield Check("roofs", partial(_roofs, setting))


def _versions(setting: Setting) -> Iterator[tuple[str, Any]]:
    yield from machine(setting.device).items()
    yield "commit", commit()
    yield "memory", free_memory()


def _driver() -> Iterator[tuple[str, Any]]:
    """Query the driver; nothing is changed."""
    if shutil.which("nvidia-smi") is None:
        raise NotRunError("There is no nvidia-smi on the PATH.")
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    for number, line in enumerate(completed.stdout.strip().splitlines()):
        yield f"GPU {number}", dict(zip(_QUERY.split(","), line.split(", "), strict=True))


def _properties(setting: Setting) -> Iterator[tuple[str, Any]]:
    if setting.device.type != "cuda":
        raise NotRunError("There is no GPU.")
    properties = torch.cuda.get_device_properties(setting.device)
    for name in ("major", "minor", "multi_processor_count", "L2_cache_size", "shared_memory_per_multiprocessor",
                 "total_memory"):  # fmt: skip
        yield name, getattr(properties, name, None)
    yield "free and total memory", torch.cuda.mem_get_info(setting.device)
    yield "devices", torch.cuda.device_count()


def _roofs(setting: Setting) -> Iterator[tuple[str, Any]]:
    seconds = 0.02 if setting.rehearsal else 0.5
    roofs = measure_roofs(setting.device, seconds=seconds)
    yield "GB/s copied", roofs.bandwidth / 1e9
    yield "fp32 TFLOP/s", roofs.rate / 1e12
    yield "TF32 TFLOP/s", None if roofs.tf32_rate is None else roofs.tf32_rate / 1e12
    yield "fp16 TFLOP/s", None if roofs.fp16_rate is None else roofs.fp16_rate / 1e12
    side = 256 if setting.rehearsal else 8192
    matrix = torch.randn(side, side, device=setting.device, dtype=torch.bfloat16)
    times = durations([lambda: matrix @ matrix], setting.device, seconds=seconds)[0]
    yield "bf16 TFLOP/s", 2 * side**3 / statistics.median(times) / 1e12
