"""Weights ``[D, C]`` with orthonormal rows (the Stiefel manifold): drawing one and staying on it while training.

A step is ``gradient := tangent(weight, gradient)``, the optimiser's own update without weight decay, then
``weight := retract(weight)``. The retraction is the orthonormal factor of a QR decomposition with a positive diagonal,
done in float64, so that rows stay orthonormal to the rounding of the weight's own type however many steps are taken.
``torch.nn.utils.parametrizations.orthogonal`` is not used: under any weight decay its default map decays to zero.

Source: Absil, Mahony and Sepulchre, "Optimization Algorithms on Matrix Manifolds", 2008, 3.6 and 4.1.
"""

import torch
from torch import Tensor

from fsrcache.errors import RequestError
from fsrcache.kernels.modes import without_autocast


def orthonormal(rows: int, columns: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw an fp32 matrix [D, C] with orthonormal rows, uniformly, on PyTorch's default device.

    It is drawn by ``generator`` on that one's device, by PyTorch's global one on the CPU if there is none, and on the
    device ``meta`` not at all.

    Raises
    ------
    RequestError
        If D is more than C.
    """
    _refuse_more_rows(rows, columns)
    generator, device = generator or torch.default_generator, torch.get_default_device()
    if device.type == "meta":
        return torch.empty(rows, columns, dtype=torch.float32, device=device)
    drawn = torch.randn(rows, columns, dtype=torch.float64, generator=generator, device=generator.device)
    return retract(drawn).float().to(device)


def retract(weight: Tensor) -> Tensor:
    """Return a matrix with orthonormal rows near to a weight [D, C] of full rank; a NaN stays a NaN.

    Raises
    ------
    RequestError
        If D is more than C.
    """
    _refuse_more_rows(*weight.shape)
    factor, triangle = torch.linalg.qr(weight.detach().double().mT)
    rows: Tensor = (factor * triangle.diagonal().sign()).mT
    return rows.to(weight.dtype).contiguous()


def _refuse_more_rows(rows: int, columns: int) -> None:
    if rows > columns:
        raise RequestError(
            f"A matrix of {rows} rows and {columns} columns has no orthonormal rows.",
            "It has at most as many rows as columns.",
        )


@without_autocast
def tangent(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the part of a gradient [D, C] along which the rows of the weight [D, C] stay orthonormal."""
    product = gradient @ weight.mT
    return gradient - (product + product.mT) / 2 @ weight
