"""The dense block of ESRGAN (Wang et al., ECCV Workshops 2018), without the concatenations that bound its speed.

For maps x_0 [B, F, H, W], five convolutions see all maps before them, and the last one's result is the residual:

    x_j = lrelu(Σ_(i<j) W_(j,i) * x_i + b_j),   j = 1..4,        block(x_0) = x_0 + 0.2 (Σ_(i<5) W_(5,i) * x_i + b_5)

with W_(j,i) the slice of layer j's kernel for the channels of x_i. A concatenation copies every map for every later
layer. Here a map is convolved once, when it appears, with its slices of all later layers stacked, and the results are
added to what these layers have so far: the same arithmetic, every map read once.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

_LAYERS = 5
_SLOPE = 0.2  # of the leaky ReLU
_RESIDUAL = 0.2  # share of the result that is added to the input


class DenseBlock(nn.Module):
    """Five convolutions, each on all maps before it: [B, F, H, W] -> the same shape.

    Parameters
    ----------
    filters
        Channels F of the input and the output.
    growth
        Channels that each convolution but the last adds.
    plain
        Whether maps are concatenated, as the block is defined.
    """

    def __init__(self, filters: int, growth: int, *, plain: bool = False) -> None:
        super().__init__()
        outgoing = [growth] * (_LAYERS - 1) + [filters]
        self.layers = nn.ModuleList(
            nn.Conv2d(filters + layer * growth, channels, 3, padding=1) for layer, channels in enumerate(outgoing)
        )
        self.plain = plain

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps with the block's residual added."""
        weights = [self.get_parameter(f"layers.{layer}.weight") for layer in range(_LAYERS)]
        biases = [self.get_parameter(f"layers.{layer}.bias") for layer in range(_LAYERS)]
        residual = concatenating if self.plain else accumulating
        return torch.add(maps, residual(maps, weights, biases=biases), alpha=_RESIDUAL)


def concatenating(maps: Tensor, weights: Sequence[Tensor], *, biases: Sequence[Tensor]) -> Tensor:
    """Return the last layer's result by definition.

    Parameters
    ----------
    maps
        ``[B, F, H, W]``.
    weights, biases
        Kernels ``[out, F + channels added before, 3, 3]`` and biases ``[out]`` of the layers.
    """
    known = [maps]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        known.append(leaky_relu(conv2d(torch.cat(known, 1), weight, bias, padding=1), _SLOPE))
    return conv2d(torch.cat(known, 1), weights[-1], biases[-1], padding=1)


def accumulating(maps: Tensor, weights: Sequence[Tensor], *, biases: Sequence[Tensor]) -> Tensor:
    """Return the same; every map is convolved once, with what all later layers make of it."""
    outgoing = [len(weight) for weight in weights]
    first, bias, sums = 0, torch.cat(list(biases)), None
    for layer in range(len(weights)):
        width = maps.shape[1]
        stacked = torch.cat([weight[:, first : first + width] for weight in weights[layer:]])
        made = conv2d(maps, stacked, bias if sums is None else None, padding=1)
        sums = made if sums is None else made.add_(sums)
        if layer == len(weights) - 1:
            break
        mine, sums = torch.split(sums, [outgoing[layer], sums.shape[1] - outgoing[layer]], 1)
        maps, first = leaky_relu(mine, _SLOPE), first + width
    assert sums is not None
    return sums
