"""Where tensors live, in which precision products are computed there, and what becomes of memory that is freed."""

import ctypes
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any

import torch

from fsrcache.errors import RequestError
from fsrcache.records import Between, check_value, shortened

_DEVICES = "The device is cpu, cuda, cuda:1 and so on, or auto."
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_Threads = Annotated[int, Between(1, 1024)]


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``auto`` is the GPU if there is one, else the CPU.

    Raises
    ------
    RequestError
        If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str) or re.fullmatch(r"cpu(:0)?|cuda(:[0-9]{1,2})?", name) is None:
        raise RequestError(f"There is no device {shortened(name)} here.", _DEVICES)
    try:
        device = torch.device(name.removesuffix(":0") if name.startswith("cpu") else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"There is no device {name!r} here: {str(error).splitlines()[0].rstrip('.')}.", _DEVICES
        ) from None
    return device


def check_device(device: torch.device) -> None:
    """Raise if something is not a device that is computed on.

    Raises
    ------
    RequestError
        With what it is.
    """
    if not isinstance(device, torch.device) or device.type not in ("cpu", "cuda"):
        raise RequestError(
            f"The device is {shortened(device)}.",
            "It is a torch.device, cpu or cuda: fsrcache.device.pick_device(name).",
        )


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bf16 in hardware; a CPU that does not is some 30 times slower than in fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def computed_precision(wanted: str, device: torch.device) -> str:
    """Return ``bf16`` or ``tf32`` if it is wanted and the device has it in hardware, else ``fp32``."""
    if wanted == "tf32":
        there = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        there = wanted == "bf16" and computes_bf16(device)
    return wanted if there else "fp32"


def torch_threads(device: torch.device) -> int:
    """Return the number of threads that torch computes on, which on a CPU changes the last bits; 0 on a GPU."""
    return torch.get_num_threads() if device.type == "cpu" else 0


def in_words(device: torch.device) -> str:
    """Return what computes: ``cpu (2 threads)``, or ``cuda:0 (NVIDIA H100)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' * (threads > 1)})"


@contextmanager
def with_threads(count: int | None) -> Iterator[None]:
    """Compute on a number of threads, and put back torch's own at the end; None for torch's own.

    Raises
    ------
    RequestError
        If it is below 1, or no number.
    """
    before = torch.get_num_threads()
    if count is not None:
        check_value(_Threads, count, name="threads")
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fp32_precision(*, tf32: bool) -> Iterator[None]:
    """Compute products and convolutions of fp32 tensors in fp32, or on a GPU in TensorFloat-32, which has 10 bits.

    What PyTorch would do otherwise is the caller's setting, and by default a GPU's convolutions are in TensorFloat-32.
    The setting is put back at the end. It is the whole process's: where several threads compute, one context is around
    them all. A CPU computes in fp32 either way. Triton's kernels and autocast are not concerned.
    """
    backends = torch.backends
    gpu: Sequence[Any] = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn  # type: ignore[attr-defined]
    cpu: Sequence[Any] = backends.mkldnn.matmul, backends.mkldnn.conv  # type: ignore[attr-defined]  # a stub's gap
    before = [*_own_precisions(gpu, backends.cudnn), *_own_precisions(cpu, backends.mkldnn)]
    try:
        with _older_names(tf32=tf32):
            for part in (*gpu, *cpu):
                part.fp32_precision = "tf32" if tf32 and part in gpu else "ieee"
            yield
    finally:
        for part, precision in before:
            part.fp32_precision = precision


def _own_precisions(parts: Sequence[Any], backend: Any) -> list[tuple[Any, str]]:
    """Return the precision of each part of a backend; ``none`` where it is the backend's, which it follows."""
    inherited = backend.fp32_precision
    return [(part, "none" if part.fp32_precision == inherited else part.fp32_precision) for part in parts]


@contextmanager
def _older_names(*, tf32: bool) -> Iterator[None]:
    """Set the precision by its older names too, and put them back: where the two differ, reading these is an error."""
    cudnn, backs = torch.backends.cudnn, []
    with warnings.catch_warnings():  # before PyTorch 2.13 these names warn
        warnings.simplefilter("ignore")
        with suppress(RuntimeError):  # they differ by the caller's own doing
            backs.append(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
        with suppress(RuntimeError):
            backs.append(partial(setattr, cudnn, "allow_tf32", cudnn.allow_tf32))
            cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for put_back in backs:
                put_back()


def keep_freed_memory() -> bool:
    """Have this process keep what it frees for what it will need, and tell whether it does: on Linux with glibc.

    There every tensor beyond 32 MB is otherwise mapped anew and given back at once, and the kernel clears each of its
    pages at the first touch: an eighth of a training step of a convolutional network, and more. The heaps that glibc
    makes for further threads are given back whatever it is told, so all threads share the first. It is for a whole
    process, so commands do it, and the library by itself does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    kept = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    return mallopt is not None and all(mallopt(*setting) for setting in kept)
