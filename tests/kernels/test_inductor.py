"""An op in a function that Inductor compiles, where there is a C++ compiler."""

import shutil

import pytest
import torch

from fsrcache.kernels import bimap_covariance_pool, log_eig


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # Inductor's own
def test_inductor():
    x = torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    w = torch.eye(4, 8)

    def feature(x):
        return log_eig(bimap_covariance_pool(x.relu(), w, 1e-4), 1e-4).sin()

    got, expected = torch.compile(feature, fullgraph=True)(x), feature(x)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value.sum(), x)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)
