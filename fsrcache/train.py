"""``train``: teach a generator to turn features of low-resolution faces into those of their full-resolution ones."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from fsrcache.device import computes_bf16
from fsrcache.errors import FsrcacheError
from fsrcache.models.critic import VGGCritic
from fsrcache.models.extractor import load_extractor
from fsrcache.models.generator import MLPGenerator, generator_record, make_generator, save_generator
from fsrcache.models.weights import file_digest
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.spd import vech_side
from fsrcache.store.reader import FeatureStore
from fsrcache.training.checkpoint import load_checkpoint, refuse_other_run, save_checkpoint
from fsrcache.training.finite import FirstBad
from fsrcache.training.history import append_history, cut_history
from fsrcache.training.loader import FeatureCache, load_cache
from fsrcache.training.schedules import halved, one_cycle, set_rate
from fsrcache.training.steps import TERMS, Networks, critic_terms, generator_terms

_STATUS_LINES = 40  # of a run, at least; the held-out faces are classified at every eighth
_MOST_STEPS = 100  # between two status lines
_CHECKPOINT_SECONDS = 30.0
_HELD_OUT = 512  # faces


def train(
    store: FeatureStore,
    extractor: Path,
    config: TrainConfig,
    *,
    folder: Path,
    device: torch.device,
    seed: int = 0,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Train a generator on the training split without its held-out tenth; the last step is kept.

    Parameters
    ----------
    store
        The features.
    extractor
        The weights' file that they were extracted with; its head is the frozen one.
    config
        How it is trained.
    folder
        Where ``generator.safetensors``, the checkpoint and ``history.jsonl`` are kept; a run goes on from there.
    device
        Where it is trained.
    seed
        Fixes weights, order, scales and dropout: every step is a function of (seed, step).
    watch
        Called at every status line.

    Returns
    -------
    dict
        ``steps``, ``resumed_from`` (a step), ``held_out_accuracy`` in percent by scale, ``seconds`` of this call,
        ``generator`` (its file).

    Raises
    ------
    FsrcacheError
        If the store is of other weights, the folder holds a run of other settings, or a term stops being finite (the
        message names it and the step; no checkpoint is written after it).
    """
    began = time.perf_counter()
    digest = file_digest(extractor) if extractor.is_file() else None
    if digest != store.spec.digests["weights"]:
        raise FsrcacheError(
            f"The store {store.name} was not written with {extractor}.",
            "Extract again into a new workspace, or restore the weights.",
        )
    settings = {
        "config": {**asdict(config), "generator": generator_record(config.generator)},
        "seed": seed,
        "store": store.digest,
        "device": device.type,
        "precision": config.precision if computes_bf16(device) else "fp32",
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
    }
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        run = _Run(store, extractor, config, seed=seed, device=device)
        resumed_from, accuracy = run.train(folder, settings, watch)
    trained = {**settings, "steps": config.steps}
    target = folder / "generator.safetensors"
    save_generator(target, run.networks.generator, length=store.spec.widths["features"], training=trained)
    return {
        "steps": config.steps,
        "resumed_from": resumed_from,
        "held_out_accuracy": accuracy,
        "seconds": time.perf_counter() - began,
        "generator": str(target),
    }


class _Run:
    """Networks, optimisers and data of one training."""

    def __init__(
        self, store: FeatureStore, extractor: Path, config: TrainConfig, *, seed: int, device: torch.device
    ) -> None:
        self.config, self.seed = config, seed
        left_out = store.held_out()
        self.cache = load_cache(store, "train", rows=np.flatnonzero(~left_out), device=device)
        self.held_out = load_cache(store, "train", rows=np.flatnonzero(left_out)[:_HELD_OUT], device=device)
        torch.manual_seed(seed)
        generator = make_generator(config.generator, store.spec.widths["features"])
        critic = (
            None
            if config.critic is None
            else VGGCritic(config.critic, vech_side(store.spec.widths["features"])).to(device)
        )
        if isinstance(generator, MLPGenerator):
            generator.standardise_by(*(moment.cpu() for moment in self.cache.moments()))
        head = load_extractor(extractor).head.requires_grad_(False)
        self.networks = Networks(generator.to(device), critic, head.to(device))
        self.optimisers = {"generator_optimiser": _optimiser(generator, config)}
        self.modules: dict[str, torch.nn.Module] = {"generator": generator}
        if critic is not None:
            self.modules["critic"] = critic
            self.optimisers["critic_optimiser"] = _optimiser(critic, config)
        self.bad = FirstBad(TERMS, device)

    def train(self, folder: Path, settings: dict[str, Any], watch: Watch) -> tuple[int, dict[str, float]]:
        """Run to the last step; return the step that was gone on from and the last accuracy on held-out faces."""
        checkpoint, history, step = folder / "checkpoint.safetensors", folder / "history.jsonl", 0
        accuracy: dict[str, float] = {}
        if checkpoint.exists():
            record = load_checkpoint(checkpoint, modules=self.modules, optimisers=self.optimisers)
            refuse_other_run(checkpoint, record["settings"], settings)
            step, accuracy = record["step"], record["held_out_accuracy"]
        folder.mkdir(parents=True, exist_ok=True)
        cut_history(history, step=step)
        resumed_from, steps = step, self.config.steps
        every = max(1, min(_MOST_STEPS, steps // _STATUS_LINES))
        sums: dict[str, Tensor] = {}
        since = saved = time.perf_counter()
        while True:
            if step > resumed_from and (step % every == 0 or step == steps):
                self.bad.check()
                counted = (step - 1) % every + 1
                terms = {name: float(total) / counted for name, total in sums.items()}
                line: dict[str, Any] = {"step": step, **terms, "learning_rate": self._rate(step - 1)}
                if step % (8 * every) == 0 or step == steps:
                    accuracy = line["held_out_accuracy"] = self._accuracy()
                now = time.perf_counter()
                append_history(history, {**line, "seconds": now - since})
                watch(Progress("training", step, steps, "steps", terms))
                sums, since = {}, now
                if step == steps or now - saved > _CHECKPOINT_SECONDS:
                    record = {"settings": settings, "step": step, "held_out_accuracy": accuracy}
                    save_checkpoint(checkpoint, record, modules=self.modules, optimisers=self.optimisers)
                    saved = time.perf_counter()
            if step == steps:
                return resumed_from, accuracy
            for name, value in self._step(step).items():
                sums[name] = sums[name] + value if name in sums else value
            step += 1

    def _step(self, step: int) -> dict[str, Tensor]:
        """Take the critic's steps and then the generator's; return their terms, still on the device."""
        random = np.random.default_rng([self.seed, step])
        torch.manual_seed(int(random.integers(2**63)))
        said: dict[str, Tensor] = {}
        l2_alone = step < self.config.l2_steps
        self.networks.generator.train()
        if self.networks.critic is not None and not l2_alone:
            for _ in range(self.config.critic_steps):
                batch = self.cache.draw(random, self.config.batch, full_resolution=self.config.full_resolution)
                said |= self._update("critic", critic_terms(batch, self.networks, self.config), step)
        batch = self.cache.draw(random, self.config.batch, full_resolution=self.config.full_resolution)
        terms = generator_terms(batch, self.networks, self.config, l2_alone=l2_alone)
        return said | self._update("generator", terms, step)

    def _update(self, name: str, terms: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        self.bad.see(step, terms)
        optimiser = self.optimisers[f"{name}_optimiser"]
        set_rate(optimiser, self._rate(step))
        optimiser.zero_grad()
        inputs = [weight for weight in self.modules[name].parameters() if weight.requires_grad]
        torch.autograd.backward(torch.stack(list(terms.values())).sum(), inputs=inputs)
        optimiser.step()
        return {key: value.detach() for key, value in terms.items()}

    def _rate(self, step: int) -> float:
        if self.config.schedule == "one_cycle":
            return one_cycle(step, steps=self.config.steps, top=self.config.learning_rate)
        return halved(step, milestones=self.config.milestones, top=self.config.learning_rate)

    @torch.no_grad()
    def _accuracy(self) -> dict[str, float]:
        """Return the share of held-out faces given their class by the frozen head, in percent by scale."""
        self.networks.generator.eval()
        return {str(int(scale)): _right(self.networks, self.held_out, place)
                for place, scale in enumerate(self.held_out.scales)}  # fmt: skip


def _right(networks: Networks, cache: FeatureCache, place: int) -> float:
    logits = networks.head(networks.generator(cache.features[place].float()))[1]
    return 100 * float((logits.argmax(1) == cache.labels).double().mean())


def _optimiser(module: torch.nn.Module, config: TrainConfig) -> Optimizer:
    if config.optimiser == "adamw":
        return AdamW(
            module.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
    return Adam(module.parameters(), config.learning_rate, betas=config.betas, fused=True)
