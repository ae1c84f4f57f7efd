"""Weights ``[D, C]`` with orthonormal rows (the Stiefel manifold): drawing one and staying on it while training.

A step is ``gradient := tangent(weight, gradient)``, the optimiser's own update without weight decay, then
``weight := retract(weight)``. The retraction is the orthonormal factor of a QR decomposition with a positive diagonal,
done in float64, so that rows stay orthonormal to the rounding of the weight's own type however many steps are taken.
``torch.nn.utils.parametrizations.orthogonal`` is not used: under any weight decay its default map decays to zero.

Source: Absil, Mahony and Sepulchre, "Optimization Algorithms on Matrix Manifolds", 2008, 3.6 and 4.1.
"""

import torch
from torch import Tensor

from fsrcache.kernels.modes import without_autocast


def orthonormal(rows: int, columns: int, *, generator: torch.Generator) -> Tensor:
    """Draw an fp32 matrix [D, C] with orthonormal rows, uniformly; D is at most C."""
    drawn = torch.randn(rows, columns, dtype=torch.float64, generator=generator, device=generator.device)
    return retract(drawn).float()


def retract(weight: Tensor) -> Tensor:
    """Return a matrix with orthonormal rows near to a weight [D, C] of full rank; a NaN stays a NaN."""
    factor, triangle = torch.linalg.qr(weight.detach().double().mT)
    rows: Tensor = (factor * triangle.diagonal().sign()).mT
    return rows.to(weight.dtype).contiguous()


@without_autocast
def tangent(weight: Tensor, gradient: Tensor) -> Tensor:
    """Return the part of a gradient [D, C] along which the rows of the weight [D, C] stay orthonormal."""
    product = gradient @ weight.mT
    return gradient - (product + product.mT) / 2 @ weight
