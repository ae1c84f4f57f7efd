"""Fits ridge maps to a store's faces to train on: streamed in parts, resumed where it stopped, the penalty chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.device import fp32_precision, in_words, torch_threads
from fsrcache.errors import FsrcacheError, Remedy, arguments
from fsrcache.models.weights import read_module, read_record, write_weights
from fsrcache.progress import Progress, ProgressCallback, note
from fsrcache.records import Between, Threads, value_from
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ridge import Moments, RidgeConfig, RidgeMap
from fsrcache.training.run.checkpoint import CHECKPOINT, Checkpoints, has_checkpoint, refuse_other_run
from fsrcache.training.run.due import CheckpointDue, ReportDue
from fsrcache.training.run.lock import run_lock
from fsrcache.training.run.restart import discard_runs
from fsrcache.training.run.spent import keep_with_weights

MAP = "map.safetensors"  # in a map's folder
_KIND = "ridge map"
_PART = 1024  # rows of a split at a time
_SplitRows = tuple[str, slice]  # name of a split, and rows of it
_REMEDY = Remedy("It is damaged or of another version: train the row again, `{}`.", arguments(restart=True))


class _State(TypedDict):
    """How far the sums of a map are: parts that are in them."""

    parts: Annotated[int, Between(0, 10**9)]


class RidgeSettings(TypedDict):
    """What a map depends on, as JSON values."""

    config: RidgeConfig
    scales: tuple[int, ...]
    store: Mapping[str, str]
    extra: Mapping[str, str]
    device: str
    threads: Threads


class RidgeRecord(TypedDict):
    """What stands in a map's file beside the tensors.

    ``length`` and ``early`` are P and Q; ``penalty`` was chosen; ``tried`` is the mean accuracy on the held-out tenth
    by penalty, ``held_out`` that of the chosen one by scale, all in percent.
    """

    length: Annotated[int, Between(1, 10**6)]
    early: Annotated[int, Between(0, 2**24)]
    settings: RidgeSettings
    earlier_threads: tuple[Threads, ...]
    penalty: float
    tried: Mapping[str, float]
    held_out: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class RidgeFit:
    """What the maps of a row are fitted to.

    Attributes
    ----------
    store
        The features.
    classify
        Function of features fp32 [n, P] on the device that returns logits [n, K]: the frozen head.
    config
        The penalties.
    device
        Device of the sums and the maps.
    other_threads
        Whether a fit may go on under another number of threads.
    on_progress
        Called every second, and once with a note on how long all of it takes.
    """

    store: FeatureStore
    classify: Callable[[Tensor], Tensor]
    config: RidgeConfig
    device: torch.device
    other_threads: bool
    on_progress: ProgressCallback

    @property
    def early(self) -> int:
        """Q, the number of early features that the maps read; 0 where they read none."""
        return self.store.spec.widths.get("early", 0) if self.config.early else 0

    @property
    def splits(self) -> list[str]:
        """Names of the splits that the maps are fitted to."""
        return ["train", *(self.store.spec.extra if self.config.extra else ())]

    def inputs(self, scale: int, part: _SplitRows, chosen: NDArray[np.bool_]) -> list[Tensor]:
        """Return what a map reads of the chosen rows of a part: features [n, P], perhaps early features [n, Q]."""
        split, rows = part
        arrays = [self.store.features(split, scale), *([self.store.early(split, scale)] if self.early else [])]
        return [torch.from_numpy(array[rows][chosen]).to(self.device) for array in arrays]


@fp32_precision(tf32=False)
def fit_maps(fit: RidgeFit, folders: Mapping[Path, Sequence[int]], *, restart: bool) -> tuple[list[RidgeRecord], int]:
    """Fit a map for every folder that has none to the faces that are trained on, none held out, and write it.

    Parameters
    ----------
    fit
        What they are fitted to.
    folders
        Scales by the folder of their map, which is one for all of them.
    restart
        Whether to begin anew where there is a map or a part of one; the maps stay until the first new one is fitted.

    Returns
    -------
    tuple
        The records of all maps, and how many were there.

    Raises
    ------
    FsrcacheError
        If there is nothing to train on or held out, there is a map of other settings, or the equations have no
        solution.
    """
    if "train" not in fit.store.splits or fit.store.held_out().all() or not fit.store.held_out().any():
        raise FsrcacheError(
            f"{fit.store.name} has no pictures to train on, or none held out.", "Extract data with a training split."
        )
    if restart:
        discard_runs(*folders)
    missing = {folder: scales for folder, scales in folders.items() if restart or not _is_there(fit, folder, scales)}
    clock = _Clock(fit, list(missing.values()))
    for number, (folder, scales) in enumerate(missing.items(), 1):
        with run_lock(folder):
            _fit_map(fit, folder, scales, clock)
            keep_with_weights(folder)
        discard_runs(folder)
        for later in list(missing)[number:] if restart else ():
            (later / MAP).unlink(missing_ok=True)  # it may be of other settings, and no row with the new one
    return [read_map(folder / MAP)[1] for folder in folders], len(folders) - len(missing)


def read_map(path: Path) -> tuple[nn.Module, RidgeRecord]:
    """Return a map on the CPU, of features fp32 [n, P] and perhaps early features fp32 [n, Q], and its record.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged or not of this kind.
    """
    record: RidgeRecord
    module, record, _ = read_module(
        path, RidgeRecord, lambda record: RidgeMap(record["length"], record["early"]),
        kind=_KIND, layers=lambda _: 1, remedy=_REMEDY,
    )  # fmt: skip
    return module.requires_grad_(False), record


class _Clock:
    """The reports of all maps' fits, and what is left of them."""

    def __init__(self, fit: RidgeFit, maps: Sequence[Sequence[int]]) -> None:
        """Begin; ``maps`` has the scales of each."""
        self.fit, self.maps = fit, len(maps)
        self.parts = sum(len(_parts(fit, scales)) for scales in maps)
        self.scored = sum(map(len, maps)) * len(_parts_of_split(fit.store, "train"))
        self.done, self.before, self.due, self.first_seconds = 0, 0, ReportDue(), FirstSeconds()

    def skip(self, parts: int) -> None:
        """Count parts that an earlier call added."""
        self.done, self.before = self.done + parts, self.before + parts

    def added(self) -> None:
        """Count a part, report, and say once how long the rest takes."""
        self.done += 1
        if self.due:
            self.fit.on_progress(Progress("fitting ridge maps", self.done, self.parts, "parts"))
        pace = self.first_seconds.measured(self.done - self.before)
        if pace is not None:
            penalties = len(self.fit.config.penalties)
            length = self.fit.store.spec.widths["features"] + self.fit.early
            solving = self.maps * penalties * 0.6 * length / _PART  # parts of as many multiplications: 7/3 P^3 each
            scoring = 0.025 * penalties * self.scored  # a tenth of the rows, half as many bits
            seconds = pace.seconds_each * (self.parts - self.done + solving + scoring)
            work = f"{several(self.maps, 'ridge map')} on {in_words(self.fit.device)}"
            announce(self.fit.on_progress, seconds, work, by=f"the first {several(pace.pieces, 'part')}")


def _settings(fit: RidgeFit, scales: Sequence[int]) -> dict[str, Any]:
    return {
        "config": asdict(fit.config),
        "scales": list(scales),
        "store": fit.store.spec.content_digests,
        "extra": {split: fit.store.spec.extra[split]["digest"] for split in fit.splits[1:]},
        "device": fit.device.type,
        "threads": torch_threads(fit.device),
    }


def _is_there(fit: RidgeFit, folder: Path, scales: Sequence[int]) -> bool:
    """Tell whether a map of these settings was finished; one of others is refused."""
    if has_checkpoint(folder) or not (folder / MAP).exists():
        return False
    read_map(folder / MAP)  # a damaged one is refused
    written, settings = read_record(folder / MAP, kind=_KIND)["settings"], _settings(fit, scales)
    refuse_other_run(folder / MAP, written, settings, anew="another seed", other_threads=True)
    return True


def _parts(fit: RidgeFit, scales: Sequence[int]) -> list[tuple[int, _SplitRows]]:
    """Return all parts of the splits that are fitted to, by scale."""
    return [(scale, part) for scale in scales for split in fit.splits for part in _parts_of_split(fit.store, split)]


def _parts_of_split(store: FeatureStore, split: str) -> list[_SplitRows]:
    rows = store.spec.count(split)
    return [(split, slice(start, min(start + _PART, rows))) for start in range(0, rows, _PART)]


def _fit_map(fit: RidgeFit, folder: Path, scales: Sequence[int], clock: _Clock) -> None:
    """Fit a map and write it."""
    settings, store = _settings(fit, scales), fit.store
    moments = Moments(store.spec.widths["features"], fit.early).to(fit.device)
    checkpoints = Checkpoints(
        folder / CHECKPOINT, settings, modules={"moments": moments}, optimisers={}, anew="another seed"
    )
    parts, due = _parts(fit, scales), CheckpointDue(None, folder)
    begun = _parts_added(fit, checkpoints)
    kept = {split: ~store.held_out(split) for split in fit.splits}
    clock.skip(begun)
    for number in range(begun, len(parts)):
        scale, (split, rows) = parts[number]
        chosen = kept[split][rows]
        fine = torch.from_numpy(store.features(split, 1)[rows][chosen]).to(fit.device)
        moments.add(torch.cat(fit.inputs(scale, (split, rows), chosen), 1), fine)
        clock.added()
        if due and number + 1 < len(parts):
            with due:
                checkpoints.save({"parts": number + 1})
    maps = [_linear(moments, penalty) for penalty in fit.config.penalties]
    right = _right(fit, maps, scales)
    accuracy = 100 * right / int(store.held_out().sum())
    means, penalties = accuracy.mean(1), fit.config.penalties
    best = max(range(len(maps)), key=lambda one: (right[one].sum(), penalties[one]))
    record = {
        "length": moments.y.numel(),
        "early": fit.early,
        "settings": settings,
        "earlier_threads": checkpoints.earlier_threads,
        "penalty": penalties[best],
        "tried": {f"{penalty:g}": float(mean) for penalty, mean in zip(penalties, means, strict=True)},
        "held_out": {f"x{scale}": float(one) for scale, one in zip(scales, accuracy[best], strict=True)},
    }
    with due:
        write_weights(folder / MAP, maps[best].state_dict(), kind=_KIND, record=record)


def _parts_added(fit: RidgeFit, checkpoints: Checkpoints) -> int:
    """Go back to the newest checkpoint, if any; say what the user should know of it, return its number of parts."""

    def read(written: Mapping[str, Any], file: Path) -> _State:
        state: _State = value_from(_State, written, where=file, name="state")
        return state

    resumed = checkpoints.resume(read, other_threads=fit.other_threads)
    if resumed is None:
        return 0
    if resumed.note:
        fit.on_progress(note(resumed.note))
    return resumed.state["parts"]


def _linear(moments: Moments, penalty: float) -> RidgeMap:
    """Return the ridge map in fp32."""
    weight, bias = moments.solve(penalty)
    with torch.device("meta"):
        linear = RidgeMap(len(bias), len(weight) - len(bias))
    linear.weight = nn.Parameter(weight.T.float().contiguous(), requires_grad=False)
    linear.bias = nn.Parameter(bias.float(), requires_grad=False)
    return linear


@torch.inference_mode()
def _right(fit: RidgeFit, maps: Sequence[nn.Module], scales: Sequence[int]) -> "np.ndarray[Any, Any]":
    """Return how many held-out pictures the frozen head gets right, int [maps, scales]."""
    store, held_out, labels = fit.store, fit.store.held_out(), fit.store.labels("train").astype(np.int64)
    right = np.zeros((len(maps), len(scales)), np.int64)
    for scale, part in product(scales, _parts_of_split(store, "train")):
        rows = part[1]
        chosen = held_out[rows]
        if not chosen.any():
            continue
        read = fit.inputs(scale, part, chosen)
        wanted = torch.from_numpy(labels[rows][chosen]).to(fit.device)
        for number, one in enumerate(maps):
            generated = one(*(values.float() for values in read)).to(read[0].dtype)
            answers = fit.classify(generated.float()).argmax(1)
            right[number, scales.index(scale)] += int((answers == wanted).sum())
    return right
