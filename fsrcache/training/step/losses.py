"""The terms of generator and critic, each a pure function that returns a mean over the batch.

``w`` are the samples' weights [B]; a term is ``mean_i w_i t_i``.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

Reduction = Literal["sum", "mean"]


def sample_weights(probabilities: Tensor, *, sigma: float, exponent: float) -> Tensor:
    """Return (sigma - p)^r for the probabilities [B] of the true classes (arXiv 2004.02234, section III-D)."""
    return (sigma - probabilities) ** exponent


def critic_loss(hr_scores: Tensor, sr_scores: Tensor, *, weights: Tensor) -> Tensor:
    """Return E[w D(F_hr)] - E[w D(F_sr)] of scores [B] (arXiv 2004.02234, eq. 7, without its penalty)."""
    return (weights * hr_scores).mean() - (weights * sr_scores).mean()


def adversarial_loss(sr_scores: Tensor, *, weights: Tensor) -> Tensor:
    """Return E[w D(F_sr)] of scores [B] (arXiv 2004.02234, eq. 8)."""
    return (weights * sr_scores).mean()


def perceptual_loss(sr_embeddings: Tensor, hr_embeddings: Tensor, *, weights: Tensor, reduction: Reduction) -> Tensor:
    """Return E[w |C(F_sr) - C(F_hr)|^2] of embeddings [B, E], summed or averaged over E."""
    return (weights * _squares(sr_embeddings - hr_embeddings, reduction)).mean()


def l2_loss(sr_features: Tensor, hr_features: Tensor, *, weights: Tensor, reduction: Reduction) -> Tensor:
    """Return E[w |F_sr - F_hr|^2] of vech [B, P], summed or averaged over P; the sum is that over the D x D matrix."""
    return (weights * _squares(sr_features - hr_features, reduction)).mean()


def classification_loss(logits: Tensor, labels: Tensor, *, weights: Tensor, smoothing: float) -> Tensor:
    """Return E[w CE] of the frozen head's logits [B, K] for the true classes int64 [B], or their shares [B, K]."""
    return (weights * cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)).mean()


def distillation_loss(logits: Tensor, hr_logits: Tensor, *, weights: Tensor) -> Tensor:
    """Return E[w KL(P_hr || P_sr)] of the frozen head's logits [B, K] for generated and full-resolution features."""
    divergence = kl_div(logits.log_softmax(dim=1), hr_logits.log_softmax(dim=1), reduction="none", log_target=True)
    return (weights * divergence.sum(dim=1)).mean()


def _squares(difference: Tensor, reduction: Reduction) -> Tensor:
    """Return [B]."""
    squares = torch.square(difference)
    return squares.sum(dim=1) if reduction == "sum" else squares.mean(dim=1)
