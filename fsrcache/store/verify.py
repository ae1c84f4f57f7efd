"""Checking every file of a store, and removing those that are damaged."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from functools import reduce
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.errors import FsrcacheError
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.split_names import view_number
from fsrcache.store.layout import ROOT, ArrayLayout, arrays
from fsrcache.store.local import Entry, IrregularError, Odd
from fsrcache.store.lock import LOCK_NAME, alone, remove_odd_locks, writer_lock
from fsrcache.store.metadata import MOST_BYTES, documents
from fsrcache.store.objects import PARTIAL, Objects, location_of, objects_at, storage_errors
from fsrcache.store.root import Root, identity, is_of_other_version, parse_root
from fsrcache.store.shard import Damage, DamagedError, decode, digest_of
from fsrcache.store.spec import LARGEST_SCALE, SPLITS, UNLABELLED, StoreSpec
from fsrcache.threads import usable_threads

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
        Array or group that it belongs to; empty for the root.
    key
        Key of the file.
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
    """What verifying a store came to.

    Attributes
    ----------
    complete
        Whether the store says that it is.
    problems
        Every file that is not as it should be, in order of the store.
    leftovers
        Files that a killed writer left half-written; the next writer removes them.
    files, bytes
        Number of the arrays' files, those of scales that are being added among them, and the bytes read of them.
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
    location: "str | PathLike[str] | Store",
    *,
    on_progress: ProgressCallback = no_progress,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Read everything in a store and report what is not as it was written.

    Parameters
    ----------
    location
        Location as for ``FeatureStore``; the store may be incomplete.
    on_progress
        Called after every file.
    storage_options
        Options of fsspec, for a URL.

    Raises
    ------
    FsrcacheError
        If there is no store, it is of another version, or too little is left of its metadata to know what should be
        there.
    """
    objects = objects_at(location, storage_options=storage_options)
    with storage_errors(f"The store {objects.name} cannot be verified", objects, remedy="See that it can be read."):
        return _verify(objects, on_progress)[1]


def repair(
    location: "str | PathLike[str] | Store",
    *,
    on_progress: ProgressCallback = no_progress,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Verify, remove exactly the damaged files and rewrite damaged metadata, so that the next extract completes it.

    A file that the storage fails to read may be sound and is left as it is. A link is removed, never what it points to;
    a folder that stands for a file is removed with everything in it. Where a file is missing or removed, or the
    root was damaged, the store is no longer complete; a store of which only other metadata were damaged is whole again.
    Of an extra split that is being added and whose hashes are damaged, everything is removed: they say whose faces its
    features are of.

    Parameters, result and errors are those of :func:`verify`; the result is the verdict before the repair.
    """
    objects = objects_at(location, storage_options=storage_options)
    with storage_errors(f"The store {objects.name} cannot be repaired", objects, remedy="See that it can be written."):
        if objects.folder and objects.folder.is_dir():
            locks = remove_odd_locks(objects.folder)
            with ExitStack() as held:
                with alone(objects.folder):
                    held.enter_context(writer_lock(objects.folder, (1, 1)))
                verdict = _repair(objects, on_progress)
            odd = tuple(Problem("", name, kind) for name, kind in locks.items())
            return replace(verdict, problems=(*odd, *verdict.problems))
        return _repair(objects, on_progress)


def _repair(objects: Objects, on_progress: ProgressCallback) -> Verdict:
    root, verdict = _verify(objects, on_progress)
    metadata, files = documents(root.spec), {ROOT, *(key for array in arrays(root.spec) for key in array.keys)}
    damaged = [problem for problem in verdict.problems if problem.kind != "unreadable"]  # they may be sound
    for problem in sorted(damaged, key=lambda problem: problem.key.count("/")):
        if problem.kind in ("link", "irregular"):  # what is above stands in the way of what is below
            objects.remove(problem.key)
    lost = [problem.key for problem in damaged if problem.key in files]
    if lost and (verdict.complete or ROOT in lost):
        objects.write(ROOT, Root(root.spec).document())
    for key in _of_unknown_faces(root.spec, objects, damaged):
        objects.remove(key)
    for problem in damaged:
        if problem.key in metadata:
            objects.write(problem.key, metadata[problem.key])
        elif problem.key != ROOT and problem.kind not in ("missing", "link", "irregular"):
            objects.remove(problem.key)
    return verdict


def _of_unknown_faces(spec: StoreSpec, objects: Objects, damaged: list[Problem]) -> list[str]:
    """Return the sound files of the extra splits that are being added and whose hashes are damaged."""
    keys = {problem.key for problem in damaged}
    splits = {problem.array.partition("/")[0] for problem in damaged if problem.array.endswith("/hashes")}
    splits -= {*spec.every_split}
    return [key for key in objects.entries() if key.partition("/")[0] in splits and key not in keys] if splits else []


def _verify(objects: Objects, on_progress: ProgressCallback) -> tuple[Root, Verdict]:
    entries = objects.entries()
    root, problems = _root(objects, entries)
    metadata, every, added = documents(root.spec), arrays(root.spec), _added(root.spec, objects, entries)
    problems += _odd(entries, {*metadata, *(key for array in (*every, *added) for key in array.keys)})
    for key, document in metadata.items():
        if (kind := _document_damage(objects, key, document, entries)) is not None:
            problems.append(Problem(_array(key), key, kind))
    files = [(array, block) for array in every for block in range(array.files)]
    files += [(array, block) for array in added for block in range(array.files) if array.key(block) in entries]
    digests: dict[str, str] = {}
    size, whole, first = 0, sum(array.nbytes for array in every), FirstSeconds()
    with ThreadPoolExecutor(_threads(objects)) as pool:
        checks = pool.map(lambda file: _check(objects, entries, *file, expected=_expected(root, *file)), files)
        for count, ((array, block), (kind, digest, length)) in enumerate(zip(files, checks, strict=True), 1):
            key, size = array.key(block), size + length
            if digest:
                digests[key] = digest
            if kind and kind not in ("link", "irregular"):  # those are among the problems already
                problems.append(Problem(array.name, key, kind))
            on_progress(Progress("verifying", count, len(files), "files"))
            if pace := first.measured(size):
                work = f"{several(len(files), 'file')}, {whole / 1e9:,.1f} GB"
                announce(on_progress, pace.seconds_each * (whole - size), work, by=f"the first {size / 1e6:,.0f} MB")
    leftovers = tuple(sorted(key for key, entry in entries.items() if entry == "file" and key.endswith(PARTIAL)))
    problems = list(_with_exchanged(root, problems, digests))
    return root, Verdict(root.complete, tuple(problems), leftovers, len(files), size)


def _threads(objects: Objects) -> int:
    return min(4, usable_threads()) if objects.folder else 16


def _root(objects: Objects, entries: Entries) -> tuple[Root, list[Problem]]:
    """Return the root, or what the metadata of the splits say it was."""
    kind: Kind
    data = None
    try:
        data = objects.read(ROOT, most=MOST_BYTES)  # a storage that fails here is no damage
        kind = "missing" if data is None else "corrupt"
    except IrregularError as error:
        kind = error.kind
    refusal = None
    if data is not None:
        try:
            root = parse_root(data, store=objects.name, location=location_of(objects))
            return root, [Problem("", ROOT, "corrupt")] if data != root.document() else []
        except FsrcacheError as error:
            refusal = error if is_of_other_version(data) else None
    specs = [spec for split in (*SPLITS, *_extra(entries)) if (spec := _identity(objects, split))]
    if not specs:  # the version of a root alone may be damaged too
        if refusal:
            raise refusal
        if kind == "missing" and not entries:
            raise FsrcacheError(f"There is no feature store at {objects.name}.", "Name the folder of a store.")
        raise FsrcacheError(f"{objects.name} is no feature store, or its metadata are lost.", _LOST)
    spec = reduce(StoreSpec.with_additions, specs)
    return Root(replace(spec, scales=_scales(spec, entries))), [Problem("", ROOT, kind)]


def _identity(objects: Objects, split: str) -> StoreSpec | None:
    with suppress(IrregularError):
        return identity(objects.read(f"{split}/{ROOT}", most=MOST_BYTES))
    return None


def _odd(entries: Entries, keys: set[str]) -> Iterator[Problem]:
    """Yield what is no file or folder, or one where the other belongs, but for the root."""
    folders = {folder for holder in {key.rpartition("/")[0] for key in keys} for folder in _above(holder)}
    for key, entry in entries.items():
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


def _document_damage(objects: Objects, key: str, document: bytes, entries: Entries) -> Kind | None:
    """Return what is wrong with a file of metadata; None also for what is no file, which is a problem already."""
    if key not in entries:
        return "missing"
    if entries[key] != "file":
        return None
    try:
        data = objects.read(key, most=len(document))
    except OSError:
        return "unreadable"
    return None if data == document else "missing" if data is None else "corrupt"


def _added(spec: StoreSpec, objects: Objects, entries: Entries) -> list[ArrayLayout]:
    """Return the arrays of scales and extra splits that are being added to a store."""
    known = {array.name for array in arrays(spec)}
    others = [one for split in _extra(entries) if split not in spec.extra and (one := _identity(objects, split))]
    others = [one for one in others if not spec.differences(one)]
    spec = reduce(StoreSpec.with_additions, others, spec)
    return [array for array in arrays(spec.with_scales(_scales(spec, entries))) if array.name not in known]


def _extra(entries: Entries) -> list[str]:
    """Return the extra splits that have any file."""
    names = {key.partition("/")[0] for key in entries}
    return sorted(name for name in names if name == UNLABELLED or view_number(name))


def _scales(spec: StoreSpec, entries: Entries) -> tuple[int, ...]:
    """Return the scales that have any features."""
    parts = [key.split("/") for key in entries]
    names = {part[1][1:] for part in parts if part[0] in spec.every_split and part[2:3] == ["features"]}
    numbers = {int(name) for name in names if name.isascii() and name.isdigit()}
    return tuple(sorted({1, *(number for number in numbers if 1 <= number <= LARGEST_SCALE)}))


def _expected(root: Root, array: ArrayLayout, block: int) -> str | None:
    return None if root.shards is None or array.name not in root.shards else root.shards[array.name][block]


def _check(
    objects: Objects, entries: Entries, array: ArrayLayout, block: int, *, expected: str | None
) -> tuple[Kind | None, str | None, int]:
    """Return what is wrong with a file, the digest that it has or claims, and its size."""
    entry = entries.get(key := array.key(block))
    if entry != "file":
        return "missing" if entry is None else "irregular", None, 0
    most = array.shard_bytes(block) if array.chunk else array.column_bytes
    try:
        data = objects.read(key, most=most)
    except OSError:
        return "unreadable", None, 0
    if data is None:
        return "missing", None, 0
    digest = digest_of(array, data)
    try:
        decode(array, data, block=block)
    except DamagedError as error:
        return error.kind, digest, len(data)
    return None if expected in (None, digest) else "wrong_digest", digest, len(data)


def _with_exchanged(root: Root, problems: list[Problem], digests: dict[str, str]) -> Iterator[Problem]:
    """Yield the problems, a file that is another one's as ``exchanged``."""
    keys = {array.name: array.keys for array in arrays(root.spec)}
    right = {
        key: value
        for name, values in (root.shards or {}).items()
        for key, value in zip(keys[name], values, strict=True)
    }
    every = set(right.values())
    for problem in problems:
        digest = digests.get(problem.key)
        moved = digest in every and digest != right.get(problem.key)
        yield replace(problem, kind="exchanged") if moved else problem
