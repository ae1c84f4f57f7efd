"""PSNR and SSIM of enlarged pictures, measured as super-resolution papers do: on Y, the border shaved."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsrcache.faces.decode import Pictures

_Y = np.array([65.481, 128.553, 24.966]) / 255  # MATLAB's rgb2ycbcr, whose Y begins at 16
_WINDOW, _DEVIATION = 11, 1.5  # of SSIM's Gaussian
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_LEAST_ERROR = 255**2 / 1e10  # mean squared, 100 dB: of equal pictures too


@dataclass(frozen=True)
class Quality:
    """Means over pictures.

    Attributes
    ----------
    psnr
        Peak signal-to-noise ratio in dB, at most 100.
    ssim
        Structural similarity, at most 1.
    """

    psnr: float
    ssim: float


def measurable(side: int, border: int) -> bool:
    """Tell whether enough is left of pictures of a side for SSIM's window."""
    return side - 2 * border >= _WINDOW


def quality(pictures: Pictures, originals: Pictures, *, border: int) -> Quality:
    """Return how near pictures are to their originals.

    Parameters
    ----------
    pictures, originals
        uint8 ``[B, H, W, C]``, C 1 or 3.
    border
        Pixels that are left out on every side: the scale.
    """
    inside = slice(border, -border or None)
    a, b = (luma_of(one)[:, inside, inside] for one in (pictures, originals))
    error = np.square(a - b).mean((1, 2))
    psnr = 10 * np.log10(255**2 / np.maximum(error, _LEAST_ERROR))
    return Quality(float(psnr.mean()), float(_similarity(a, b).mean()))


def luma_of(pictures: Pictures) -> NDArray[np.float64]:
    """Return Y fp64 ``[B, H, W]`` of colours ``[B, H, W, 3]``, rounded as MATLAB's is, and grey as it is."""
    if pictures.shape[3] == 1:
        return pictures[..., 0].astype(np.float64)
    return np.floor(pictures @ _Y + 16.5)


def _similarity(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return SSIM [B, H - 10, W - 10] (Wang et al., 2004) where the window lies inside the pictures."""
    down, across = _gaussian(a.shape[1]), _gaussian(a.shape[2]).T
    mean_a, mean_b = down @ a @ across, down @ b @ across
    variances = down @ (a**2 + b**2) @ across - mean_a**2 - mean_b**2
    covariance = down @ (a * b) @ across - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return np.asarray(luminance * (2 * covariance + _C2) / (variances + _C2))


def _gaussian(side: int) -> NDArray[np.float64]:
    """Return the matrix [side - 10, side] that averages a column in Gaussian windows."""
    weights = np.exp(-0.5 * ((np.arange(_WINDOW) - _WINDOW // 2) / _DEVIATION) ** 2)
    matrix = np.zeros((side - _WINDOW + 1, side))
    for row in range(len(matrix)):
        matrix[row, row : row + _WINDOW] = weights / weights.sum()
    return matrix
