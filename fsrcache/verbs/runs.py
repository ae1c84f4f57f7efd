"""``runs``: what training runs a workspace has, and how far each is."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.models.generators.forms import read_training
from fsrcache.presets import TRAINING, TrainConfig
from fsrcache.records import Seed, value_from
from fsrcache.settings import nearest_preset
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.checkpoint import CHECKPOINT, RunRecord, has_checkpoint, previous, run_record
from fsrcache.training.run.lock import under_way
from fsrcache.training.run.loop import TrainState, is_finished
from fsrcache.workspace import Workspace, existing_workspace

_GENERATOR = "generator.safetensors"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How far a training run is.

    Attributes
    ----------
    name
        Name of the run.
    state
        ``finished``; ``interrupted``, which ``train`` goes on from; ``under way``, in some process; or ``damaged``,
        whose files cannot be read.
    preset, settings
        The preset that the settings differ least from, and what differs, as ``name=value``; empty while there is
        neither a checkpoint nor a generator.
    scales
        Scales that it is trained on; empty where they are those of the workspace's store.
    extra
        Names of the extra splits that it draws from beside ``train``.
    seed
        Random seed; None likewise.
    step, steps
        Steps at the last checkpoint, and of the whole run; ``steps`` is None likewise.
    held_out_accuracy
        Mean over the scales of the frozen head's accuracy in percent: on all held-out faces of a run that has ended,
        else on the first 512 of them at the last scoring; None before, or without a checkpoint.
    age
        Seconds since the last checkpoint, or since the generator was written.
    earlier_threads
        Numbers of threads before the run went on under another; then it does not end in the bytes of an uninterrupted
        one. Empty where it did not.
    """

    name: str
    state: Literal["finished", "interrupted", "under way", "damaged"]
    preset: str = ""
    settings: tuple[str, ...] = ()
    scales: tuple[int, ...] = ()
    extra: tuple[str, ...] = ()
    seed: int | None = None
    step: int = 0
    steps: int | None = None
    held_out_accuracy: float | None = None
    age: float
    earlier_threads: tuple[int, ...] = ()


def runs(workspace: Workspace | str | PathLike[str] = "fsr") -> tuple[RunSummary, ...]:
    """Return the training runs of a workspace by name, finished or not; no weights are read.

    A folder with neither a checkpoint nor a generator, in which nobody trains, is no run.

    Parameters
    ----------
    workspace
        The workspace, or its folder.

    Raises
    ------
    RequestError
        If there is no such workspace.
    """
    workspace = existing_workspace(workspace)
    folders = sorted(folder for folder in (workspace.folder / "runs").glob("*") if _is_run(workspace, folder))
    summaries, scales = map(_summary, folders), _store_scales(workspace)
    return tuple(replace(run, scales=()) if run.scales == scales else run for run in summaries)


def _is_run(workspace: Workspace, folder: Path) -> bool:
    """Tell whether a folder has a run's name and its files, or is one that a process trains in."""
    try:
        workspace.run(folder.name)
    except RequestError:
        return False
    return folder.is_dir() and (has_checkpoint(folder) or (folder / _GENERATOR).exists() or under_way(folder))


def _store_scales(workspace: Workspace) -> tuple[int, ...]:
    """Return the scales of the workspace's store; none where it has none that can be read."""
    with suppress(FsrcacheError):
        return FeatureStore(workspace.store).scales
    return ()


def _summary(folder: Path) -> RunSummary:
    """Return what a run's folder holds."""
    newest, generator = folder / CHECKPOINT, folder / _GENERATOR
    files = [file for file in (newest, previous(newest), generator) if file.exists()]
    changed = max(file.stat().st_mtime for file in files or [folder])
    busy = under_way(folder)
    known = RunSummary(
        name=folder.name, state="under way" if busy else "interrupted", age=max(0.0, time.time() - changed)
    )
    try:
        record = run_record(newest)
        if record is not None:
            return _checkpointed(known, record, newest, finished=generator.exists() and not busy)
        if generator.exists() and not busy:
            training = read_training(generator)
            known = replace(
                known, scales=training["scales"], extra=tuple(training.get("extra", ())),
                earlier_threads=training.get("earlier_threads", ()),
            )  # fmt: skip
            return _trained(known, training["config"], training["seed"], step=training["steps"], finished=True)
    except FsrcacheError:
        return replace(known, state="damaged")
    return known if busy or not files else replace(known, state="damaged")


def _checkpointed(known: RunSummary, record: RunRecord, path: Path, *, finished: bool) -> RunSummary:
    """Return what a checkpoint says; ``finished`` is whether a run at its last step is a finished one."""
    settings: Mapping[str, Any] = record["settings"]
    config: TrainConfig = value_from(TrainConfig, settings.get("config"), where=path, name="settings.config")
    seed: int = value_from(Seed, settings.get("seed"), where=path, name="settings.seed")
    scales = value_from(tuple[int, ...], settings.get("scales"), where=path, name="settings.scales")
    extra = value_from(Mapping[str, str], settings.get("extra", {}), where=path, name="settings.extra")
    state: TrainState = value_from(TrainState, record["state"], where=path, name="state")
    known = _trained(known, config, seed, step=state.step, finished=finished and is_finished(state, config))
    scored = state.held_out_accuracy.values()
    return replace(
        known, scales=scales, extra=tuple(extra), held_out_accuracy=fmean(scored) if scored else None,
        earlier_threads=record["earlier_threads"],
    )  # fmt: skip


def _trained(known: RunSummary, config: TrainConfig, seed: int, *, step: int, finished: bool) -> RunSummary:
    preset, settings = nearest_preset(config, TRAINING)
    return replace(
        known, preset=preset, settings=tuple(settings), seed=seed, step=step, steps=config.steps,
        state="finished" if finished else known.state,
    )  # fmt: skip
