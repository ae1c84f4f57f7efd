"""Forms of generator and critic beside the library's, which ``studies.variants`` compares with them.

All generators return their input at the beginning and work on the standardised feature, as ``MLPGenerator`` does.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fsrcache.extractors.covpool import Head, load_covpool
from fsrcache.kernels.closed_form_penalty import closed_form_critic
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.mlp import MLPGenerator
from fsrcache.presets import MLPConfig, TrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.spd import unvech, vech, vech_side
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.loader import FeatureCache, load_cache
from fsrcache.training.run.loop import score
from fsrcache.training.step.losses import adversarial_loss, critic_loss
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import Networks, Update, generate, generator_terms

_CPU = torch.device("cpu")
_AHEAD = 100  # steps whose batches are drawn together
_BIMAPS, _MAPPED = 16, 32  # number of BiMaps, and the side that they map to
_TOKEN, _LAYERS, _HEADS = 96, 2, 4  # width, layers and heads of the attention
_CRITIC_WIDTH = 256  # hidden width of the critic of embeddings


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _triangle(length: int) -> FeatureForm:
    return FeatureForm(length, vech_side(length))


class _Residual(MLPGenerator):
    """An ``MLPGenerator`` with another network in it, vech [B, P] to vech [B, P]."""

    def __init__(self, length: int, network: nn.Module) -> None:
        nn.Module.__init__(self)
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("deviation", torch.ones(length))
        self.network = network

    def forward(self, features: Tensor, early: Tensor | None = None) -> Tensor:  # noqa: ARG002  # it reads none
        residual: Tensor = self.network((features - self.mean) / self.deviation)
        return features + residual * self.deviation


class _BiMap(nn.Module):
    """A residual of 16 BiMaps down to 32 x 32, a GELU, and as many back: ``sum_k W_k' GELU(V_k F V_k' + b_k) W_k``."""

    def __init__(self, length: int) -> None:
        super().__init__()
        side = vech_side(length)
        self.down = nn.Parameter(torch.randn(_BIMAPS, _MAPPED, side) / side**0.5)
        self.shift = nn.Parameter(torch.zeros(_BIMAPS, _MAPPED, _MAPPED))
        self.up = nn.Parameter(torch.randn(_BIMAPS, _MAPPED, side) / _MAPPED**0.5)
        self.share = nn.Parameter(torch.zeros(_BIMAPS, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        mapped = self.down @ unvech(features)[:, None] @ self.down.mT  # [B, 16, 32, 32]
        maps = nn.functional.gelu(mapped + (self.shift + self.shift.mT) / 2)
        return vech((self.up.mT @ maps @ self.up * self.share).sum(1))


class _Rows(nn.Module):
    """Attention over the rows of the matrix as tokens of width 96, two layers of four heads; made symmetric again."""

    def __init__(self, length: int) -> None:
        super().__init__()
        side = vech_side(length)
        self.first = nn.Linear(side, _TOKEN)
        self.position = nn.Parameter(torch.randn(side, _TOKEN) / 10)
        layer = nn.TransformerEncoderLayer(_TOKEN, _HEADS, 4 * _TOKEN, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.last = nn.Sequential(nn.LayerNorm(_TOKEN), _zero(nn.Linear(_TOKEN, side)))

    def forward(self, features: Tensor) -> Tensor:
        rows = self.last(self.layers(self.first(unvech(features)) + self.position))
        return vech((rows + rows.mT) / 2)


class _WithScale(MLPGenerator):
    """The MLP with one more input column a scale behind the feature, which it returns unchanged."""

    def __init__(self, length: int, scales: int) -> None:
        super().__init__(MLPConfig(), _triangle(length))
        self.scales = scales
        self.register_buffer("mean", torch.zeros(length + scales))
        self.register_buffer("deviation", torch.ones(length + scales))
        cast(nn.Sequential, self.members[0])[0] = nn.Linear(length + scales, self.config.width)

    def forward(self, features: Tensor, early: Tensor | None = None) -> Tensor:  # noqa: ARG002  # it reads none
        residual = self.members[0]((features - self.mean) / self.deviation)
        return features + nn.functional.pad(residual, (0, self.scales)) * self.deviation


class _Front(nn.Module):
    """The frozen head on the first columns."""

    def __init__(self, head: Head, length: int) -> None:
        super().__init__()
        self.head, self.length = head, length

    def logits_of(self, embedding: Tensor) -> Any:
        return self.head.logits_of(embedding)

    def forward(self, features: Tensor) -> Any:
        return self.head(features[:, : self.length])


class _OnEmbeddings(Trainer):
    """A trainer with WGAN-div between the frozen head's embeddings of generated and of fine features."""

    weight = 1.0  # of the generator's term

    def _work(self, *, l2_alone: bool) -> None:
        config, (generator, critic, head) = self.config, self.networks
        assert critic is not None
        generator.train()
        batch = self._draw(0)
        generated = generate(batch, self.networks, config)
        embeddings = head(generated)[0]
        hr, sr = batch.hr_embeddings, embeddings.detach()
        share, even = torch.rand(len(hr), 1), torch.full((len(hr),), 1 / len(hr))
        result = closed_form_critic(
            critic, torch.cat([hr, sr]), torch.cat([even, -even]), hr + share * (sr - hr),
            weight=config.penalty_weight, power=config.penalty_power,
        )  # fmt: skip
        loss = critic_loss(*result.scores.chunk(2), weights=torch.ones_like(even))
        self._update("critic", Update({"critic": loss, "penalty": result.penalty}, result.grads, even))
        terms, weights = generator_terms(
            batch, generated, self.networks._replace(critic=None), config, l2_alone=l2_alone
        )
        terms["adversarial"] = self.weight * adversarial_loss(critic(embeddings), weights=weights)
        grads = torch.autograd.grad(torch.stack(list(terms.values())).sum(), list(generator.parameters()))
        self._update("generator", Update({name: term.detach() for name, term in terms.items()}, list(grads), weights))


def _embedding_critic(width: int) -> nn.Sequential:
    """Return a critic of embeddings, [B, width] to [B]."""
    layers: list[nn.Module] = [nn.Linear(width, _CRITIC_WIDTH), nn.LeakyReLU(0.2)]
    layers += [nn.Linear(_CRITIC_WIDTH, _CRITIC_WIDTH), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(_CRITIC_WIDTH, 1), nn.Flatten(0))


# a critic on embeddings, and the weight of its term
ON_EMBEDDINGS = {f"critic on embeddings, weight {weight:g}": weight for weight in (0.01, 0.1, 1.0)}
# a function of P and the number of scales that makes the generator
FORMS: Mapping[str, Callable[[int, int], MLPGenerator]] = {
    "generator of BiMaps": lambda length, _: _Residual(length, _BiMap(length)),
    "generator with attention over rows": lambda length, _: _Residual(length, _Rows(length)),
    "generator told the scale": _WithScale,
    **dict.fromkeys(ON_EMBEDDINGS, lambda length, _: MLPGenerator(MLPConfig(), _triangle(length))),
}


def train_form(
    name: str,
    store: FeatureStore,
    extractor: Path,
    config: TrainConfig,
    *,
    seed: int,
    on_progress: ProgressCallback = no_progress,
) -> tuple[Callable[[FeatureCache], dict[str, float]], float]:
    """Train a form, which reads no early features.

    Returns
    -------
    tuple
        A function that scores it on a cache, as ``score`` does, and the seconds of its steps.
    """
    store = store.without_early()
    length, scales = store.spec.widths["features"], len(store.scales)
    rows = np.flatnonzero(~store.held_out())
    torch.manual_seed(seed)
    generator = FORMS[name](length, scales)
    cache = load_cache(store, "train", rows=rows, device=_CPU)
    frozen = load_covpool(extractor).head.requires_grad_(False)
    head: nn.Module = frozen
    with_scale = isinstance(generator, _WithScale)
    if with_scale:
        cache, head = _with_scales(cache), _Front(frozen, length)
    generator.standardise_by(*cache.moments())
    batches = Batches(cache, config, mode="ram", seed=seed, device=_CPU, ahead=_AHEAD)
    networks, kind = Networks(generator, None, head), Trainer
    if name in ON_EMBEDDINGS:
        critic = _embedding_critic(store.spec.widths["embeddings"])
        networks, kind = networks._replace(critic=critic), _OnEmbeddings
    trainer = kind(networks, batches, replace(config, critic=None))
    if isinstance(trainer, _OnEmbeddings):
        trainer.weight = ON_EMBEDDINGS[name]
    start = time.perf_counter()
    for step in range(config.steps):
        if step % _AHEAD == 0:
            batches.prepare(step, min(_AHEAD, config.steps - step))
            on_progress(Progress("training", step, config.steps, "steps"))
        trainer.step(step)
    trainer.finite.check()
    seconds = time.perf_counter() - start
    return lambda cache: score(generator, head, _with_scales(cache) if with_scale else cache, store.scales), seconds


def _with_scales(cache: FeatureCache) -> FeatureCache:
    """Return a cache with one more column a scale behind the features: 1 at their own scale, else 0."""
    scales, rows = cache.shape
    columns = torch.eye(scales, dtype=torch.float16)[:, None].expand(-1, rows, -1)
    return cache._replace(features=torch.cat([cache.features, columns], 2))
