"""The device of a launch, ``on_device_of``, and Triton, or a substitute where it is not installed.

There is no Triton for macOS, and PyTorch installs none on Windows. The kernels' files import ``triton`` and ``tl`` from
here: without Triton they can be imported, a CPU has the references, and a launch is an error.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError

__all__ = ["on_device_of", "tl", "triton"]


class _NoTriton:
    """A substitute for ``triton``, ``triton.language`` and every kernel."""

    constexpr = None  # an annotation

    def jit(self, kernel: object) -> "_NoTriton":  # noqa: ARG002  it is not compiled
        return self

    def _refuse(self, *_: object) -> NoReturn:
        raise FsrcacheError(
            "The kernels for a GPU are written in Triton, which is not installed here.",
            "Install it (pip install triton; on Windows triton-windows), or use the CPU.",
        )

    __getitem__ = cdiv = next_power_of_2 = _refuse


try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = _NoTriton()


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which kernels are launched on a tensor's GPU.

    Triton launches on the current device, whatever device the tensors are on. For a tensor on a CPU, as in Triton's
    interpreter, the context does nothing.
    """
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
