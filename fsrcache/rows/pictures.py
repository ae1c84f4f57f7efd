"""Rows of faces that other programs super-resolved, DIR/x4/NAME.png: the frozen extractor's features of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import split_features, stored_rows
from fsrcache.extraction.features import features_of_view, side_by_side
from fsrcache.extraction.inputs import luma
from fsrcache.extractors.identity import BATCH
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import PictureError, Pictures, decode
from fsrcache.faces.scale_folders import existing_picture, picture_path, scales_in
from fsrcache.files import read_regular, write_whole
from fsrcache.models.weights import read_record, read_weights, write_weights
from fsrcache.progress import counted, note
from fsrcache.records import parse_json, value_from
from fsrcache.rows.row import RowContext, no_obstacle

NAME = "pictures"
NOTE = "the extractor on faces that another program enlarged"
SETTINGS = None
train = None
obstacle = no_obstacle
KIND, RECORD = "picture-features", "pictures.json"
_MOST_BYTES = 1 << 20
_BATCHES_AHEAD = 2  # that wait for a thread


class _Record(TypedDict):
    """What is kept of a row: its folder, scales and splits, what its features depend on, and digests of its pictures.

    The digests are by split and scale, such as ``test-x4``; the file of the features has the beginning of one in its
    name.
    """

    folder: str
    scales: tuple[int, ...]
    splits: tuple[str, ...]
    source: Mapping[str, str]
    files: Mapping[str, str]


def add_pictures(context: RowContext, name: str, folder: Path, *, split: str) -> None:
    """Extract the features of a folder of enlarged faces for a row; those of files that have not changed are kept.

    A row of that name stays as it is until the new one is whole.

    Parameters
    ----------
    context
        What every row works with.
    name
        Name of the row.
    folder
        Folder with ``x4/NAME.png`` for a face NAME of the store, as ``picture_path`` writes it, for some of the store's
        coarse scales. Pictures of another size than the extractor's are resized to it.
    split
        Split whose faces must be there; others are there whole or not at all.

    Raises
    ------
    RequestError
        If there is no such folder, or it has no scale of the store.
    FsrcacheError
        If pictures are missing or cannot be read.
    """
    target = context.workspace.pictures(name)
    scales = _scales(context, folder)
    files = _files(context, folder, scales, split)
    source = _source(context)
    record: _Record = {
        "folder": str(folder.absolute()),
        "scales": tuple(scales),
        "splits": tuple(dict.fromkeys(one for one, _ in files)),
        "source": source,
        "files": {_key(*key): _digest(folder, paths, source) for key, paths in files.items()},
    }
    for (one, scale), paths in files.items():
        path, wanted = _file(target, record, one, scale), {"files": record["files"][_key(one, scale)]}
        if not _is_there(path, wanted):
            features = _extracted(context, paths, one, f"{name}: {one} at x{scale}")
            write_weights(path, {"features": torch.from_numpy(features)}, kind=KIND, record=wanted)
    write_whole(target / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    for path in set(target.glob("*.safetensors")) - {_file(target, record, *key) for key in files}:
        path.unlink(missing_ok=True)  # of the row before


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return a row for every folder of pictures that was named once; it is without seed.

    Where the pictures are gone or others by now, the row is that of the pictures before, and a note says so.
    """
    ready = []
    for name, record in _records(context):
        change = _change(context, record)
        if change:
            context.on_progress(note(f"{name}: the folder {record['folder']} {change}."))
        ready.append(
            Predictor(
                row=name,
                name=f"{NAME}/{name}",
                source={"pictures": sha256(" ".join(record["files"].values()).encode()).hexdigest()},
                extractor=context.extractor,
                features=partial(_features, context, context.workspace.pictures(name), record),
                scales=(1, *record["scales"]),
                splits=record["splits"],
                note=f"{NOTE}, from the folder {Path(record['folder']).name}{change and ', which '}{change}",
            )
        )
    return ready


def enlarged_faces(
    context: RowContext, split: str, numbers: Sequence[int]
) -> Iterator[tuple[str, dict[tuple[int, int], Pictures]]]:
    """Yield rows of pictures and their faces uint8 ``[S, S, C]`` of a split, by number and scale.

    Where pictures are gone, a note says so.
    """
    names = context.store.ids(split)
    for row, record in _records(context):
        folder, faces = Path(record["folder"]), {}
        try:
            for number in numbers if split in record["splits"] else ():
                for scale in record["scales"]:
                    path = existing_picture(folder, scale, str(names[number]))
                    if path is None:
                        raise FsrcacheError(f"{picture_path(folder, scale, str(names[number]))} is not there any more.")
                    faces[number, scale] = _fitted(context, _decoded(path))
        except FsrcacheError as error:
            context.on_progress(note(f"No faces of {row}: {error.what}"))
        if faces:
            yield row, faces


def _records(context: RowContext) -> Iterator[tuple[str, _Record]]:
    """Yield name and record of the rows of this store and extractor; others are noted."""
    source = _source(context)
    for path in sorted(context.workspace.folder.glob(f"{NAME}/*/{RECORD}")):
        name = path.parent.name
        record: _Record = value_from(_Record, parse_json(read_regular(path, most=_MOST_BYTES), where=path), where=path)
        if record["source"] == source:
            yield name, record
        else:
            context.on_progress(
                note(f"{name} is left out: it is of another store or extractor. Name its folder again.")
            )


def _source(context: RowContext) -> dict[str, str]:
    """Return the digests of what features depend on beside the pictures."""
    return {**context.store.spec.content_digests, "extractor": context.extractor.digest}


def _change(context: RowContext, record: _Record) -> str:
    """Return what became of a row's folder since its features were extracted; empty where it is the same."""
    folder = Path(record["folder"])
    try:
        if not folder.is_dir():
            return "is gone; the scores are those of its pictures before"
        for split in record["splits"]:
            for scale in record["scales"]:
                paths = [existing_picture(folder, scale, str(name)) for name in context.store.ids(split)]
                there = [path for path in paths if path is not None]
                if record["files"][_key(split, scale)] != _digest(folder, there, record["source"]):
                    return "has changed; the scores are those of its pictures before"
    except OSError as error:
        return f"cannot be read ({error.strerror}); the scores are those of its pictures before"
    return ""


def _scales(context: RowContext, folder: Path) -> list[int]:
    """Return the scales of a folder that the store has."""
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}.", "Name one of enlarged faces.")
    coarse = [scale for scale in context.store.scales if scale > 1]
    there = scales_in(folder)
    if unknown := [f"x{scale}" for scale in there if scale not in coarse]:
        context.on_progress(note(f"Left out: {', '.join(unknown)} of {folder}, which the store does not have."))
    if not set(there) & set(coarse):
        names = ", ".join(f"x{scale}" for scale in coarse)
        raise RequestError(f"{folder} has no folder of a scale of the store.", f"Name one with folders of {names}.")
    return [scale for scale in there if scale in coarse]


def _files(context: RowContext, folder: Path, scales: Sequence[int], split: str) -> dict[tuple[str, int], list[Path]]:
    """Return the files of the store's faces, in its order, by split and scale."""
    files: dict[tuple[str, int], list[Path]] = {}
    for one in context.store.splits:
        names = [str(name) for name in context.store.ids(one)]
        paths = {(one, scale): [existing_picture(folder, scale, name) for name in names] for scale in scales}
        missing = [
            (scale, name)
            for (_, scale), listed in paths.items()
            for name, path in zip(names, listed, strict=True)
            if path is None
        ]
        if one != split and len(missing) == len(names) * len(scales):
            continue
        if missing:
            first = picture_path(folder, *missing[0])
            raise FsrcacheError(
                f"{len(missing):,} of {len(names) * len(scales):,} pictures of {one} are missing, first {first}.",
                "Add them, or leave out the whole folder of a scale; any other split may be missing as a whole.",
            )
        files |= {key: [path for path in listed if path is not None] for key, listed in paths.items()}
    return files


def _extracted(context: RowContext, paths: Sequence[Path], split: str, phase: str) -> NDArray[np.floating[Any]]:
    """Return the features of a split's pictures [n, P], in the batches of an extraction and the store's precision."""
    spec, extractor = context.store.spec, context.extractor
    blocks = [paths[spec.rows_of(split, block)] for block in range(spec.blocks(split))]
    batches = [block[start : start + BATCH] for block in blocks for start in range(0, len(block), BATCH)]
    others: list[Path] = []  # of another size

    def features(batch: Sequence[Path]) -> NDArray[np.float32]:
        pictures = [_decoded(path) for path in batch]
        others.extend(path for path, one in zip(batch, pictures, strict=True) if set(one.shape[:2]) != {extractor.side})
        view = np.stack([_fitted(context, one) for one in pictures]).transpose(0, 3, 1, 2)
        return features_of_view(extractor, np.ascontiguousarray(view)).features

    with side_by_side(extractor) as workers:
        under_way = workers.threads + _BATCHES_AHEAD
        parts = ordered_map(features, batches, threads=workers.threads, under_way=under_way, begin=workers.begin)
        every = list(counted(parts, phase, "batches", context.on_progress, total=len(batches)))
    if others:
        side = f"{extractor.side} x {extractor.side}"
        context.on_progress(
            note(f"{phase}: {len(others):,} pictures are resized to {side} pixels, such as {others[0]}.")
        )
    return np.concatenate(every).astype(spec.dtype)


def _decoded(path: Path) -> Pictures:
    try:
        return decode(path)
    except PictureError as error:
        raise FsrcacheError(f"{path} cannot be read: {error}.", "Make it again.") from None


def _fitted(context: RowContext, picture: Pictures) -> Pictures:
    """Return a picture as the extractor takes the store's, uint8 ``[S, S, C]``."""
    side, channels = context.extractor.side, context.store.spec.recipe["channels"]
    if picture.shape[:2] != (side, side):
        picture = imresize(picture, size=(side, side))
    picture = picture.reshape(side, side, -1)
    return luma(picture) if channels == 1 else np.broadcast_to(picture, (side, side, channels))


def _features(context: RowContext, folder: Path, record: _Record, split: str, scale: int) -> NDArray[np.floating[Any]]:
    if scale == 1:
        return split_features(context.store, split, 1)
    name, rows = stored_rows(context.store, split)
    path = _file(folder, record, name, scale)
    features: NDArray[np.floating[Any]] = read_weights(path, kind=KIND)[0]["features"].numpy()
    return features[rows]


def _file(folder: Path, record: _Record, split: str, scale: int) -> Path:
    """Return the file of the features, whose name differs with the pictures: no other row's is replaced."""
    key = _key(split, scale)
    return folder / f"{key}-{record['files'][key][:16]}.safetensors"


def _key(split: str, scale: int) -> str:
    return f"{split}-x{scale}"


def _is_there(path: Path, wanted: Mapping[str, Any]) -> bool:
    try:
        return path.exists() and read_record(path, kind=KIND) == wanted
    except FsrcacheError:  # damaged: it is made again
        return False


def _digest(folder: Path, paths: Sequence[Path], source: Mapping[str, str]) -> str:
    """Return the hexadecimal SHA-256 of files' names, sizes and times, and of what features depend on beside them."""
    digest = sha256(json.dumps(source, sort_keys=True).encode())
    for path in paths:
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()
