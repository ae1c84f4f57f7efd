"""``sweep``: train a generator for every combination of some settings' values and seeds."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from os import PathLike
from statistics import fmean
from typing import Annotated

import torch

from fsrcache.announce import duration, several
from fsrcache.device import pick_device, with_threads
from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.presets import TRAINING
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import Between, check_value, parse_json, value_from
from fsrcache.settings import differences
from fsrcache.split_names import splits_in_words
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import cache_bytes, trained_count
from fsrcache.training.data.memory import locate_cache
from fsrcache.training.ranks import Ranks, joined
from fsrcache.training.run.features import read_by, store_of_run
from fsrcache.training.run.networks import refuse_impossible_networks
from fsrcache.training.run.restart import discard_runs
from fsrcache.training.run.settings import refuse_other_settings, run_settings
from fsrcache.training.run.trackers import Trackers
from fsrcache.training.run.train import TrainResult
from fsrcache.training.sweep.plan import SweepRun, plan_runs
from fsrcache.training.sweep.processes import train_in_processes
from fsrcache.training.sweep.progress import sweep_progress
from fsrcache.training.sweep.result import SweepResult, SweepRunResult, rows_of
from fsrcache.training.sweep.runs import RunOptions, train_runs
from fsrcache.verbs.record import write_result
from fsrcache.verbs.train import train_settings
from fsrcache.workspace import Workspace, existing_workspace, open_workspace

_Seeds = Annotated[int, Between(1, 1000)]
_Jobs = Annotated[int, Between(1, 1024)]


def sweep(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    name: str = "sweep",
    preset: str | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
    seeds: int = 1,
    jobs: int = 1,
    cache: str = "auto",
    log: Sequence[str] = (),
    restart: bool = False,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> SweepResult:
    """Train a generator for every combination of some settings' values and seeds, over features that are read once.

    Every run is one that ``train`` goes on with under the same settings, ``runs`` lists and ``evaluate`` scores. Called
    again, runs that have ended are not trained again, and the interrupted one goes on. Processes that torchrun started
    share the runs, each of which is trained by one of them.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    store
        The feature store, a folder or a URL; None for the workspace's.
    name
        First part of the runs' names, which go on with settings and seed: ``sweep-l2_weight-10-seed-0``.
    preset
        ``paper``, ``authors``, ``best`` or ``tiny``; None for ``tiny`` on drawn faces and ``best`` on others.
    steps
        Steps of every generator; None for the preset's.
    settings
        Texts ``name=value,value`` that replace settings of the preset. Values of a tuple are separated by semicolons,
        ``betas=0,0.9;0.9,0.999``. Combinations that come to the same settings are one.
    seeds
        Number of seeds of each combination, from 0.
    jobs
        Number of processes that train at once, each with the features in its own memory. With more than one, a program
        calls this under ``if __name__ == "__main__":``, as for all of Python's processes.
    cache
        Location of the features: ``device``, ``ram``, ``stream``, or ``auto`` for the first of these where they fit; a
        run goes on in its own order of faces then, whatever is free now.
    log
        Trackers of every run: ``tensorboard``, ``trackio``, ``wandb``.
    restart
        Whether all runs begin anew, and those of an interrupted call go on without it; a generator stays until the new
        one replaces it.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the GPU if there is one.
    threads
        Number of threads of a run; None for torch's, shared by the jobs, and for a run that was begun its own number.
        Only where it is named may a run go on under another number than before; it ends in other bytes then.
    on_progress
        Callback, called at every status line and after every run.

    Raises
    ------
    RequestError
        If an argument is wrong, a combination of settings among them, there is no such workspace, or a run of the name
        was begun with other settings, or other scales or extra splits than its fellows, and ``restart`` is not set;
        nothing is trained then.
    FsrcacheError
        If there is no store or no extractor, the store is of another extractor, or every run failed. Where some runs
        failed, their results say why.
    """
    began = time.perf_counter()
    with joined() as ranks, with_threads(threads):
        on_progress = on_progress if ranks.first else no_progress
        target, workspace = ranks.own_device(pick_device(device)), open_workspace(workspace)
        check_value(_Seeds, seeds, name="seeds")
        check_value(_Jobs, jobs, name="jobs")
        if jobs > 1 and ranks.size > 1:
            raise RequestError(
                f"There are {jobs:,} jobs, and torchrun started {ranks.size:,} processes, which share the runs.",
                "Leave out the jobs.",
            )
        if steps is not None and any(one.partition("=")[0].strip() == "steps" for one in settings):
            raise RequestError(f"The steps are {steps:,} and a setting of the sweep.", "Leave out one of the two.")
        preset, base = train_settings(workspace, preset=preset, steps=steps)
        runs = plan_runs(base, settings, seeds=seeds, workspace=workspace, name=name)
        source = existing_workspace(workspace).extractor_source
        features, extractor = FeatureStore(store or workspace.store), open_extractor(source)
        refuse_other_extractor(features, extractor)
        for config in {run.config: None for run in runs}:
            refuse_impossible_networks(config, extractor.form, device=target)
        if not restart:
            _refuse_other_settings(runs, features, device=target)
        jobs = min(jobs, len(runs))
        read = [read_by(features, run.config) for run in runs]
        sizes = max((cache_bytes(one, rows=trained_count(features)) for one in read), key=sum)
        location = locate_cache(cache, jobs * sizes, device=target, ranks=ranks.local_size)
        on_progress(note(f"{several(len(runs), 'run')}. Cache: {location.mode} ({location.reason})."))
        options = RunOptions(
            target, cache, location, tuple(log), other_threads=threads is not None or ranks.launched,
        )  # fmt: skip
        at_once = min(jobs * ranks.size, len(runs))
        own = runs[ranks.rank :: ranks.size]
        if restart and not ranks.restarted:
            Trackers(log, folder=runs[0].folder, settings={}, on_progress=on_progress)  # a wrong one is refused first
            discard_runs(*(run.folder for run in own))
            ranks.wait()
        report = sweep_progress(runs, on_progress, jobs=at_once)
        results: dict[str, TrainResult | FsrcacheError] = {}
        share = threads or max(1, torch.get_num_threads() // jobs)
        outcomes = (
            train_runs(own, features, extractor, options, report) if jobs == 1
            else train_in_processes(own, features, source, options, report, jobs=jobs, threads=share)
        )  # fmt: skip
        for run, result in outcomes:
            if isinstance(result, TrainResult):
                changes = tuple(differences(run.config, TRAINING[preset]))
                result = replace(result, name=run.name, preset=preset, settings=changes)
                write_result(run.folder, result, had_ended=result.resumed_from == result.steps)
            on_progress(note(_in_words(run, result)))
            results[run.name] = result
        ended = _of_all([_run_result(run, results[run.name]) for run in own], runs, ranks)
        new = [one for one in results.values() if isinstance(one, FsrcacheError) or one.resumed_from < one.steps]
        nothing_new = ranks.sums(len(new)) == [0]
    if ranks.first and all(run.error for run in ended):
        raise next(one for one in results.values() if isinstance(one, FsrcacheError))
    if nothing_new:
        on_progress(note(f"Nothing to do: {several(len(runs), 'run')} had ended."))
    return SweepResult(preset, ended, rows_of(ended), time.perf_counter() - began)


def _refuse_other_settings(runs: Sequence[SweepRun], store: FeatureStore, *, device: torch.device) -> None:
    """Raise if a run was begun with other settings, or a store of other parts, before another is trained beside it."""
    parts: dict[str, SweepRun] = {}
    try:
        for run in runs:
            own = store_of_run(store, run.folder)
            refuse_other_settings(run.folder, run_settings(own, run.config, seed=run.seed, device=device, plain=False))
            extra = f", extra splits {splits_in_words(own.spec.extra)}" if own.spec.extra else ""
            parts.setdefault(f"scales {', '.join(map(str, own.scales))}{extra}", run)
        if len(parts) > 1:
            each = "; ".join(f"{run.name} has {words}" for words, run in parts.items())
            raise RequestError(f"The runs of the sweep would learn from different parts of the store: {each}.")
    except FsrcacheError as error:
        raise RequestError(
            f"{error.what} Nothing was trained.",
            Remedy(
                "Name another sweep, `{}`, or use the same settings to go on; `{}` discards all of its runs.",
                arguments(name=Blank("NAME")),
                arguments(restart=True),
            ),
        ) from None


def _of_all(own: Sequence[SweepRunResult], runs: Sequence[SweepRun], ranks: Ranks) -> tuple[SweepRunResult, ...]:
    """Return the results of every process's runs, in the order of the runs."""
    results: dict[str, SweepRunResult] = {}
    for rank, text in enumerate(ranks.texts(json.dumps([asdict(one) for one in own]))):
        where = f"process {rank}"
        read = value_from(tuple[SweepRunResult, ...], parse_json(text, where=where), where=where, name="runs")
        results.update({one.name: one for one in (own if rank == ranks.rank else read)})  # its remedies have calls
    return tuple(results[run.name] for run in runs)


def _in_words(run: SweepRun, result: TrainResult | FsrcacheError) -> str:
    if isinstance(result, FsrcacheError):
        return f"{run.name} failed: {result.what}"
    accuracy = f"{fmean(result.held_out_accuracy.values()):.1f} % on held-out faces"
    if result.resumed_from == result.steps:
        return f"{run.name} had ended: {accuracy}"
    return f"{run.name}: {accuracy}, {duration(result.seconds)}"


def _run_result(run: SweepRun, result: TrainResult | FsrcacheError) -> SweepRunResult:
    if isinstance(result, FsrcacheError):
        return SweepRunResult(run.name, run.settings, run.seed, 0, {}, result.what, result.remedy)
    return SweepRunResult(run.name, run.settings, run.seed, result.steps, result.held_out_accuracy)
