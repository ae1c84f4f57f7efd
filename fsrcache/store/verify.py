"""Looking at everything that is in a store: what is missing, short, corrupt, exchanged, a link; and taking it out."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from fsrcache.errors import FsrcacheError
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.store.layout import ROOT, Place, documents, places
from fsrcache.store.local import PARTIAL, Entry, IrregularError, Odd
from fsrcache.store.lock import LOCK_NAME, remove_odd_locks, writer_lock
from fsrcache.store.objects import Objects, objects_at, read_at_most
from fsrcache.store.root import MOST_BYTES, Root, identity, parse_root, storage_errors
from fsrcache.store.shard import Damage, DamagedError, decode, digest_of
from fsrcache.store.spec import LARGEST_SCALE, SPLITS, StoreSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store

Kind = Damage | Odd | Literal["missing", "wrong_digest", "exchanged", "unreadable"]
Entries = Mapping[str, Entry]
_LOST = "Name the folder of a store. If it was one, nothing in it says any more what it is about: extract into another."


@dataclass(frozen=True)
class Problem:
    """A file that is not as it was written.

    Attributes
    ----------
    array
        Which array, or group, it belongs to; empty for the root.
    key
        The file.
    kind
        ``missing``; ``short`` or too long; ``corrupt``, by a checksum, its index or its text; ``wrong_digest``, sound
        in itself but not what was written there; ``exchanged``, the same where it belongs to another block or array;
        ``not_finite``; ``unreadable``, by the storage's own error. Of a local folder also what is no file of a store,
        wherever it stands in it: a symbolic ``link``; ``irregular``, a pipe, a socket, a device, a folder for a file or
        a file for a folder.
    """

    array: str
    key: str
    kind: Kind


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes
    ----------
    complete
        Whether the store says that it is.
    problems
        Every file that is not as it should be, in order of the store.
    leftovers
        Files that a killed writer left half-written; the next writer removes them.
    files, bytes
        How much was read.
    """

    complete: bool
    problems: tuple[Problem, ...]
    leftovers: tuple[str, ...]
    files: int
    bytes: int

    @property
    def ok(self) -> bool:
        """Whether the store is complete and everything as it was written."""
        return self.complete and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {"ok": self.ok, **asdict(self), "problems": [asdict(problem) for problem in self.problems]}


def verify(
    place: "str | PathLike[str] | Store",
    *,
    on_progress: ProgressCallback = no_progress,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Read everything in a store and report what is not as it was written.

    Parameters
    ----------
    place
        As for ``FeatureStore``; the store may be incomplete.
    on_progress
        Called after every file.
    storage_options
        Of fsspec, for a URL.

    Raises
    ------
    FsrcacheError
        If there is no store, or so little is left of its metadata that it cannot be told what should be there.
    """
    objects = objects_at(place, storage_options=storage_options)
    with storage_errors(f"The store {objects.name} cannot be verified", remedy="See that it can be read."):
        return _verify(objects, on_progress)[1]


def repair(
    place: "str | PathLike[str] | Store",
    *,
    on_progress: ProgressCallback = no_progress,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Verify, remove exactly the damaged files and rewrite damaged metadata, so that the next extract completes it.

    A file that the storage fails to read may be sound and is left as it is. Of a link the link is removed, never what
    it points to; of a folder in the place of a file, all that is in it. Where a file is missing or removed, or the
    root was damaged, the store is no longer complete; a store of which only other metadata were damaged is whole again.

    Parameters, result and errors are those of :func:`verify`; the result is what was found before the repair.
    """
    objects = objects_at(place, storage_options=storage_options)
    with storage_errors(f"The store {objects.name} cannot be repaired", remedy="See that it can be written."):
        if objects.folder and objects.folder.is_dir():
            locks = remove_odd_locks(objects.folder)
            with writer_lock(objects.folder, (1, 1)):
                verdict = _repair(objects, on_progress)
            found = tuple(Problem("", name, kind) for name, kind in locks.items())
            return replace(verdict, problems=(*found, *verdict.problems))
        return _repair(objects, on_progress)


def _repair(objects: Objects, on_progress: ProgressCallback) -> Verdict:
    root, verdict = _verify(objects, on_progress)
    known, files = documents(root.spec), {ROOT, *(key for place in places(root.spec) for key in place.keys)}
    damaged = [problem for problem in verdict.problems if problem.kind != "unreadable"]  # they may be sound
    for problem in sorted(damaged, key=lambda problem: problem.key.count("/")):
        if problem.kind in ("link", "irregular"):  # what is above stands in the way of what is below
            objects.remove(problem.key)
    lost = [problem.key for problem in damaged if problem.key in files]
    if lost and (verdict.complete or ROOT in lost):
        objects.write(ROOT, Root(root.spec).document())
    for problem in damaged:
        if problem.key in known:
            objects.write(problem.key, known[problem.key])
        elif problem.key != ROOT and problem.kind not in ("missing", "link", "irregular"):
            objects.remove(problem.key)
    return verdict


def _verify(objects: Objects, on_progress: ProgressCallback) -> tuple[Root, Verdict]:
    there = objects.entries()
    root, problems = _root(objects, there)
    known, all_places = documents(root.spec), places(root.spec)
    problems += _odd(there, {*known, *(key for place in all_places for key in place.keys)})
    for key, document in known.items():
        if (kind := _document_damage(objects, key, document, there)) is not None:
            problems.append(Problem(_array(key), key, kind))
    files = [(place, block) for place in all_places for block in range(place.files)]
    seen: dict[str, str] = {}
    size = 0
    with ThreadPoolExecutor(_threads(objects)) as pool:
        looks = pool.map(lambda file: _look(objects, there, *file, expected=_expected(root, *file)), files)
        for done, ((place, block), (kind, found, length)) in enumerate(zip(files, looks, strict=True), 1):
            key, size = place.key(block), size + length
            if found:
                seen[key] = found
            if kind and kind not in ("link", "irregular"):  # those are told of already
                problems.append(Problem(place.name, key, kind))
            on_progress(Progress("verifying", done, len(files), "files"))
    leftovers = tuple(sorted(key for key, entry in there.items() if entry == "file" and key.endswith(PARTIAL)))
    problems = list(_with_exchanged(root, problems, seen))
    return root, Verdict(root.complete, tuple(problems), leftovers, len(files), size)


def _threads(objects: Objects) -> int:
    return min(4, os.cpu_count() or 1) if objects.folder else 16


def _root(objects: Objects, there: Entries) -> tuple[Root, list[Problem]]:
    """Return the root, or what the metadata of the splits say it was."""
    kind: Kind
    data = None
    try:
        data = read_at_most(objects, ROOT, MOST_BYTES)  # a storage that fails here is no damage
        kind = "missing" if data is None else "corrupt"
    except IrregularError as error:
        kind = error.kind
    if data is not None:
        with suppress(FsrcacheError):
            known = parse_root(objects, data)
            return known, [Problem("", ROOT, "corrupt")] if data != known.document() else []
    found = [spec for split in SPLITS if (spec := _identity(objects, split))]
    if not found:
        if kind == "missing" and not there:
            raise FsrcacheError(f"There is no feature store at {objects.name}.", "Name the folder of a store.")
        raise FsrcacheError(f"{objects.name} is no feature store, or its metadata are lost.", _LOST)
    return Root(replace(found[0], scales=_scales(found[0], there))), [Problem("", ROOT, kind)]


def _identity(objects: Objects, split: str) -> StoreSpec | None:
    with suppress(IrregularError):
        return identity(read_at_most(objects, f"{split}/{ROOT}", MOST_BYTES))
    return None


def _odd(there: Entries, keys: set[str]) -> Iterator[Problem]:
    """Yield what is no file or folder, or one in the place of the other; the root is told of already."""
    folders = {folder for holder in {key.rpartition("/")[0] for key in keys} for folder in _above(holder)}
    for key, entry in there.items():
        kind: Entry = entry
        as_file = key in keys or LOCK_NAME.fullmatch(key) is not None
        if (as_file and entry == "folder") or (key in folders and entry == "file"):
            kind = "irregular"
        if kind in ("link", "irregular") and key != ROOT:
            yield Problem(_array(key), key, kind)


def _above(folder: str) -> Iterator[str]:
    """Yield a folder and those above it."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]


def _array(key: str) -> str:
    """Return the array or group that a file belongs to; empty for the root."""
    return key.partition("/c/")[0] if "/c/" in key else key.rpartition("/")[0]


def _document_damage(objects: Objects, key: str, document: bytes, there: Entries) -> Kind | None:
    """Return what is wrong with a file of metadata, if that is not told of already."""
    if key not in there:
        return "missing"
    if there[key] != "file":
        return None
    try:
        data = read_at_most(objects, key, len(document))
    except OSError:
        return "unreadable"
    return None if data == document else "missing" if data is None else "corrupt"


def _scales(spec: StoreSpec, there: Entries) -> tuple[int, ...]:
    """Return the scales of which there is anything."""
    parts = [key.split("/") for key in there]
    named = {part[1][1:] for part in parts if part[0] in spec.splits and part[2:] == ["features", ROOT]}
    numbers = {int(name) for name in named if name.isascii() and name.isdigit()}
    return tuple(sorted({1, *(number for number in numbers if 1 <= number <= LARGEST_SCALE)}))


def _expected(root: Root, place: Place, block: int) -> str | None:
    return None if root.shards is None else root.shards[place.name][block]


def _look(
    objects: Objects, there: Entries, place: Place, block: int, *, expected: str | None
) -> tuple[Kind | None, str | None, int]:
    """Return what is wrong with a file, the digest that it has or claims, and its size."""
    entry = there.get(key := place.key(block))
    if entry != "file":
        return "missing" if entry is None else "irregular", None, 0
    most = place.shard_bytes(block) if place.chunk else place.column_bytes
    try:
        data = read_at_most(objects, key, most)
    except OSError:
        return "unreadable", None, 0
    if data is None:
        return "missing", None, 0
    found = digest_of(place, data)
    try:
        decode(place, data, block=block)
    except DamagedError as error:
        return error.kind, found, len(data)
    return None if expected in (None, found) else "wrong_digest", found, len(data)


def _with_exchanged(root: Root, problems: list[Problem], seen: dict[str, str]) -> Iterator[Problem]:
    """Yield the problems, a file that is another one's as ``exchanged``."""
    found = {place.name: place.keys for place in places(root.spec)}
    right = {
        key: value
        for name, values in (root.shards or {}).items()
        for key, value in zip(found[name], values, strict=True)
    }
    everywhere = set(right.values())
    for problem in problems:
        claimed = seen.get(problem.key)
        moved = claimed in everywhere and claimed != right.get(problem.key)
        yield replace(problem, kind="exchanged") if moved else problem
