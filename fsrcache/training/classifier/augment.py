"""Random changes of pictures: mirrored and moved, every other one turned and enlarged or reduced a little too."""

import numpy as np
import torch
from numpy.typing import NDArray
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
    pixels = random.integers(-config.shift, config.shift, (2, count), endpoint=True)
    if not config.rotation and not config.zoom:
        return _moved(pictures, mirror < 0, pixels)
    shift = pixels * 2 / side
    cosine, sine = np.cos(angle) * factor, np.sin(angle) * factor
    rows = [[cosine * mirror, -sine, shift[0]], [sine * mirror, cosine, shift[1]]]
    matrices = torch.from_numpy(np.moveaxis(np.array(rows), -1, 0)).to(pictures.device, torch.float32)  # [B, 2, 3]
    grid = affine_grid(matrices, list(pictures.shape), align_corners=False)
    # bicubic: a bilinear turn blurs, and an extractor that learns blur was not trained at full resolution alone
    moved = grid_sample(pictures.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return moved.clamp(0, 255)


def _moved(pictures: Tensor, mirrored: NDArray[np.bool_], pixels: NDArray[np.int64]) -> Tensor:
    """Return pictures mirrored [B] and moved by whole pixels [2, B] across and down: the same without interpolation."""
    side = pictures.shape[-1]
    across, down = np.clip(np.arange(side) + pixels[..., None], 0, side - 1)  # [B, S] each
    backwards = np.clip(np.arange(side)[::-1] + pixels[0, :, None], 0, side - 1)
    columns = torch.from_numpy(np.where(mirrored[:, None], backwards, across)).to(pictures.device)
    rows = torch.from_numpy(down).to(pictures.device)
    which = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    moved: Tensor = pictures.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2).float()
