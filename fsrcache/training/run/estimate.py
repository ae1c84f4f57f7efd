"""``train --dry-run``: what a training would take, from counting and from a few measured steps; nothing is written."""

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fsrcache.device import check_device
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.data.stream import STREAM_BYTES
from fsrcache.training.run.build import TrainSetup, build, choose_location, refuse_other_extractor
from fsrcache.training.run.loop import status_steps
from fsrcache.training.step.trainer import Trainer

_UNMEASURED = 4  # first steps, which choose algorithms and capture
_SECONDS = 3.0  # of measuring, at least one step


def estimate(
    store: FeatureStore,
    extractor: Extractor | Path,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int = 0,
    cache: str = "auto",
    plain: bool = False,
    folder: Path | None = None,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Estimate what ``train`` would take with the same arguments; without a folder, what a new run would.

    Returns
    -------
    dict
        ``steps``, ``cache`` and ``cache_reason``; ``parameters`` of every network; ``gmac_per_sample``, billions of
        multiplications with an addition, of each network's pass over one sample and, forward and backward, of a
        ``step`` a sample of the generator's; ``memory`` in bytes, of ``cache``, ``weights``, ``optimiser`` and their
        ``total``; ``measured_steps``, ``steps_per_second``, ``samples_per_second``, and ``seconds`` for all steps.

    Raises
    ------
    FsrcacheError
        As ``train`` does before its first step.
    """
    check_device(device)
    check_value(TrainConfig, config, name="config")
    check_value(Seed, seed, name="seed")
    extractor = open_extractor(extractor)
    refuse_other_extractor(store, extractor)
    place = choose_location(store, cache, device=device, folder=folder)
    on_progress(Progress("measuring", 0, 1, "steps", note=f"Cache: {place.mode} ({place.reason})."))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        built = build(store, extractor, config, place=place, device=device, seed=seed, plain=plain)
        gmac = _gmac_per_sample(built)
        measured, seconds = _measure(built.trainer, config, device)
        built.trainer.batches.close()
    rate = measured / seconds
    return {
        "steps": config.steps,
        "cache": place.mode,
        "cache_reason": place.reason,
        "parameters": {name: _count(module) for name, module in _networks(built.trainer).items()},
        "gmac_per_sample": gmac,
        "memory": _memory(built),
        "measured_steps": measured,
        "steps_per_second": rate,
        "samples_per_second": rate * config.batch * config.generator_steps,
        "seconds": config.steps / rate,
    }


def _networks(trainer: Trainer) -> dict[str, nn.Module]:
    networks: dict[str, nn.Module] = {"generator": trainer.networks.generator, "head": trainer.networks.head}
    if trainer.networks.critic is not None:
        networks["critic"] = trainer.networks.critic
    return networks


def _gmac_per_sample(built: TrainSetup) -> dict[str, float]:
    """Count products: every network's pass over a sample, and a whole step of all."""
    trainer, config = built.trainer, built.trainer.config
    features = built.held_out.features[0, :1].float()
    side = round((2 * features.shape[1] + 0.25) ** 0.5 - 0.5)
    counted: dict[str, float] = {}
    for name, module in _networks(trainer).items():
        entering = features.new_zeros(1, 1, side, side) if name == "critic" else features
        with torch.no_grad():
            counted[name] = _gmac(module.eval(), entering)
    trainer.batches.prepare(config.l2_steps, 1)
    samples = config.batch * config.generator_steps
    counted["step"] = _gmac(trainer.step, config.l2_steps) / samples
    return counted


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


def _gmac(work: Any, argument: Any) -> float:
    with _Counter() as counter:
        work(argument)
    return float(counter.flops / 2e9)


def _measure(trainer: Trainer, config: TrainConfig, device: torch.device) -> tuple[int, float]:
    """Return how many steps were measured, the critic's among them, and in what time."""
    measured, seconds, first = 0, 0.0, config.l2_steps
    for number in range(_UNMEASURED + status_steps(config.steps)):
        began = time.perf_counter()
        trainer.batches.prepare(first + number, 1)
        trainer.step(first + number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= (_UNMEASURED if device.type == "cuda" else 1):
            measured, seconds = measured + 1, seconds + time.perf_counter() - began
        if measured and seconds > _SECONDS:
            break
    return measured, seconds


def _memory(built: TrainSetup) -> dict[str, int]:
    trainer = built.trainer
    batches = trainer.batches
    caches = [batches.near, built.held_out]
    if batches.mode == "ram":
        assert isinstance(batches.source, FeatureCache)
        caches.append(batches.source)
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
