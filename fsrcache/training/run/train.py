"""``train``: teach a generator to turn features of low-resolution faces into those of their full-resolution ones."""

import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fsrcache.device import check_device, computed_precision
from fsrcache.errors import RequestError
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generator import save_generator
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.build import build, choose_location, refuse_other_extractor
from fsrcache.training.run.checkpoint import run_lock
from fsrcache.training.run.loop import run_steps
from fsrcache.training.run.tensorboard import tensorboard_log

LOGS = ("tensorboard",)


def train(
    store: FeatureStore,
    extractor: Extractor | Path,
    config: TrainConfig,
    *,
    folder: Path,
    device: torch.device,
    seed: int = 0,
    cache: str = "auto",
    plain: bool = False,
    log: str | None = None,
    checkpoint_seconds: float | None = None,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Train a generator on the training split without its held-out tenth; the last step is kept, patience aside.

    Parameters
    ----------
    store
        The features.
    extractor
        The extractor that they come from, or its file; its head is the frozen one.
    config
        How it is trained.
    folder
        Where ``generator.safetensors``, the newest two checkpoints and ``history.jsonl`` are kept; a run goes on from
        there.
    device
        Where it is trained.
    seed
        Fixes weights, order, scales and dropout: every step is a function of (seed, step).
    cache
        Where the features lie while it trains: on the ``device`` or in ``ram``, in the same order; in the store, from
        which they ``stream`` in shuffled epochs; or ``auto``, the first of these where they fit. A run goes on in its
        own order: ``auto`` streams one that was begun so, and device and ram may take turns.
    plain
        Whether every part is computed as it is defined: no captured steps, a double backward for the penalty, dense
        blocks that concatenate. The same numbers up to rounding.
    log
        ``tensorboard`` writes events into the folder's ``tensorboard``, weights and norms of gradients among them.
    checkpoint_seconds
        Between two checkpoints at least; None is 30 s, and less where they are cheap.
    on_progress
        Called at every status line.

    Returns
    -------
    dict
        ``steps``, ``resumed_from`` (a step), ``fell_back`` (why not from the newest checkpoint, or empty), ``cache``,
        ``losses`` (means since the status line before), ``held_out_accuracy`` in percent by scale, ``seconds``,
        ``samples_per_second`` and ``data_wait_share`` of this call (None without steps), ``generator`` (its file).

    Raises
    ------
    FsrcacheError
        If the store is of other weights, the folder holds a run of other settings, or one whose features lay in memory
        and do not fit there any more, or belongs to a training under way,
        or a term stops being finite (the message names it and the step; no checkpoint is written after it).
    """
    began = time.perf_counter()
    check_device(device)
    check_value(TrainConfig, config, name="config")
    check_value(Seed, seed, name="seed")
    if log is not None and log not in LOGS:
        raise RequestError(f"There is no log {shortened(log)}.", f"Take {', '.join(LOGS)}.")
    begin_log = None if log is None else tensorboard_log(folder / "tensorboard")
    extractor = open_extractor(extractor)
    refuse_other_extractor(store, extractor)
    place = choose_location(store, cache, device=device, folder=folder)
    on_progress(Progress("reading features", 0, 1, "caches", note=f"Cache: {place.mode} ({place.reason})."))
    trained = {
        "config": asdict(config),
        "seed": seed,
        "store": store.digest,
        "device": device.type,
        "precision": computed_precision(config.precision, device),
        "threads": torch.get_num_threads() if device.type == "cpu" else 0,
        "plain": plain,
    }
    with run_lock(folder), torch.random.fork_rng([device] if device.type == "cuda" else []):
        built = build(
            store, extractor, config, place=place, device=device, seed=seed, plain=plain, measured=log is not None
        )
        trained["order"] = built.order
        with closing(built.trainer.batches):
            ended = run_steps(
                built.trainer, built.held_out, store.scales,
                folder=folder, settings=trained, on_progress=on_progress, log=begin_log,
                checkpoint_seconds=checkpoint_seconds,
            )  # fmt: skip
    state, target = ended.state, folder / "generator.safetensors"
    steps = state.best_step if config.patience else state.step
    save_generator(
        target, built.trainer.kept, length=store.spec.widths["features"], training={**trained, "steps": steps}
    )
    return {
        "steps": state.step,
        "resumed_from": ended.resumed_from,
        "fell_back": ended.fell_back,
        "cache": place.mode,
        "losses": state.losses,
        "held_out_accuracy": state.held_out_accuracy,
        "seconds": time.perf_counter() - began,
        "samples_per_second": ended.samples_per_second,
        "data_wait_share": ended.data_wait_share,
        "generator": str(target),
    }
