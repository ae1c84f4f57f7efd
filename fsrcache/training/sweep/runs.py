"""Trains the runs of a sweep, one after another over one opened cache."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.progress import Progress
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.memory import CacheLocation
from fsrcache.training.run.features import TrainFeatures, open_features, store_of_run
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
    location
        Location of the features.
    log
        Names of the trackers.
    restart
        Whether every run begins anew.
    other_threads
        Whether a run may go on under another number of threads.
    """

    device: torch.device
    location: CacheLocation
    log: tuple[str, ...]
    restart: bool
    other_threads: bool


def train_runs(
    runs: Iterable[SweepRun], store: FeatureStore, extractor: Extractor, options: RunOptions, on_progress: RunProgress
) -> Iterator[Outcome]:
    """Train runs and yield each with its result, or with the error that ended it; the next one begins all the same.

    The features are read once, and again for a run that was begun with other extra splits. Streamed ones are not kept,
    and every run reads its own.
    """
    features: TrainFeatures | None = None
    read: object = None
    for run in runs:
        report = partial(on_progress, run)
        try:
            own = store_of_run(store, None if options.restart else run.folder)
            if options.location.mode != "stream" and (features is None or read != own.spec.extra):
                features, read = None, own.spec.extra
                features = open_features(
                    own, run.config,
                    location=options.location, device=options.device, seed=run.seed, on_progress=report,
                )  # fmt: skip
            result = train_generator(
                store, extractor, run.config,
                folder=run.folder, device=options.device, seed=run.seed, cache=options.location.mode,
                features=features, log=options.log, restart=options.restart, other_threads=options.other_threads,
                on_progress=report,
            )  # fmt: skip
        except FsrcacheError as error:
            yield run, error
        else:
            yield run, result
