"""``train``: teach a generator to turn features of low-resolution faces into those of their full-resolution ones."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from os import PathLike

import torch

from fsrcache.device import check_device
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.files import as_path
from fsrcache.models.generators.form import early_width
from fsrcache.models.generators.forms import save_generator
from fsrcache.presets import TrainConfig
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import Seed, check_value
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.memory import memory_errors
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.ended import ended_run, training_of
from fsrcache.training.run.features import (
    TrainFeatures,
    choose_location,
    held_out_parts,
    open_features,
    read_by,
    store_of_run,
)
from fsrcache.training.run.folder import held_folder
from fsrcache.training.run.loop import has_ended, run_steps
from fsrcache.training.run.networks import make_trainer, refuse_impossible_networks
from fsrcache.training.run.settings import refuse_other_settings, run_settings
from fsrcache.training.run.spent import keep_with_weights
from fsrcache.training.run.trackers import Trackers


@dataclass(frozen=True)
class TrainResult:
    """What a training did in one call.

    Attributes
    ----------
    steps
        Number of steps since the beginning of the run.
    resumed_from
        Step of the checkpoint that the call went on from; 0 for a new run.
    fell_back
        Reason why the newest checkpoint was not used; empty if it was.
    cache
        Location of the features: ``device``, ``ram`` or ``stream``.
    losses
        Means of the loss terms since the status line before the last one, by name.
    held_out_accuracy
        Accuracy of the frozen head on all held-out faces in percent, by scale, with the weights that are kept.
    seconds
        Duration of this call.
    samples_per_second, data_wait_share
        Samples of the generator a second in this call, and the share of its time spent on batches; None without steps.
    generator
        Path of the generator's file.
    seed
        Random seed.
    name
        Name of the run in its workspace; empty outside one.
    preset, settings
        Preset that the settings began from, empty where there was none, and what differs from it, as ``name=value``.
    earlier_threads
        Numbers of threads before the run went on under another; then it does not end in the bytes of an uninterrupted
        one. Empty where it did not.
    """

    steps: int
    resumed_from: int
    fell_back: str
    cache: str
    losses: Mapping[str, float]
    held_out_accuracy: Mapping[str, float]
    seconds: float
    samples_per_second: float | None
    data_wait_share: float | None
    generator: str
    seed: int
    name: str = ""
    preset: str = ""
    settings: tuple[str, ...] = ()
    earlier_threads: tuple[int, ...] = ()


def train_generator(
    store: FeatureStore,
    extractor: Extractor | str | PathLike[str],
    config: TrainConfig,
    *,
    folder: str | PathLike[str],
    device: torch.device,
    seed: int = 0,
    cache: str = "auto",
    features: TrainFeatures | None = None,
    scales: Sequence[int] | None = None,
    extra: Sequence[str] | None = None,
    plain: bool = False,
    log: Sequence[str] = (),
    restart: bool = False,
    other_threads: bool = False,
    checkpoint_seconds: float | None = None,
    ranks: Ranks = ALONE,
    on_progress: ProgressCallback = no_progress,
) -> TrainResult:
    """Train a generator on the training split without its held-out tenth; the last step is kept, patience aside.

    Parameters
    ----------
    store
        The features.
    extractor
        The extractor that they come from, or its file; its head is the frozen one.
    config
        Settings of the training.
    folder
        Folder of the run: ``generator.safetensors``, the newest two checkpoints and ``history.jsonl``. A run goes on
        from its checkpoint.
    device
        Device of the training.
    seed
        Random seed of weights, order, scales and dropout: every step is a function of (seed, step).
    cache
        Location of the features: on the ``device`` or in ``ram``, in the same order; in the store, from which they
        ``stream`` in shuffled epochs; or ``auto``, the first of these where they fit. A run goes on in its own order:
        ``auto`` streams one that was begun so, device and ram may take turns, and it does not matter to one that has
        ended.
    features
        Features of the store that are open already, at the location that ``cache`` names, with the same scales and
        extra splits, and with early features if the settings read them; None to open them.
    scales
        Scales of the store to train on, beside full resolution; None for those that the run was begun with, and all for
        a new one.
    extra
        Names of the store's extra splits that batches are drawn from beside ``train``, ``view-1`` or ``unlabelled``;
        None for those that the run was begun with, and all for a new one.
    plain
        Whether every part is computed as it is defined: no captured steps, a double backward for the penalty, dense
        blocks that concatenate. The same numbers up to rounding.
    log
        Names of trackers, ``tensorboard``, ``trackio`` or ``wandb``; they get weights and norms of gradients too.
    restart
        Whether to begin anew where the folder holds a run; its generator stays until the new one replaces it.
    other_threads
        Whether a run on a CPU may go on under another number of threads; it then ends in other bytes.
    checkpoint_seconds
        Least time between two checkpoints; None is 30 s, and less where they are cheap.
    ranks
        The processes that train together, each with these arguments; the first writes and reports.
    on_progress
        Callback, called every second and at every status line, and once with a note on how long all of it takes.

    Raises
    ------
    RequestError
        If an argument is wrong, generator and critic cannot be made for these features, or the batch cannot be shared
        equally by the processes.
    FsrcacheError
        If the store is of other weights; the folder holds a run of other settings, or one whose features were in memory
        and do not fit there any more, or another process trains in it; the memory is short; or a term stops being
        finite (the message names it and the step, and no checkpoint is written after it).
    """
    start = time.perf_counter()
    check_device(device)
    check_value(TrainConfig, config, name="config")
    check_value(Seed, seed, name="seed")
    ranks.refuse_uneven(config.batch, parts=getattr(config.generator, "members", 1))
    on_progress = on_progress if ranks.first else no_progress
    folder = as_path(folder, name="folder")
    extractor = open_extractor(extractor)
    refuse_other_extractor(store, extractor)
    refuse_impossible_networks(config, extractor.form, device=device, plain=plain)
    begun = None if restart else folder
    store = store_of_run(store, begun, scales=scales, extra=extra)
    going_on = None if restart or has_ended(folder, config) else folder
    location = choose_location(read_by(store, config), cache, device=device, folder=going_on, ranks=ranks)
    on_progress(note(f"Cache: {location.mode} ({location.reason})."))
    target = folder / "generator.safetensors"
    settings = run_settings(store, config, seed=seed, device=device, plain=plain)
    trackers = Trackers(log, folder=folder, settings={"seed": seed, **asdict(config)}, on_progress=on_progress)
    with (
        memory_errors(config.batch, streams=True),
        held_folder(folder, ranks, restart=restart),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
    ):
        refuse_other_settings(folder, settings)
        result = ended_run(folder, config, target) if ranks.size == 1 else None
        if result is None:
            if features is None:
                features = open_features(
                    store, config, location=location, device=device, seed=seed, on_progress=on_progress
                )
            trainer = make_trainer(
                features, extractor, config,
                seed=seed, plain=plain, measured=bool(log), ranks=ranks, on_progress=on_progress,
            )  # fmt: skip
            settings["order"] = features.order
            with closing(trainer.batches), closing(trackers):
                result = run_steps(
                    trainer, features.held_out, store.scales,
                    every_held_out=partial(held_out_parts, read_by(store, config), device=device), folder=folder,
                    settings=settings, on_progress=on_progress, log=trackers.begin if log else None,
                    checkpoint_seconds=checkpoint_seconds, other_threads=other_threads,
                )  # fmt: skip
            if ranks.first:
                form = replace(extractor.form, early=early_width(trainer.kept))
                save_generator(target, trainer.kept, features=form, training=training_of(result, config))
                keep_with_weights(folder)
    state = result.state
    return TrainResult(
        steps=state.step,
        resumed_from=result.resumed_from,
        fell_back=result.fell_back,
        cache=location.mode,
        losses=state.losses,
        held_out_accuracy=state.held_out_accuracy,
        seconds=time.perf_counter() - start,
        samples_per_second=result.samples_per_second,
        data_wait_share=result.data_wait_share,
        generator=str(target),
        seed=seed,
        earlier_threads=result.earlier_threads,
    )
