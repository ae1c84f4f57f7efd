"""Without Triton: a CPU has the references, a launch is refused in a sentence."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["triton"] = sys.modules["triton.language"] = None
import torch
from torch import nn
from fsrcache.errors import FsrcacheError
from fsrcache.kernels import *
from fsrcache.kernels.bimap_covariance_pool import launch_bimap_covariance_pool
from fsrcache.kernels.covariance_pool import launch_covariance_pool, launch_covariance_pool_backward
from fsrcache.kernels.gradient_norm import launch_gradient_norm, launch_penalty_direction
from fsrcache.kernels.log_eig_gemm import launch_log_eig_gemm
from fsrcache.kernels.symmetric_gather import launch_symmetric_gather

x, w, cache, rows = torch.randn(2, 4, 9), torch.eye(3, 4), torch.randn(5, 6), torch.tensor([4, 0])
pooled = covariance_pool(x.requires_grad_(), 1e-2)
expected = torch.stack([sample.cov() + 1e-2 * sample.cov().trace() * torch.eye(4) for sample in x])
torch.testing.assert_close(pooled, expected)
torch.autograd.backward(log_eig(pooled, 1e-6).sum() + bimap_covariance_pool(x, w, 1e-2).sum())
assert x.grad.abs().sum() > 0
torch.testing.assert_close(torch.matrix_exp(log_eig_gemm(pooled, 1e-6)), pooled, rtol=1e-3, atol=1e-4)
assert symmetric_gather(cache, rows, None, None, torch.float32)[0, 0, 0, 0] == cache[4, 0]
critic = nn.Sequential(nn.Flatten(), nn.Linear(36, 1))
value, _ = closed_form_penalty(critic, x.detach())
torch.testing.assert_close(value, 2 * gradient_norm(critic[1].weight.detach(), 6.0)[0])

for launch in (
    lambda: launch_covariance_pool(x, 1e-2),
    lambda: launch_covariance_pool_backward(pooled, x, 1e-2),
    lambda: launch_bimap_covariance_pool(x, w, 1e-2),
    lambda: launch_gradient_norm(x, 6.0),
    lambda: launch_penalty_direction(x, 2.0, 6.0),
    lambda: launch_log_eig_gemm(pooled, 1e-4),
    lambda: launch_symmetric_gather(cache, rows, None, None, torch.float32),
):
    try:
        launch()
    except FsrcacheError as error:
        print(error.what)
"""
COMMAND = """
import sys
sys.modules["triton"] = sys.modules["triton.language"] = None
from fsrcache.cli import main
main(sys.argv[1:])
"""


def output(program, *arguments):
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cpu_has_the_references_and_a_launch_is_refused():
    refusals = output(PROGRAM).splitlines()
    assert len(refusals) == 7
    assert set(refusals) == {"The kernels for a GPU are written in Triton, which is not installed here."}


def test_commands_start():
    assert "--epochs" in output(COMMAND, "pretrain", "--help")
    assert "--preset" in output(COMMAND, "train", "--help")
