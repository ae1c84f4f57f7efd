"""vech is an isometry and its own inverse's inverse; rows stay orthonormal."""

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.spd import orthonormal, retract, tangent, unvech, vech, vech_length, vech_side


@pytest.mark.parametrize("side", [1, 2, 7, 64])
def test_vech_is_numpys_triangle_and_keeps_lengths(side):
    matrix = torch.randn(3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = matrix + matrix.mT
    vector = vech(matrix)
    rows, columns = np.triu_indices(side)
    expected = matrix.numpy()[:, rows, columns] * np.where(rows == columns, 1, np.sqrt(2))
    np.testing.assert_allclose(vector, expected, rtol=1e-15)
    torch.testing.assert_close(vector.norm(dim=1), matrix.flatten(1).norm(dim=1))
    torch.testing.assert_close(unvech(vector), matrix)
    assert vech_side(vech_length(side)) == side


def test_lengths_and_shapes_that_cannot_be_are_refused():
    for length in (0, 2, 2081):
        with pytest.raises(FsrcacheError, match=f"{length} numbers"):
            vech_side(length)
    with pytest.raises(FsrcacheError, match=r"\[2, 3\]"):
        vech(torch.zeros(2, 3))


def test_rows_stay_orthonormal_under_adam_for_many_steps():
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(orthonormal(8, 20, generator=generator))
    start, target = weight.detach().clone(), orthonormal(8, 20, generator=generator)
    optimiser = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0)
    for _ in range(300):
        gradient = weight.detach() - target
        weight.grad = tangent(weight.detach(), gradient)
        optimiser.step()
        with torch.no_grad():
            weight.copy_(retract(weight))
    assert (weight @ weight.mT - torch.eye(8)).abs().max() < 1e-6
    assert (weight - target).norm() < 0.1 * (start - target).norm()  # and it went somewhere


def test_a_tangent_keeps_orthonormality_to_first_order():
    generator = torch.Generator().manual_seed(0)
    weight = orthonormal(4, 9, generator=generator).double()
    direction = tangent(weight, torch.randn(4, 9, dtype=torch.float64, generator=generator))
    moved = weight @ direction.mT + direction @ weight.mT  # the derivative of W W^T along it
    assert moved.abs().max() < 1e-6
