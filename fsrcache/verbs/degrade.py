"""``degrade``: the faces of a store as small pictures on disk, for super-resolvers that are no part of this program."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeVar

from PIL import Image

from fsrcache.ahead import ordered_map
from fsrcache.errors import RequestError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation, coarse_pictures
from fsrcache.faces.scale_folders import picture_path, scales_in
from fsrcache.files import as_path, read_regular, whole_file, write_whole
from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.records import parse_json, shortened, value_from
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.pictures import read_pictures, store_degradation
from fsrcache.workspace import Workspace, existing_workspace

_RECORD, _MOST_BYTES = "degrade.json", 1 << 16
_REMEDY = "Name another folder."
_WRITERS = 8  # threads, which wait for the disk
_Kind = TypeVar("_Kind", str, int)


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What fixes the small pictures of a folder: how they were made, the side and the digest of the store's faces."""

    degradation: Degradation
    side: int
    pictures: str


@dataclass(frozen=True, kw_only=True)
class DegradeResult:
    """What was written.

    Attributes
    ----------
    folder
        The folder, which has one for each scale.
    splits, scales
        Splits and scales of the pictures.
    side
        Pixels of a face at full resolution, to which pictures are to be enlarged.
    pictures, were_there
        Number of pictures in the folder, and how many of them were there before.
    seconds
        Duration of the call.
    """

    folder: str
    splits: tuple[str, ...]
    scales: tuple[int, ...]
    side: int
    pictures: int
    were_there: int
    seconds: float


def degrade(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    out: str | PathLike[str],
    store: str | PathLike[str] | None = None,
    splits: Sequence[str] | None = None,
    scales: Sequence[int] | None = None,
    on_progress: ProgressCallback = no_progress,
) -> DegradeResult:
    """Write the small pictures that the low-resolution views of a store are enlarged from, ``OUT/x4/NAME.png``.

    What a program makes of them goes to a folder of the same names, which ``evaluate`` scores: see its ``pictures``.
    Existing files are kept; ``OUT/degrade.json`` says which faces they are and how they were made.

    Parameters
    ----------
    workspace
        The workspace, or its folder, which remembers the faces.
    out
        Folder of the pictures, PNG of side ``ceil(S / scale)``.
    store
        The feature store; the workspace's where None.
    splits
        Splits of the store; None for all.
    scales
        Coarse scales of the store; None for all.
    on_progress
        Called every second.

    Raises
    ------
    RequestError
        If there is no such workspace, the store has no such split or scale, or the folder has pictures of other faces
        or made another way, or something else in the place of one.
    FsrcacheError
        If the faces are not at hand, or not those of the store, or a picture cannot be written.
    """
    began, folder, workspace = time.perf_counter(), as_path(out, name="out"), existing_workspace(workspace)
    features = FeatureStore(workspace.store if store is None else store)
    coarse = tuple(scale for scale in features.scales if scale > 1)
    chosen_splits = _chosen(splits, features.splits, "splits")
    chosen_scales = _chosen(scales, coarse, "coarse scales")
    degradation, written, pictures = store_degradation(features), 0, 0
    side: int = value_from(int, features.spec.recipe.get("side"), where=features.name, name="recipe.side")
    _keep_record(folder, _Record(degradation=degradation, side=side, pictures=features.spec.digests["pictures"]))
    for split in chosen_splits:
        names = [str(name) for name in features.ids(split)]
        missing = {
            number: targets
            for number, name in enumerate(names)
            if (targets := [(scale, path) for scale in chosen_scales
                            if not _is_there(path := picture_path(folder, scale, name))])
        }  # fmt: skip
        _check_folders({path.parent for targets in missing.values() for _, path in targets})
        pictures += len(names) * len(chosen_scales)
        faces = read_pictures(workspace, features, split, list(missing))
        work = zip(missing.values(), faces, strict=True)
        counts = ordered_map(partial(_write, degradation=degradation), work, threads=_WRITERS)
        written += sum(counted(counts, f"writing {split}", "faces", on_progress, total=len(missing)))
    return DegradeResult(
        folder=str(folder),
        splits=tuple(chosen_splits),
        scales=tuple(chosen_scales),
        side=side,
        pictures=pictures,
        were_there=pictures - written,
        seconds=time.perf_counter() - began,
    )


def _keep_record(folder: Path, record: _Record) -> None:
    """Write the record of a folder without pictures; refuse a folder of others.

    Raises
    ------
    RequestError
        With what differs.
    FsrcacheError
        If the record cannot be read or written.
    """
    path = folder / _RECORD
    try:
        text = read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        if folder.is_dir() and scales_in(folder):
            raise RequestError(f"{folder} has pictures, and no {_RECORD} that says of what.", _REMEDY) from None
        write_whole(path, (json.dumps(asdict(record), indent=2) + "\n").encode())
        return
    there = value_from(_Record, parse_json(text, where=path, remedy=_REMEDY), where=path, remedy=_REMEDY)
    names = [one.name for one in fields(_Record)]
    differing = [name for name in names if getattr(there, name) != getattr(record, name)]
    if differing:
        what = f"{folder} has pictures that differ from the store's in {', '.join(differing)}, by its {_RECORD}."
        raise RequestError(what, _REMEDY)


def _is_there(path: Path) -> bool:
    """Tell whether a picture is there; refuse anything else in its place."""
    if path.is_file():
        return True
    if path.exists():
        raise RequestError(f"{path} is no file, and a face has that name.", _REMEDY)
    return False


def _check_folders(folders: Iterable[Path]) -> None:
    """Refuse a file in the place of a folder that pictures go to."""
    for folder in folders:
        nearest = next(one for one in (folder, *folder.parents) if one.exists())
        if not nearest.is_dir():
            raise RequestError(f"{nearest} is no folder, and faces go into one of that name.", _REMEDY)


def _write(face: tuple[Sequence[tuple[int, Path]], Pictures], *, degradation: Degradation) -> int:
    """Write a face at some scales, each to a path; return their number."""
    targets, pixels = face
    for scale, path in targets:
        small = coarse_pictures(pixels[None], scale, degradation)[0]
        with whole_file(path) as file:
            Image.fromarray(small[..., 0] if small.shape[2] == 1 else small).save(file, format="PNG")
    return len(targets)


def _chosen(asked: Sequence[_Kind] | None, known: Sequence[_Kind], what: str) -> Sequence[_Kind]:
    """Return what is asked for, or else all; refuse what the store has not.

    Raises
    ------
    RequestError
        With what there is.
    """
    if asked is None:
        return known
    if isinstance(asked, str) or not asked or not set(asked) <= set(known):
        raise RequestError(f"The {what} are {shortened(asked)}.", f"Choose a list from {', '.join(map(str, known))}.")
    return list(dict.fromkeys(asked))
