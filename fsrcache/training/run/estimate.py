"""``train --dry-run``: what a training would take, from counting and from a few measured steps; nothing is written."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fsrcache.device import check_device
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.files import as_path
from fsrcache.models.generators.form import early_width
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress, note
from fsrcache.records import Seed, check_value
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.data.memory import memory_errors
from fsrcache.training.data.stream import STREAM_BYTES
from fsrcache.training.run.features import TrainFeatures, choose_location, open_features, read_by, store_of_run
from fsrcache.training.run.loop import has_ended, status_steps
from fsrcache.training.run.networks import make_trainer, refuse_impossible_networks
from fsrcache.training.run.settings import refuse_other_settings, run_settings
from fsrcache.training.step.trainer import Trainer

_UNMEASURED = 4  # first steps, which choose algorithms and capture
_SECONDS = 3.0  # of measuring, at least one step


@dataclass(frozen=True)
class TrainEstimate:
    """What a training would take.

    Attributes
    ----------
    steps
        Steps of the whole training.
    cache, cache_reason
        Location of the features, ``device``, ``ram`` or ``stream``, and the reason for it.
    parameters
        Parameters of every network, by name.
    gmac_per_sample
        Billions of multiply-adds for each network's forward pass of one sample, by name; ``step`` is that of a whole
        step, forward and backward, divided by the generator's samples in it.
    memory
        Bytes of ``cache``, ``weights``, ``optimiser`` and their ``total``.
    measured_steps
        Steps that were timed.
    steps_per_second, samples_per_second
        Measured rates of steps and of the generator's samples.
    seconds
        Expected duration of all steps.
    preset, settings
        Preset that the settings began from, empty where there was none, and what differs from it, as ``name=value``.
    """

    steps: int
    cache: str
    cache_reason: str
    parameters: Mapping[str, int]
    gmac_per_sample: Mapping[str, float]
    memory: Mapping[str, int]
    measured_steps: int
    steps_per_second: float
    samples_per_second: float
    seconds: float
    preset: str = ""
    settings: tuple[str, ...] = ()


def estimate_training(
    store: FeatureStore,
    extractor: Extractor | str | PathLike[str],
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int = 0,
    cache: str = "auto",
    scales: Sequence[int] | None = None,
    extra: Sequence[str] | None = None,
    plain: bool = False,
    folder: str | PathLike[str] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> TrainEstimate:
    """Estimate duration and memory of ``train_generator`` with the same arguments; without a folder, of a new run.

    Raises
    ------
    FsrcacheError
        As ``train_generator`` does before its first step.
    """
    check_device(device)
    check_value(TrainConfig, config, name="config")
    check_value(Seed, seed, name="seed")
    folder = None if folder is None else as_path(folder, name="folder")
    extractor = open_extractor(extractor)
    refuse_other_extractor(store, extractor)
    refuse_impossible_networks(config, extractor.form, device=device, plain=plain)
    store = store_of_run(store, folder, scales=scales, extra=extra)
    going_on = None if folder is None or has_ended(folder, config) else folder
    location = choose_location(read_by(store, config), cache, device=device, folder=going_on)
    on_progress(note(f"Cache: {location.mode} ({location.reason})."))
    if folder is not None:
        refuse_other_settings(folder, run_settings(store, config, seed=seed, device=device, plain=plain))
    with memory_errors(config.batch, streams=True), torch.random.fork_rng([device] if device.type == "cuda" else []):
        features = open_features(store, config, location=location, device=device, seed=seed, on_progress=on_progress)
        trainer = make_trainer(features, extractor, config, seed=seed, plain=plain, on_progress=on_progress)
        on_progress(Progress("measuring", 0, int(_SECONDS), "seconds"))
        with closing(trainer.batches):
            gmac = _gmac_per_sample(trainer, extractor)
            measured, seconds = _measure(trainer, config, device)
    rate = measured / seconds
    return TrainEstimate(
        steps=config.steps,
        cache=location.mode,
        cache_reason=location.reason,
        parameters={name: _count(module) for name, module in _networks(trainer).items()},
        gmac_per_sample=gmac,
        memory=_memory(trainer, features),
        measured_steps=measured,
        steps_per_second=rate,
        samples_per_second=rate * config.batch * config.generator_steps,
        seconds=config.steps / rate,
    )


def _networks(trainer: Trainer) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = {"generator": trainer.networks.generator, "head": trainer.networks.head}
    if trainer.networks.critic is not None:
        networks["critic"] = trainer.networks.critic
    return networks


def _gmac_per_sample(trainer: Trainer, extractor: Extractor) -> dict[str, float]:
    """Return the products of every network's forward pass of one sample, and of a whole step."""
    config, form = trainer.config, extractor.form
    device = trainer.batches.chosen.device
    gmac: dict[str, float] = {}
    for name, module in _networks(trainer).items():
        shape = (1, 1, form.side, form.side) if name == "critic" and form.side is not None else (1, form.length)
        early = [torch.zeros(1, width, device=device)] if (width := early_width(module)) else []
        with torch.no_grad():
            gmac[name] = _gmac(module.eval(), torch.zeros(shape, device=device), *early)
    trainer.batches.prepare(config.l2_steps, 1)
    samples = config.batch * config.generator_steps
    gmac["step"] = _gmac(trainer.step, config.l2_steps) / samples
    return gmac


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations by PyTorch's registry; its own counter follows modules too, and fails on a double backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func.overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result


def _gmac(work: Any, *arguments: Any) -> float:
    with _Counter() as counter:
        work(*arguments)
    return float(counter.flops / 2e9)


def _measure(trainer: Trainer, config: TrainConfig, device: torch.device) -> tuple[int, float]:
    """Return the number of measured steps, each with the critic's updates, and their seconds."""
    measured, seconds, first = 0, 0.0, config.l2_steps
    for number in range(_UNMEASURED + status_steps(config.steps)):
        start = time.perf_counter()
        trainer.batches.prepare(first + number, 1)
        trainer.step(first + number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= (_UNMEASURED if device.type == "cuda" else 1):
            measured, seconds = measured + 1, seconds + time.perf_counter() - start
        if measured and seconds > _SECONDS:
            break
    return measured, seconds


def _memory(trainer: Trainer, features: TrainFeatures) -> dict[str, int]:
    batches = trainer.batches
    caches = [batches.near, features.held_out]
    if batches.mode == "ram":
        assert isinstance(features.source, FeatureCache)
        caches.append(features.source)
    cached = sum(tensor.untyped_storage().nbytes() for cache in caches for tensor in cache)
    parts = {
        "cache": cached + (STREAM_BYTES if batches.mode == "stream" else 0),
        "weights": sum(
            tensor.nbytes
            for module in (*trainer.modules.values(), trainer.networks.head)
            for tensor in (*module.parameters(), *module.buffers())
        ),
        "optimiser": sum(
            moment.nbytes
            for optimiser in trainer.optimisers.values()
            for moments in optimiser.state.values()
            for moment in moments.values()
        ),
    }
    return {**parts, "total": sum(parts.values())}


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
