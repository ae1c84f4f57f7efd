"""Random changes of pictures: mirrored and moved, every other one turned and enlarged or reduced a little too."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from fsrcache.presets import PretrainConfig


def augment(pictures: Tensor, config: PretrainConfig, *, random: np.random.Generator) -> Tensor:
    """Return pictures with random changes.

    Parameters
    ----------
    pictures
        uint8 ``[B, C, S, S]``.
    config
        Largest changes; half of the pictures are only mirrored and moved by whole pixels, and stay sharp.
    random
        Source of the changes.

    Returns
    -------
    Tensor
        fp32 ``[B, C, S, S]``, 0..255; beyond the border the border's pixels are repeated.
    """
    count, side = len(pictures), pictures.shape[-1]
    turned = random.random(count) < 0.5
    angle = np.deg2rad(random.uniform(-config.rotation, config.rotation, count)) * turned
    factor = 1 + random.uniform(-config.zoom, config.zoom, count) * turned
    mirror = np.where(random.random(count) < 0.5, -1.0, 1.0) if config.flip else np.ones(count)
    shift = random.integers(-config.shift, config.shift, (2, count), endpoint=True) * 2 / side
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    rows = [[cosine * mirror, -sine, shift[0]], [sine * mirror, cosine, shift[1]]]
    matrices = torch.from_numpy(np.moveaxis(np.array(rows), -1, 0)).to(pictures.device, torch.float32)  # [B, 2, 3]
    grid = affine_grid(matrices, list(pictures.shape), align_corners=False)
    # bicubic: a bilinear turn blurs, and an extractor that learns blur was not trained at full resolution alone
    moved = grid_sample(pictures.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return moved.clamp(0, 255)
