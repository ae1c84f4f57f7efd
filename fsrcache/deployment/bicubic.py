"""MATLAB's bicubic ``imresize`` inside an ONNX graph: matrices computed from the pictures' sides, the same pixels."""

import torch
from torch import Tensor, nn

from fsrcache.faces.bicubic import ROUNDING, Border


class Resize(nn.Module):
    """Pictures of any size to a square, as ``fsrcache.faces.bicubic.imresize`` to that size, in float64.

    Parameters
    ----------
    side
        Side S of the result in pixels.
    border
        Border of the enlargement. A picture with a side of S pixels or more gets ``replicate``.
    """

    rounding: Tensor

    def __init__(self, side: int, border: Border) -> None:
        super().__init__()
        self.side, self.border = side, border
        self.register_buffer("rounding", torch.tensor(ROUNDING, dtype=torch.float64))  # a literal would become fp32

    def forward(self, pictures: Tensor) -> Tensor:
        """Return whole numbers 0..255 in fp32 ``[N, C, S, S]`` of pictures uint8 ``[N, C, h, w]``."""
        height, width = pictures.shape[2:]
        sides = torch.scalar_tensor(height), torch.scalar_tensor(width)
        mirrored = torch.maximum(*sides) < self.side
        rows, columns = self._matrix(height, mirrored), self._matrix(width, mirrored).mT  # [S, h], [w, S]
        exact = pictures.double()
        rows_first = self._rounded(self._rounded(rows @ exact) @ columns)
        columns_first = self._rounded(rows @ self._rounded(exact @ columns))
        # MATLAB begins with the smaller factor
        return torch.where(sides[0] >= sides[1], rows_first, columns_first).float()

    def _rounded(self, pictures: Tensor) -> Tensor:
        return (pictures + self.rounding).floor().clamp(0, 255)

    def _matrix(self, length: int, mirrored: Tensor) -> Tensor:
        """Return the matrix [S, length] of one pass, as ``fsrcache.faces.bicubic`` computes it."""
        scale = self.side / torch.scalar_tensor(length, dtype=torch.float64)
        widening, reciprocal = scale.clamp(max=1.0), 1.0 / scale
        centre = torch.arange(1, self.side + 1) * reciprocal + 0.5 * (1.0 - reciprocal)  # counted from 1
        reach = torch.arange(4 * length // self.side + 8)  # a tap too many has the weight 0
        taps = (centre - 2.0 / widening).floor()[:, None] + reach  # [S, T]
        weights = _cubic(widening * (centre[:, None] - taps))
        weights = weights / weights.sum(1, keepdim=True)
        source, last = taps.long() - 1, torch.scalar_tensor(length - 1, dtype=torch.int64)
        inside = source.clamp(min=0).minimum(last)
        if self.border == "mirror":
            folded = source % (2 * last + 2)
            inside = torch.where(mirrored, folded.minimum(2 * last + 1 - folded), inside)
        return torch.zeros(self.side, length, dtype=torch.float64).scatter_add(1, inside, weights)


def _cubic(x: Tensor) -> Tensor:
    x = x.abs()
    near = (1.5 * x - 2.5) * x**2 + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return torch.where(x <= 1, near, torch.where(x <= 2, far, 0.0))
