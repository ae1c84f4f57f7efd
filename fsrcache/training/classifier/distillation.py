"""The loss of an extractor that learns on coarse faces what its frozen self says about the same faces in full."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fsrcache.errors import RequestError
from fsrcache.extractors.extractor import Extractor, Taps
from fsrcache.records import Between, check_fields
from fsrcache.training.ranks import ALONE, Ranks

_Weight = Annotated[float, Between(0, 1e6)]


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The weights of the loss's terms.

    Attributes
    ----------
    label_weight
        Weight of the cross-entropy with the labels; with 0 no label is looked at.
    logits_weight
        Weight of the divergence of the probabilities from those at full resolution.
    embedding_weight
        Weight of the squared distance from the embedding at full resolution, as a share of that one's square.
    """

    label_weight: _Weight = 1.0
    logits_weight: _Weight = 1.0
    embedding_weight: _Weight = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.logits_weight and not self.embedding_weight:
            raise RequestError(
                "Distillation has weights of 0 for logits and embedding.",
                "Set one of them above 0: without both it is fine-tuning.",
            )


def distillation_loss(
    weights: Distillation, *, label_smoothing: float, ranks: Ranks = ALONE
) -> Callable[[Taps, Taps, Tensor], Tensor]:
    """Return the loss of (outputs, outputs of the frozen extractor at full resolution, labels int64 [B]).

    Its mean over ``ranks`` is that of the whole batch.
    """

    def loss(taps: Taps, fine: Taps, labels: Tensor) -> Tensor:
        wanted, said = log_softmax(fine.logits, 1), log_softmax(taps.logits, 1)
        total = weights.logits_weight * kl_div(said, wanted, log_target=True, reduction="batchmean")
        distance = (taps.embedding - fine.embedding).square().mean()
        (square,) = ranks.mean([fine.embedding.square().mean()])
        total = total + weights.embedding_weight * distance / square.clamp(min=1e-12)
        if weights.label_weight:
            total = total + weights.label_weight * cross_entropy(taps.logits, labels, label_smoothing=label_smoothing)
        return total

    return loss


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen extractor at full resolution, in evaluation mode, and the loss of whoever learns from it."""

    extractor: Extractor
    loss: Callable[[Taps, Taps, Tensor], Tensor]

    @torch.no_grad()
    def outputs(self, pictures: Tensor) -> Taps:
        """Return the outputs for pictures fp32 [B, C, S, S], 0..255."""
        return self.extractor.embed(pictures)
