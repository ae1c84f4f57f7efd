"""Mixing samples of a batch: a straight line between log-covariances is a geodesic of the log-Euclidean metric."""

import torch
from torch import Tensor

from fsrcache.training.data.loader import FeatureBatch


def mixed(batch: FeatureBatch, share: float, *, classes: int) -> FeatureBatch:
    """Return a batch of which a share of the samples, chosen at random, is mixed with their neighbours.

    A mixed sample is ``a x + (1 - a) y`` in everything but its scale, with a ~ U[0, 1] drawn for it; the others have
    a = 1. Its labels are shares of the ``classes``, fp32 [B, K]; it is labelled if both samples are. Nothing is waited
    for.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    device, count = batch.labels.device, len(batch.labels)
    own = torch.where(torch.rand(count, device=device) < share, torch.rand(count, device=device), 1.0)

    def mix(values: Tensor) -> Tensor:
        return values.roll(1, 0).lerp(values, own.to(values.dtype).view(-1, *[1] * (values.ndim - 1)))

    return batch._replace(
        lr_features=mix(batch.lr_features),
        hr_features=mix(batch.hr_features),
        lr_early=mix(batch.lr_early),
        hr_embeddings=mix(batch.hr_embeddings),
        lr_probabilities=mix(batch.lr_probabilities),
        hr_probabilities=mix(batch.hr_probabilities),
        labelled=mix(batch.labelled).floor(),
        labels=mix((batch.labels[:, None] == torch.arange(classes, device=device)).to(batch.lr_features.dtype)),
    )
