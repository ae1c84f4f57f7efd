"""The package's compute ops, each with its reference in PyTorch, its gradient and its own checks.

They are custom ops of PyTorch: they work under ``torch.compile``, and the device of the input chooses the kernel.
``closed_form_penalty`` is a function over ops. An op of your own is nothing but a function of tensors; nothing is
registered here. Importing this package loads torch (and Triton, where it is installed) and no other library.
"""

from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool
from fsrcache.kernels.closed_form_penalty import closed_form_penalty
from fsrcache.kernels.covariance_pool import covariance_pool
from fsrcache.kernels.gradient_norm import gradient_norm, penalty_direction
from fsrcache.kernels.log_eig import log_eig
from fsrcache.kernels.log_eig_gemm import log_eig_gemm
from fsrcache.kernels.symmetric_gather import symmetric_gather

__all__ = [
    "bimap_covariance_pool",
    "closed_form_penalty",
    "covariance_pool",
    "gradient_norm",
    "log_eig",
    "log_eig_gemm",
    "penalty_direction",
    "symmetric_gather",
]
