"""The package's compute ops, each with its reference in PyTorch, its gradient and its own checks.

They are ops of ``torch.library``: they work under ``torch.compile`` and are chosen by the device of their input. Their
arguments are positional.
"""

from fsrcache.kernels.covariance_pool import bimap_covariance_pool, covariance_pool
from fsrcache.kernels.log_eig import log_eig

__all__ = ["bimap_covariance_pool", "covariance_pool", "log_eig"]
