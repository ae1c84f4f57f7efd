"""Trains the runs of a sweep, one after another over one opened cache."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from fsrcache.device import with_threads
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.progress import Progress
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.memory import CacheLocation, memory_errors
from fsrcache.training.run.checkpoint import CHECKPOINT, run_record
from fsrcache.training.run.features import (
    TrainFeatures,
    choose_location,
    goes_on_from,
    open_features,
    order_of_run,
    read_by,
    store_of_run,
)
from fsrcache.training.run.loop import has_ended
from fsrcache.training.run.train import TrainResult, train_generator
from fsrcache.training.sweep.plan import SweepRun

RunProgress = Callable[[SweepRun, Progress], object]
Outcome = tuple[SweepRun, TrainResult | FsrcacheError]


@dataclass(frozen=True)
class RunOptions:
    """What all runs of a sweep have in common, as ``train_generator`` takes it.

    Attributes
    ----------
    device
        Device of the trainings.
    cache
        Location of the features as it was asked for, which may be ``auto``.
    location
        Location of the features of a run that begins.
    log
        Names of the trackers.
    other_threads
        Whether a run may go on under another number of threads.
    """

    device: torch.device
    cache: str
    location: CacheLocation
    log: tuple[str, ...]
    other_threads: bool


def train_runs(
    runs: Iterable[SweepRun], store: FeatureStore, extractor: Extractor, options: RunOptions, on_progress: RunProgress
) -> Iterator[Outcome]:
    """Train runs and yield each with its result, or with the error that ended it; the next one begins all the same.

    The features are read once, by the first run that has not ended, and again for a run that was begun with other
    scales or extra splits, or in another order of faces than the sweep's, where the cache is ``auto``, or that reads
    early features where the one before did not. Streamed ones are not kept, and every run reads its own. A run that was
    begun goes on under its own number of threads, unless it may go on under another.
    """
    features: TrainFeatures | None = None
    read: object = None
    for run in runs:
        report = partial(on_progress, run)
        try:
            own = read_by(store_of_run(store, run.folder), run.config)
            ended = has_ended(run.folder, run.config)
            order = None if ended else order_of_run(run.folder)
            location = options.location
            if not goes_on_from(location, order):
                if features is not None and goes_on_from(features.location, order):
                    location = features.location
                else:
                    location = choose_location(own, options.cache, device=options.device, folder=run.folder)
            if location.mode == "stream" or read != (own.scales, own.spec.extra, own.spec.widths):
                features = None
            if location.mode != "stream" and features is None and not ended:
                read = own.scales, own.spec.extra, own.spec.widths
                with memory_errors(run.config.batch, streams=True):
                    features = open_features(
                        own, run.config, location=location, device=options.device, seed=run.seed, on_progress=report
                    )  # fmt: skip
            with with_threads(None if options.other_threads else _threads_of_run(run)):
                result = train_generator(
                    store, extractor, run.config,
                    folder=run.folder, device=options.device, seed=run.seed, cache=location.mode,
                    features=features, log=options.log, other_threads=options.other_threads,
                    on_progress=report,
                )  # fmt: skip
        except FsrcacheError as error:
            error.__context__ = None  # it and the traceback would keep what the run had in memory
            yield run, error.with_traceback(None)
        else:
            yield run, result


def _threads_of_run(run: SweepRun) -> int | None:
    """Return the number of threads that a run was begun under; None where there is none."""
    record = run_record(run.folder / CHECKPOINT)
    threads = None if record is None else record["settings"].get("threads")
    return threads if isinstance(threads, int) and threads > 0 else None
