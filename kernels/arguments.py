"""What the ops accept alike, and how an argument that they refuse is described."""

from math import inf
from numbers import Real
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def described(value: Any) -> str:
    """Return shape and dtype of a tensor, the type of anything else."""
    return f"shape {list(value.shape)}, {value.dtype}" if isinstance(value, Tensor) else f"type {type(value).__name__}"


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, Real) and -inf < float(value) < inf
