"""The features of a row that turns the store's into others."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsrcache.evaluation.splits import split_inputs
from fsrcache.models.generators.form import super_resolve
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore

_BATCH = 1024  # features at a time


def generated_features(
    generator: nn.Module,
    store: FeatureStore,
    split: str,
    scale: int,
    *,
    device: torch.device,
    on_progress: ProgressCallback,
) -> NDArray[np.floating[Any]]:
    """Return what a generator on a device makes of a split's features [n, P] at a scale, in their precision."""
    arrays = split_inputs(generator, store, split, scale)
    return mapped(partial(super_resolve, generator), arrays, device, f"{split} at x{scale}", on_progress)


@torch.inference_mode()
def mapped(
    function: Callable[..., torch.Tensor],
    arrays: Sequence[NDArray[np.floating[Any]]],
    device: torch.device,
    phase: str,
    on_progress: ProgressCallback,
) -> NDArray[np.floating[Any]]:
    """Return what a function makes of arrays, in the first one's precision.

    Parameters
    ----------
    function
        Function of fp32 tensors on the device, rows of each array; it returns rows of the first one's width.
    arrays
        Features [n, P], and perhaps others of as many rows.
    device
        Device of the function.
    phase, on_progress
        What is being done, and the callback.
    """
    out = np.empty_like(arrays[0])
    for start in counted(range(0, len(out), _BATCH), phase, "parts", on_progress):
        parts = [torch.from_numpy(array[start : start + _BATCH]).to(device) for array in arrays]
        out[start : start + _BATCH] = function(*(part.float() for part in parts)).to(parts[0].dtype).cpu().numpy()
    return out
