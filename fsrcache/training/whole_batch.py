"""Networks on a rank's samples that compute as on the whole batch: what they draw at random, and their batch norms."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fsrcache.training.ranks import Ranks

_DROPOUTS = (functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d)


def whole_batch(ranks: Ranks) -> AbstractContextManager[object]:
    """Return a context in which networks compute on a rank's samples what they would on the whole batch.

    Inside, ``dropout``, of channels too, and ``randn_like`` draw for the whole batch, as one process does from the same
    random state, and give each sample its own; what else a network draws is the same on every rank. ``batch_norm`` has
    the statistics of the whole batch, and the same running ones on every rank. The first dimension is that of the
    samples.
    """
    return nullcontext() if ranks.size == 1 else _WholeBatch(ranks)


class _WholeBatch(TorchFunctionMode):
    """Replaces the functions whose result for a sample depends on the batch."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn_like:
            return self.ranks.share(torch.randn_like(self._ones(args[0]), **kwargs))
        if func in _DROPOUTS:
            return args[0] * self.ranks.share(func(self._ones(args[0]), *args[1:], **kwargs))
        if func is functional.batch_norm and kwargs["training"]:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _ones(self, values: Tensor) -> Tensor:
        """Return ones in the shape that values have over the whole batch."""
        return values.new_ones(self.ranks.size * len(values), *values.shape[1:])

    def _batch_norm(
        self,
        values: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        *,
        weight: Tensor | None,
        bias: Tensor | None,
        training: bool,  # noqa: ARG002  # torch's signature
        momentum: float,
        eps: float,
    ) -> Tensor:
        """Return ``functional.batch_norm`` of values [B, C, ...]."""
        others, shape = [0, *range(2, values.ndim)], (1, -1, *[1] * (values.ndim - 2))
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        mean = self.ranks.mean_with_gradient(wide.mean(others))  # [C]
        centred = wide - mean.view(shape)
        variance = self.ranks.mean_with_gradient(centred.square().mean(others))  # [C]
        count = self.ranks.size * values.numel() // values.shape[1]
        with torch.no_grad():
            if running_mean is not None and running_var is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
        normed = centred * torch.rsqrt(variance + eps).view(shape)
        if weight is not None:
            normed = normed * weight.view(shape)
        if bias is not None:
            normed = normed + bias.view(shape)
        return normed.to(values.dtype)
