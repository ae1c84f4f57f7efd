"""One step of the generator and one of the critic: named terms, and what they add up to."""

from typing import NamedTuple

import torch
from torch import Tensor

from fsrcache.device import computes_bf16
from fsrcache.models.critic import VGGCritic
from fsrcache.models.extractor import Head
from fsrcache.models.generator import MLPGenerator, RRDBGenerator
from fsrcache.presets import TrainConfig
from fsrcache.spd import unvech
from fsrcache.training.loader import FeatureBatch
from fsrcache.training.losses import (
    adversarial_loss,
    classification_loss,
    critic_loss,
    l2_loss,
    perceptual_loss,
    sample_weights,
)
from fsrcache.training.penalty import gradient_penalty

TERMS = ("critic", "penalty", "adversarial", "perceptual", "l2", "classification")


class Networks(NamedTuple):
    """What a step needs: the generator, the critic if there is one, and the frozen head."""

    generator: RRDBGenerator | MLPGenerator
    critic: VGGCritic | None
    head: Head


def critic_terms(batch: FeatureBatch, networks: Networks, config: TrainConfig) -> dict[str, Tensor]:
    """Return the terms that the critic minimises: ``critic`` and ``penalty``."""
    assert networks.critic is not None
    with torch.no_grad():
        sr_features = _generate(batch, networks, config)
        weights = _weights(batch, networks.head(sr_features)[1], config) if config.reweight_critic else _ones(batch)
    hr, sr = unvech(batch.hr_features)[:, None], unvech(sr_features)[:, None]
    mix = torch.rand(len(hr), device=hr.device)
    return {
        "critic": critic_loss(networks.critic(hr), networks.critic(sr), weights=weights),
        "penalty": gradient_penalty(
            networks.critic, hr=hr, sr=sr, mix=mix,
            weight=config.penalty_weight, power=config.penalty_power, norm=config.penalty_norm,
        ),
    }  # fmt: skip


def generator_terms(
    batch: FeatureBatch, networks: Networks, config: TrainConfig, *, l2_alone: bool
) -> dict[str, Tensor]:
    """Return the weighted terms that the generator minimises; those of weight 0 are left out."""
    sr_features = _generate(batch, networks, config)
    if l2_alone:
        loss = l2_loss(sr_features, batch.hr_features, weights=_ones(batch), reduction=config.reduction)
        return {"l2": config.l2_weight * loss}
    embeddings, logits = networks.head(sr_features)
    weights = _weights(batch, logits, config)
    terms: dict[str, Tensor] = {}
    if networks.critic is not None and config.adversarial_weight:
        scores = networks.critic(unvech(sr_features)[:, None])
        terms["adversarial"] = config.adversarial_weight * adversarial_loss(scores, weights=weights)
    if config.perceptual_weight:
        loss = perceptual_loss(embeddings, batch.hr_embeddings, weights=weights, reduction=config.reduction)
        terms["perceptual"] = config.perceptual_weight * loss
    if config.l2_weight:
        loss = l2_loss(sr_features, batch.hr_features, weights=weights, reduction=config.reduction)
        terms["l2"] = config.l2_weight * loss
    if config.classification_weight:
        loss = classification_loss(logits, batch.labels, weights=weights, smoothing=config.label_smoothing)
        terms["classification"] = config.classification_weight * loss
    return terms


def _generate(batch: FeatureBatch, networks: Networks, config: TrainConfig) -> Tensor:
    """Return the generated features, fp32 [B, P]."""
    device = batch.lr_features.device
    reduced = config.precision == "bf16" and computes_bf16(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
        features: Tensor = networks.generator(batch.lr_features)
    return features.float()


def _weights(batch: FeatureBatch, logits: Tensor, config: TrainConfig) -> Tensor:
    """Return the samples' weights [B], p from where the config says."""
    if config.reweight == "none":
        return _ones(batch)
    if config.reweight == "lr":
        probabilities = batch.lr_probabilities
    elif config.reweight == "hr":
        probabilities = batch.hr_probabilities
    else:
        probabilities = logits.softmax(dim=1).gather(1, batch.labels[:, None])[:, 0]
        if config.reweight == "sr":
            probabilities = probabilities.detach()
    return sample_weights(probabilities, sigma=config.sigma, exponent=config.exponent)


def _ones(batch: FeatureBatch) -> Tensor:
    return torch.ones_like(batch.lr_probabilities)
