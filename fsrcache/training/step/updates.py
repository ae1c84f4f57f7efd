"""One update of the generator and one of the critic: named terms, and the gradients of what they add up to."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fsrcache.device import computed_precision
from fsrcache.kernels.closed_form_penalty import closed_form_critic
from fsrcache.models.generators.form import super_resolve
from fsrcache.presets import TrainConfig
from fsrcache.spd import unvech, vech
from fsrcache.training.data.loader import FeatureBatch
from fsrcache.training.step.losses import (
    adversarial_loss,
    classification_loss,
    critic_loss,
    distillation_loss,
    l2_loss,
    perceptual_loss,
    sample_weights,
)
from fsrcache.training.step.penalty import gradient_penalty

TERMS = ("critic", "penalty", "adversarial", "perceptual", "l2", "classification", "distillation")


class Networks(NamedTuple):
    """The networks of a step.

    Attributes
    ----------
    generator
        Features [B, P] -> features [B, P]; perhaps of early features [B, Q] too.
    critic
        Pictures [B, 1, D, D] -> scores [B]; None for a training without one.
    head
        The frozen head: features [B, P] -> (embedding [B, E], logits [B, K]), in evaluation mode. It may have a method
        ``logits_of``, embedding -> logits, which spares a pass over full-resolution features.
    """

    generator: nn.Module
    critic: nn.Sequential | None
    head: nn.Module


class Update(NamedTuple):
    """The terms, each [], their gradients by the network's trained weights, and the samples' weights [B]."""

    terms: dict[str, Tensor]
    grads: list[Tensor]
    weights: Tensor


def generate(batch: FeatureBatch, networks: Networks, config: TrainConfig) -> Tensor:
    """Return the generated features of a batch in fp32 or better, vectors or pictures like its coarse ones."""
    with _products(config, batch.lr_features.device):
        features = super_resolve(networks.generator, batch.lr_features, batch.lr_early)
    return features.to(torch.promote_types(features.dtype, torch.float32))


def critic_update(
    batch: FeatureBatch, generated: Tensor, networks: Networks, config: TrainConfig, *, mix: Tensor, plain: bool = False
) -> Update:
    """Return ``critic`` and ``penalty``, which the critic minimises.

    Parameters
    ----------
    batch
        Pairs of features.
    generated
        Result of ``generate`` for them.
    networks
        Networks of the training.
    config
        Settings of the training.
    mix
        fp32 [B], the share of the generated feature in the point where a sample's gradient is penalised.
    plain
        Whether the gradient itself is differentiated.
    """
    critic = networks.critic
    assert critic is not None
    with torch.no_grad():
        weights = _ones(batch)
        if config.reweight_critic:
            weights = _weights(batch, networks.head(_vectors(generated))[1], config)
        hr, sr = _pictures(batch.hr_features), _pictures(generated)
    if plain:
        terms = {
            "critic": critic_loss(critic(hr), critic(sr), weights=weights),
            "penalty": gradient_penalty(
                critic, hr=hr, sr=sr, mix=mix,
                weight=config.penalty_weight, power=config.penalty_power, norm=config.penalty_norm,
            ),
        }  # fmt: skip
        return Update(_detached(terms), _gradients(terms, critic), weights)
    between = hr + mix[:, None, None, None] * (sr - hr)
    closed = closed_form_critic(
        critic, torch.cat([hr, sr]), torch.cat([weights, -weights]) / len(hr), between,
        weight=config.penalty_weight, power=config.penalty_power, columns=config.penalty_norm == "column",
    )  # fmt: skip
    hr_scores, sr_scores = closed.scores.chunk(2)
    terms = {"critic": critic_loss(hr_scores, sr_scores, weights=weights), "penalty": closed.penalty}
    return Update(terms, closed.grads, weights)


def generator_update(
    batch: FeatureBatch, generated: Tensor, networks: Networks, config: TrainConfig, *, l2_alone: bool
) -> Update:
    """Return the weighted terms that the generator minimises, those of weight 0 left out.

    ``generated`` is the result of ``generate`` for the batch with its graph, which is used up.
    """
    terms, weights = generator_terms(batch, generated, networks, config, l2_alone=l2_alone)
    return Update(_detached(terms), _gradients(terms, networks.generator), weights.detach())


def generator_terms(
    batch: FeatureBatch, generated: Tensor, networks: Networks, config: TrainConfig, *, l2_alone: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the generator's terms, to be differentiated, and the samples' weights [B]."""
    sr_features, hr_features = _vectors(generated), _vectors(batch.hr_features)
    if l2_alone:
        loss = l2_loss(sr_features, hr_features, weights=_ones(batch), reduction=config.reduction)
        return {"l2": config.l2_weight * loss}, _ones(batch)
    with _products(config, sr_features.device):
        embeddings, logits = (output.to(sr_features.dtype) for output in networks.head(sr_features))
    weights = _weights(batch, logits, config)
    terms: dict[str, Tensor] = {}
    if networks.critic is not None:
        scores = networks.critic(_pictures(generated))
        terms["adversarial"] = config.adversarial_weight * adversarial_loss(scores, weights=weights)
    if config.perceptual_weight:
        loss = perceptual_loss(embeddings, batch.hr_embeddings, weights=weights, reduction=config.reduction)
        terms["perceptual"] = config.perceptual_weight * loss
    if config.l2_weight:
        loss = l2_loss(sr_features, hr_features, weights=weights, reduction=config.reduction)
        terms["l2"] = config.l2_weight * loss
    if config.classification_weight:
        known = weights * batch.labelled
        loss = classification_loss(logits, batch.labels, weights=known, smoothing=config.label_smoothing)
        terms["classification"] = config.classification_weight * loss
    if config.distillation_weight:
        target = _hr_logits(batch, networks.head, mixed=config.mixing > 0)
        loss = distillation_loss(logits, target, weights=weights)
        terms["distillation"] = config.distillation_weight * loss
    return terms, weights


def _products(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return the context of the products of a pass: bf16 where the settings ask for it and the device computes it."""
    reduced = computed_precision(config.precision, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced, cache_enabled=False)  # captures allow no cache


def _hr_logits(batch: FeatureBatch, head: nn.Module, *, mixed: bool) -> Tensor:
    """Return the head's logits [B, K] at full resolution, from the cached embedding if it has ``logits_of``.

    The embedding of a mixed sample is a mean, and not that of its feature: the head is not linear.
    """
    logits_of = None if mixed else getattr(head, "logits_of", None)
    with torch.no_grad():
        logits: Tensor = head(_vectors(batch.hr_features))[1] if logits_of is None else logits_of(batch.hr_embeddings)
    return logits


def effective_share(weights: Tensor) -> Tensor:
    """Return the share of the samples that would weigh as much if all weighed alike: (Σw)² / (B Σw²), []."""
    return weights.sum().square() / (len(weights) * weights.square().sum())


def _vectors(features: Tensor) -> Tensor:
    return vech(features[:, 0]) if features.ndim == 4 else features


def _pictures(features: Tensor) -> Tensor:
    return features if features.ndim == 4 else unvech(features)[:, None]


def _weights(batch: FeatureBatch, logits: Tensor, config: TrainConfig) -> Tensor:
    """Return the samples' weights [B] by the config's source of p."""
    if config.reweight == "none":
        return _ones(batch)
    if config.reweight == "lr":
        probabilities = batch.lr_probabilities
    elif config.reweight == "hr":
        probabilities = batch.hr_probabilities
    else:
        probabilities = logits.softmax(dim=1)
        if batch.labels.ndim == 2:
            probabilities = (probabilities * batch.labels).sum(dim=1)
        else:
            probabilities = probabilities.gather(1, batch.labels[:, None])[:, 0]
        if config.reweight == "sr":
            probabilities = probabilities.detach()
    return sample_weights(probabilities, sigma=config.sigma, exponent=config.exponent)


def _gradients(terms: dict[str, Tensor], network: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(network.parameters())))


def _detached(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.detach() for name, term in terms.items()}


def _ones(batch: FeatureBatch) -> Tensor:
    return torch.ones_like(batch.lr_probabilities)
