"""MATLAB's bicubic ``imresize`` for batches on a device: the same matrices, the same pixels."""

import torch

from fsrcache.errors import RequestError
from fsrcache.faces.bicubic import ROUNDING, Border, resize_plan


def imresize_tensor(
    pictures: torch.Tensor,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "replicate",
) -> torch.Tensor:
    """Resize uint8 ``[B, C, H, W]`` on its device, as ``imresize`` does a picture.

    The products are float64: fp32 would move pixels whose value is a half. Raises RequestError as ``imresize`` does.
    """
    if not isinstance(pictures, torch.Tensor):
        raise RequestError(f"imresize_tensor expects a tensor, not a {type(pictures).__name__}.", "Use imresize_batch.")
    if pictures.dtype != torch.uint8 or pictures.ndim != 4:
        raise RequestError(f"imresize_tensor expects uint8 [B, C, H, W], not {pictures.dtype} {list(pictures.shape)}.")
    for axis, weights in resize_plan((pictures.shape[2], pictures.shape[3]), scale=scale, size=size, border=border):
        matrix = torch.tensor(weights, device=pictures.device)
        exact = pictures.double()
        product = matrix @ exact if axis == 0 else exact @ matrix.T
        pictures = product.add_(ROUNDING).floor_().clamp_(0, 255).to(torch.uint8)
    return pictures
