"""Where a kernel is launched: ``on_device_of``."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def on_device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which kernels are launched on a tensor's GPU.

    Triton launches on the current device, whatever device the tensors are on. For a tensor on a CPU, as in Triton's
    interpreter, the context does nothing.
    """
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
