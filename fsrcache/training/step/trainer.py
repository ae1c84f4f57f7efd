"""One training: networks, optimisers, and the step that they take together."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import record_function
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fsrcache.device import fp32_precision
from fsrcache.models.generators.forms import form_of
from fsrcache.presets import TrainConfig
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.loader import FeatureBatch
from fsrcache.training.data.mixing import mixed
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.step.capture import Capturer, Repeated
from fsrcache.training.step.finite import FiniteCheck
from fsrcache.training.step.meters import Meters
from fsrcache.training.step.schedules import halved, one_cycle, set_rate
from fsrcache.training.step.updates import (
    TERMS,
    Networks,
    Update,
    critic_update,
    effective_share,
    generate,
    generator_update,
)
from fsrcache.training.whole_batch import whole_batch

PARTS = ("draw", "critic", "generator", "update")  # of a step, as a profiler names them
MEASURES = ("weights_mean", "weights_effective", "generator_gradient", "critic_gradient")


class Trainer:
    """Networks, optimisers, and the step that updates them.

    Parameters
    ----------
    networks
        Networks on the device.
    batches
        Batches that they learn from.
    config
        Settings of the training.
    plain
        Whether everything is computed as it is defined, by the plain twins of the fast ways.
    capturer
        Way to capture steps; None for eager ones.
    measured
        Whether weights of samples and norms of gradients are counted too.
    ranks
        The processes that share every batch.

    Attributes
    ----------
    modules, optimisers
        State that a checkpoint keeps, by name.
    finite
        First step at which each term was not finite, on the device.
    meters
        Means of terms and measures since they were read, on the device.
    kept
        Generator that is scored and saved: the trained one, or the average of its weights.
    """

    def __init__(
        self,
        networks: Networks,
        batches: Batches,
        config: TrainConfig,
        *,
        plain: bool = False,
        capturer: Capturer | None = None,
        measured: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.networks, self.batches, self.config = networks, batches, config
        self.plain, self.measured, self.ranks = plain, measured, ranks
        device, captured = batches.chosen.device, capturer is not None
        self.modules: dict[str, nn.Module] = {"generator": networks.generator}
        self.optimisers = {"generator_optimiser": _optimiser(networks.generator, config, device, captured=captured)}
        if networks.critic is not None:
            self.modules["critic"] = networks.critic
            self.optimisers["critic_optimiser"] = _optimiser(networks.critic, config, device, captured=captured)
        self.kept = networks.generator
        if config.averaging:
            self.kept = self.modules["averaged"] = copy.deepcopy(networks.generator).requires_grad_(False)
        self.average = get_ema_multi_avg_fn(config.averaging)  # type: ignore[no-untyped-call]
        self.finite = FiniteCheck(TERMS, device)
        self.meters = Meters((*TERMS, *MEASURES), device)
        self.number = torch.zeros((), dtype=torch.int64, device=device)  # of the step
        self.repeated = {l2_alone: Repeated(capturer) for l2_alone in (True, False)}
        self.lr_pictures = form_of(config.generator).pictures and not plain
        self.classes = _classes(networks.head, batches) if config.mixing else 0

    def step(self, step: int) -> None:
        """Do one of the steps that the batches were prepared for."""
        self.batches.begin(step)
        self.number.fill_(step)
        for optimiser in self.optimisers.values():
            set_rate(optimiser, self.rate(step))
        l2_alone = step < self.config.l2_steps
        with fp32_precision(tf32=self.config.precision == "tf32"), whole_batch(self.ranks):
            self.repeated[l2_alone](partial(self._work, l2_alone=l2_alone))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if self.config.schedule == "one_cycle":
            return one_cycle(step, steps=self.config.steps, top=self.config.learning_rate)
        return halved(step, milestones=self.config.milestones, top=self.config.learning_rate)

    def _work(self, *, l2_alone: bool) -> None:
        """Update the critic and then the generator. All inputs lie on the device: this is what is captured.

        The generator's first update uses the critic's last batch and the features that were generated for it, since its
        weights are the same. The plain twin generates anew.
        """
        networks, config, plain = self.networks, self.config, self.plain
        critic_steps = 0 if networks.critic is None else config.critic_steps
        last = max(critic_steps - 1, 0)
        generated: Tensor | None = None
        networks.generator.train()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()  # or the last step's gradients would lie beside this one's
        for number in range(0 if l2_alone else critic_steps):
            batch = self._draw(number, hr_pictures=not plain)
            mix = self.ranks.share(torch.rand(config.batch, device=batch.labels.device))
            with record_function("generator"):
                generated = self._for_critic(batch, again=number == last)
            with record_function("critic"):
                update = critic_update(batch, generated.detach(), networks, config, mix=mix, plain=plain)
            self._update("critic", update)
        for number in range(last, last + config.generator_steps):
            if generated is None or number > last:
                batch, generated = self._draw(number), None
            with record_function("generator"):
                if generated is None or plain:
                    generated = generate(batch, networks, config)
                update = generator_update(batch, generated, networks, config, l2_alone=l2_alone)
            self._update("generator", update)
            if self.measured:
                weights = self.ranks.whole(update.weights)
                self.meters.add({"weights_mean": weights.mean(), "weights_effective": effective_share(weights)})
            if self.config.averaging:
                averaged, weights_now = (list(module.parameters()) for module in (self.kept, self.networks.generator))
                self.average(averaged, weights_now, None)

    @record_function("draw")
    def _draw(self, number: int, *, hr_pictures: bool = False) -> FeatureBatch:
        batch = self.batches.batch(number, lr_pictures=self.lr_pictures, hr_pictures=hr_pictures)
        if self.config.mixing:
            batch = mixed(batch, self.config.mixing, classes=self.classes)
        return FeatureBatch(*map(self.ranks.share, batch))

    def _for_critic(self, batch: FeatureBatch, *, again: bool) -> Tensor:
        """Generate for the critic; ``again`` where the generator's update uses the same features."""
        if not (again and self.plain):
            with torch.set_grad_enabled(again):
                return generate(batch, self.networks, self.config)
        device = batch.labels.device
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):  # the same dropout then
            return generate(batch, self.networks, self.config)

    @record_function("update")
    def _update(self, name: str, update: Update) -> None:
        means = self.ranks.mean([*update.terms.values(), *update.grads])
        terms, gradients = dict(zip(update.terms, means, strict=False)), means[len(update.terms) :]
        self.finite.add(self.number, terms)
        self.meters.add(terms)
        if self.measured:
            self.meters.add({f"{name}_gradient": nn.utils.get_total_norm(gradients)})
        for weight, gradient in zip(self.modules[name].parameters(), gradients, strict=True):
            weight.grad = _as_strided_like(gradient, weight)
        self.optimisers[f"{name}_optimiser"].step()


@torch.no_grad()
def _classes(head: nn.Module, batches: Batches) -> int:
    """Return K, the width of the head's logits."""
    logits: Tensor = head(batches.near.features[0, :1].float())[1]
    return logits.shape[1]


def _as_strided_like(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient in the memory layout of its weight: torch 2.13's fused Adam on a CPU looks at no strides."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


def _optimiser(module: nn.Module, config: TrainConfig, device: torch.device, *, captured: bool) -> Optimizer:
    """Return the optimiser; on a GPU its rate is a tensor there, which a captured step reads anew."""
    rate: float | Tensor = config.learning_rate
    if device.type == "cuda":
        rate = torch.tensor(rate, device=device)
    settings: dict[str, Any] = {"lr": rate, "betas": config.betas, "fused": True, "capturable": captured}
    if config.optimiser == "adamw":
        return AdamW(module.parameters(), weight_decay=config.weight_decay, **settings)
    return Adam(module.parameters(), **settings)
