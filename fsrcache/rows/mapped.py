"""The features of a row that turns the store's into others."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.progress import ProgressCallback, counted

_BATCH = 1024  # features at a time


@torch.inference_mode()
def mapped(
    function: Callable[[torch.Tensor], torch.Tensor],
    features: NDArray[np.floating[Any]],
    device: torch.device,
    phase: str,
    on_progress: ProgressCallback,
) -> NDArray[np.floating[Any]]:
    """Return what a function, fp32 [b, P] -> [b, P] on a device, makes of features [n, P], in their precision."""
    out = np.empty_like(features)
    for start in counted(range(0, len(features), _BATCH), phase, "parts", on_progress):
        part = torch.from_numpy(features[start : start + _BATCH]).to(device)
        out[start : start + _BATCH] = function(part.float()).to(part.dtype).cpu().numpy()
    return out
