"""Looking at everything that is in a store: what is missing, short, corrupt, exchanged; and taking it out."""

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from fsrcache.errors import FsrcacheError
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.store.layout import ROOT, Place, documents, places
from fsrcache.store.lock import writer_lock
from fsrcache.store.objects import PARTIAL, Objects, objects_at
from fsrcache.store.root import Root, identity, parse_root, storage_errors
from fsrcache.store.shard import Damage, DamagedError, decode, digest_of
from fsrcache.store.spec import SPLITS, StoreSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store

Kind = Damage | Literal["missing", "wrong_digest", "exchanged", "unreadable"]
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
        ``not_finite``; ``unreadable``, by the storage's own error.
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
    watch: Watch = unwatched,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Read everything in a store and report what is not as it was written.

    Parameters
    ----------
    place
        As for ``FeatureStore``; the store may be incomplete.
    watch
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
        return _verify(objects, watch)[1]


def repair(
    place: "str | PathLike[str] | Store",
    *,
    watch: Watch = unwatched,
    storage_options: Mapping[str, Any] | None = None,
) -> Verdict:
    """Verify, remove exactly the damaged files and rewrite damaged metadata, so that the next extract completes it.

    A file that the storage fails to read may be sound and is left as it is. Where a file is missing or removed, or the
    root was damaged, the store is no longer complete; a store of which only other metadata were damaged is whole again.

    Parameters, result and errors are those of :func:`verify`; the result is what was found before the repair.
    """
    objects = objects_at(place, storage_options=storage_options)
    with storage_errors(f"The store {objects.name} cannot be repaired", remedy="See that it can be written."):
        if objects.folder and objects.folder.is_dir():
            with writer_lock(objects.folder, (1, 1)):
                return _repair(objects, watch)
        return _repair(objects, watch)


def _repair(objects: Objects, watch: Watch) -> Verdict:
    root, verdict = _verify(objects, watch)
    known = documents(root.spec)
    damaged = [problem for problem in verdict.problems if problem.kind != "unreadable"]  # they may be sound
    lost = [problem.key for problem in damaged if problem.key not in known]
    if lost and (verdict.complete or ROOT in lost):
        objects.write(ROOT, Root(root.spec).document())
    for problem in damaged:
        if problem.key in known:
            objects.write(problem.key, known[problem.key])
        elif problem.key != ROOT and problem.kind != "missing":
            objects.remove(problem.key)
    return verdict


def _verify(objects: Objects, watch: Watch) -> tuple[Root, Verdict]:
    there = set(objects.keys())
    root, problems = _root(objects, there)
    for key, document in documents(root.spec).items():
        if (data := objects.read(key)) != document:
            array = str(PurePosixPath(key).parent)
            problems.append(Problem(array, key, "missing" if data is None else "corrupt"))
    files = [(place, block) for place in places(root.spec) for block in range(len(place.keys))]
    seen: dict[str, str] = {}
    size = 0
    with ThreadPoolExecutor(_threads(objects)) as pool:
        looks = pool.map(lambda file: _look(objects, *file, expected=_expected(root, *file)), files)
        for done, ((place, block), (kind, found, length)) in enumerate(zip(files, looks, strict=True), 1):
            key, size = place.key(block), size + length
            if found:
                seen[key] = found
            if kind:
                problems.append(Problem(place.name, key, kind))
            watch(Progress("verifying", done, len(files), "files"))
    leftovers = tuple(sorted(key for key in there if key.endswith(PARTIAL)))
    problems = list(_with_exchanged(root, problems, seen))
    return root, Verdict(root.complete, tuple(problems), leftovers, len(files), size)


def _threads(objects: Objects) -> int:
    return min(4, os.cpu_count() or 1) if objects.folder else 16


def _root(objects: Objects, there: set[str]) -> tuple[Root, list[Problem]]:
    """Return the root, or what the metadata of the splits say it was."""
    data = objects.read(ROOT)  # a storage that fails here is no damage
    kind: Kind = "missing" if data is None else "corrupt"
    if data is not None:
        with suppress(FsrcacheError):
            known = parse_root(objects, data)
            return known, [Problem("", ROOT, "corrupt")] if data != known.document() else []
    found = [spec for split in SPLITS if (spec := identity(objects.read(f"{split}/{ROOT}")))]
    if not found:
        if kind == "missing" and not there:
            raise FsrcacheError(f"There is no feature store at {objects.name}.", "Name the folder of a store.")
        raise FsrcacheError(f"{objects.name} is no feature store, or its metadata are lost.", _LOST)
    return Root(replace(found[0], scales=_scales(found[0], there))), [Problem("", ROOT, kind)]


def _scales(spec: StoreSpec, there: set[str]) -> tuple[int, ...]:
    """Return the scales of which there is anything."""
    parts = [key.split("/") for key in there]
    named = {part[1][1:] for part in parts if part[0] in spec.splits and part[2:] == ["features", ROOT]}
    return tuple(sorted({1, *(int(name) for name in named if name.isascii() and name.isdigit() and int(name) >= 1)}))


def _expected(root: Root, place: Place, block: int) -> str | None:
    return None if root.shards is None else root.shards[place.name][block]


def _look(objects: Objects, place: Place, block: int, *, expected: str | None) -> tuple[Kind | None, str | None, int]:
    """Return what is wrong with a file, the digest that it has or claims, and its size."""
    try:
        data = objects.read(place.key(block))
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
