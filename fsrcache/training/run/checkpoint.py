"""The state of a training on disk: tensors by name and one JSON record, in a safetensors file; nothing is pickled.

The newest two are kept, ``checkpoint.safetensors`` and ``checkpoint.previous.safetensors``. Each appears whole or not
at all and holds a digest of its record and its tensors; one that is damaged all the same is passed over for the one
before.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.files import sync_folder
from fsrcache.models.weights import read_record, read_weights, write_weights
from fsrcache.records import Threads, shortened, value_from

CHECKPOINT = "checkpoint.safetensors"  # in a run's folder
KIND = "checkpoint"
_NAMED = 5  # settings that an error names
_LENGTHS = ("config.steps", "schedule.epochs")  # settings that the learning rate's course depends on
_GROUPS = ("config.", "schedule.")  # of settings that a user sets without this prefix

TrainState = TypeVar("TrainState")


class Resumed(NamedTuple, Generic[TrainState]):
    """The state of a checkpoint.

    Attributes
    ----------
    state
        The state.
    fell_back
        Reason why it is not the newest one; empty if it is.
    note
        What the user should know of it, in words, the reason among it; empty if there is nothing.
    """

    state: TrainState
    fell_back: str
    note: str


class _Record(TypedDict):
    """The record of a checkpoint beside the tensors."""

    settings: Mapping[str, Any]
    earlier_threads: tuple[Threads, ...]
    state: Mapping[str, Any]
    digest: str


class Checkpoints:
    """The newest two checkpoints of a run.

    Attributes
    ----------
    path
        The file of the newest one.
    settings
        Settings of the run as JSON values, with the number of threads of its last step.
    modules, optimisers
        Modules and optimisers by name; the same names restore them. Learning rates are functions of the step, and not
        kept.
    anew
        What a run that begins anew may have, beside ``restart``, for an error.
    earlier_threads
        Numbers of threads before the run went on under another; empty where it did not.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Optimizer],
        anew: str = "another workspace",
    ) -> None:
        self.path, self.settings, self.anew = path, settings, anew
        self.modules, self.optimisers = modules, optimisers
        self.earlier_threads: tuple[int, ...] = ()

    def save(self, state: Mapping[str, Any]) -> None:
        """Write modules, the optimisers' moments and the progress of the run as JSON values.

        What was the newest before is kept as the previous one.
        """
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        following = self.path.with_name(f"{self.path.stem}.next{self.path.suffix}")
        record = {"settings": self.settings, "earlier_threads": self.earlier_threads, "state": state}
        write_weights(following, tensors, kind=KIND, record={**record, "digest": _digest(tensors, record)})
        if self.path.exists():
            self.path.replace(previous(self.path))
        following.replace(self.path)
        sync_folder(self.path.parent)

    def resume(
        self,
        read: Callable[[Mapping[str, Any], Path], TrainState],
        *,
        finished: Callable[[TrainState], bool] = lambda _: False,
        other_threads: bool = False,
    ) -> Resumed[TrainState] | None:
        """Restore modules and optimisers from the newest checkpoint that can be read; None where there is none at all.

        Parameters
        ----------
        read
            Function of the state and, for its error, the file; it returns the state checked.
        finished
            Function of the state that tells whether nothing is left to compute; then neither the number of threads nor
            ``settings["order"]`` matters, and those of the checkpoint stay.
        other_threads
            Whether ``settings["threads"]`` may be another than the checkpoint's, which then is one of
            ``earlier_threads``.

        Raises
        ------
        FsrcacheError
            If the run was made under other ``settings``, each of which is named, or no checkpoint can be read.
        """
        damage: list[FsrcacheError] = []
        for file in (self.path, previous(self.path)):
            if not file.exists():
                continue
            try:
                tensors, record = read_weights(file, kind=KIND)
                written = value_from(_Record, record, where=file)
                intact = record.pop("digest") == _digest(tensors, record)
            except FsrcacheError as error:
                damage.append(error)
                continue
            if intact:
                self._refuse_other(file, written, other_threads=True, other_order=True)
            try:
                state = read(written["state"], file)
                if not intact:
                    raise FsrcacheError(f"{file} is damaged: its tensors and record are not those that were written.")
            except FsrcacheError as error:
                damage.append(error)
                continue
            ended = finished(state)
            threads_may_differ = other_threads or (ended and "threads" in written["settings"])
            self._refuse_other(file, written, other_threads=threads_may_differ, other_order=ended)
            _restore(file, tensors, modules=self.modules, optimisers=self.optimisers)
            fell_back = f"{damage[0].what} The checkpoint before it is used." if damage else ""
            note = " ".join(filter(None, (fell_back, self._go_on(written, ended=ended))))
            return Resumed(state, fell_back, note)
        if damage:
            raise FsrcacheError(
                " ".join(error.what for error in damage),
                f"Remove the damaged files to begin again: {self.path.parent}.",
            )
        return None

    def _refuse_other(self, file: Path, written: _Record, *, other_threads: bool, other_order: bool) -> None:
        refuse_other_run(
            file, written["settings"], self.settings,
            anew=self.anew, other_threads=other_threads, other_order=other_order,
        )  # fmt: skip

    def _go_on(self, written: _Record, *, ended: bool) -> str:
        """Take over the numbers of threads; return in words that the run goes on under another."""
        self.earlier_threads = written["earlier_threads"]
        if ended:  # nothing is computed under other threads, or in another order
            kept = {key: written["settings"][key] for key in ("threads", "order") if key in written["settings"]}
            self.settings = {**self.settings, **kept}
            return ""
        before, now = written["settings"].get("threads"), self.settings.get("threads")
        if before is None or before == now:
            return ""
        self.earlier_threads = (*self.earlier_threads, before)
        return (
            f"The run goes on under another number of threads, {_threads(now)} after {_threads(before)}: it no longer "
            "ends in the same bytes as an uninterrupted one."
        )


class RunRecord(TypedDict):
    """Settings and state of a run as JSON values, and the numbers of threads before it went on under another."""

    settings: Mapping[str, Any]
    earlier_threads: tuple[Threads, ...]
    state: Mapping[str, Any]


def run_record(path: Path) -> RunRecord | None:
    """Return the newest checkpoint's record that can be read, and no tensor; None without one."""
    for file in (path, previous(path)):
        with suppress(FsrcacheError):
            return record_of(file)
    return None


def record_of(file: Path) -> RunRecord:
    """Return the record of one checkpoint, whose digest is not looked at, and no tensor.

    Raises
    ------
    FsrcacheError
        If there is none, or it cannot be read.
    """
    record: _Record = value_from(_Record, read_record(file, kind=KIND), where=file)
    return RunRecord(settings=record["settings"], earlier_threads=record["earlier_threads"], state=record["state"])


def is_intact(file: Path) -> bool:
    """Tell whether the record and the tensors of a checkpoint are those that were written."""
    try:
        tensors, record = read_weights(file, kind=KIND)
    except FsrcacheError:
        return False
    return bool(record.pop("digest", None) == _digest(tensors, record))


def previous(path: Path) -> Path:
    """Return the path of the checkpoint before the newest."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def has_checkpoint(folder: Path) -> bool:
    """Tell whether a folder has a checkpoint, readable or not."""
    return (folder / CHECKPOINT).exists() or previous(folder / CHECKPOINT).exists()


def refuse_other_run(
    path: Path,
    written: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    anew: str,
    other_threads: bool = False,
    other_order: bool = False,
) -> None:
    """Raise if a checkpoint was written under other settings than those of this call, naming each that differs.

    Parameters
    ----------
    path
        The checkpoint, for the error.
    written, settings
        Settings of the checkpoint, and of this call.
    anew
        What a run that begins anew may have, beside ``restart``, for the error.
    other_threads, other_order
        Whether the number of threads, or the order of faces, may differ.

    Raises
    ------
    FsrcacheError
        With the name of each such setting and both values; of digests the name alone.
    """
    there, here = dict(_leaves(written)), dict(_leaves(json.loads(json.dumps(settings))))
    differing = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    allowed = ("threads",) * other_threads + ("order",) * other_order
    differing = [key for key in differing if key not in allowed]
    if differing == ["threads"]:
        before, now = there.get("threads"), here["threads"]
        same = [arguments(threads=before)] if before and now else []
        ways = "`{}`, which ends in the same bytes, or `{}`, which does not" if same else "`{}`, to other bytes"
        raise RequestError(
            f"{path} was made under another number of threads: {_threads(before)} there, {_threads(now)} here.",
            Remedy(
                f"Go on with {ways}, or begin anew: `{{}}`, or {anew}.",
                *same,
                arguments(threads=now or 1),
                arguments(restart=True),
            ),
        )
    if differing:
        changes = [_change(key, there.get(key), here.get(key)) for key in differing[:_NAMED]]
        more = f"; and {len(differing) - _NAMED:,} more" if len(differing) > _NAMED else ""
        lengths = set(differing) & set(_LENGTHS)
        longer = "The learning rate follows the length: another length is another run. " if lengths else ""
        raise RequestError(
            f"{path} was made under other settings: {'; '.join(changes)}{more}.",
            Remedy(
                f"{longer}Use the same settings to go on, or begin anew: `{{}}`, or {anew}.", arguments(restart=True)
            ),
        )


def _threads(count: object) -> str:
    return "a GPU" if count == 0 else f"{'an unknown number' if count is None else count}"


def _change(key: str, there: object, here: object) -> str:
    """Return in words how a setting differs; the digits of digests say nothing."""
    name = shortened(key)[1:-1]
    for group in _GROUPS:
        name = name.removeprefix(group)
    if key.startswith("extra.") and None in (there, here):
        return f"it draws from {key.removeprefix('extra.')} {'here' if there is None else 'there'} alone"
    if all(isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) for value in (there, here)):
        return f"the store has other {name[6:]}" if name.startswith("store.") else f"{name} is another"
    return f"{name} is {_value(there)} there and {_value(here)} here"


def _value(value: object) -> str:
    return f"{value:,}" if type(value) is int else shortened(value)


def _restore(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    modules: Mapping[str, nn.Module],
    optimisers: Mapping[str, Optimizer],
) -> None:
    try:
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, name))
        for name, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(tensors, name).items():
                index, _, moment = key.partition(".")
                state.setdefault(int(index), {})[moment] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    except (RuntimeError, ValueError, KeyError) as error:
        raise FsrcacheError(f"{path} does not fit: {error}.", "Remove it to begin again.") from None


def _digest(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> str:
    """Return the hexadecimal SHA-256 of a record of JSON values and of tensors on the CPU, by name."""
    digest = sha256(json.dumps(record, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
