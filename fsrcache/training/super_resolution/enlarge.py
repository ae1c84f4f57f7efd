"""Small pictures enlarged by a trained super-resolver, as uint8."""

from fractions import Fraction

import numpy as np
import torch
from torch import nn

from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation

_BATCH = 16  # pictures at a time: a Meta-SR sees nine maps for every pixel


@torch.inference_mode()
def enlarge(network: nn.Module, small: Pictures, scale: int, side: int, degradation: Degradation) -> Pictures:
    """Return pictures enlarged to a side; several threads may call it at a time.

    Parameters
    ----------
    network
        The super-resolver, in evaluation mode on its device.
    small
        uint8 ``[B, s, s, C]``, as ``coarse_pictures`` returns them.
    scale, side, degradation
        The scale and the way that they were made coarse, and the side S that they had.

    Returns
    -------
    numpy.ndarray
        uint8 ``[B, S, S, C]``, clamped and rounded.
    """
    device, exact = next(network.parameters()).device, exact_scale(Fraction(scale), side, small.shape[1], degradation)
    parts = []
    for start in range(0, len(small), _BATCH):
        part = torch.from_numpy(small[start : start + _BATCH]).permute(0, 3, 1, 2).to(device, torch.float32)
        enlarged = network(part, exact, side).clamp(0, 255).round().to(torch.uint8)
        parts.append(enlarged.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(parts)


def exact_scale(scale: Fraction, side: int, small: int, degradation: Degradation) -> Fraction:
    """Return the distance between two pixels of a small picture in pixels of the large one: in the size form S / s."""
    return scale if degradation.form == "scale" else Fraction(side, small)
