"""How the training faces are framed around what a finder finds in them: measured once, and kept in the workspace."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypedDict

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.layouts import fer2013, ferplus
from fsrcache.faces.limit import limited
from fsrcache.files import read_regular, write_whole
from fsrcache.prediction.finders import AS_FOUND, Detect, Framing
from fsrcache.prediction.tiles import Tile, pixels_of
from fsrcache.progress import ProgressCallback, note
from fsrcache.records import Between, parse_json, value_from
from fsrcache.workspace import Data, Workspace

FILE = "framing.json"
_MOST_BYTES = 1 << 16
_FACES, _LEAST = 48, 12  # that are searched, and in how many of them a face is found at least
_PIXELS = 120  # of a face's side as the finder sees it
_LARGE = 1 << 24  # bytes of data in one file, which take long to read
_WIDEST = 5.0  # longer sides of a box


class _Framing(TypedDict):
    """A framing as JSON."""

    side: Annotated[float, Between(1 / _WIDEST, _WIDEST)]
    down: Annotated[float, Between(-_WIDEST, _WIDEST)]


class _Record(TypedDict):
    """What stands in the file: the data's path, and the framing by finder."""

    data: str
    finders: Mapping[str, _Framing]


def framing_of(workspace: Workspace, detect: Detect, finder: str, *, on_progress: ProgressCallback) -> Framing:
    """Return how the training faces of a workspace are framed around a finder's boxes.

    The workspace's data are read for it once. A face is framed as the box itself where they are not there any more,
    are one large file such as FER2013's CSV, whose faces a finder had cropped, or hold few faces that are found.

    Parameters
    ----------
    workspace
        The workspace.
    detect, finder
        The finder, and its name.
    on_progress
        Called with notes.
    """
    data, path = workspace.data(), workspace.folder / FILE
    kept = _read(path, data)
    if finder not in kept:
        if data is None or _in_one_large_file(Path(data.path)):
            return AS_FOUND
        on_progress(note(f"Measuring once how the faces of {data.in_words} are framed."))
        try:
            kept[finder] = _measured(data, detect)
        except FsrcacheError as error:
            on_progress(note(f"{error.what} A face is framed as the finder's box: set the context if that is wrong."))
            return AS_FOUND
        _write(path, data, kept, on_progress)
    return Framing(**kept[finder])


def framing_to_carry(workspace: Workspace) -> bytes | None:
    """Return what a workspace keeps of its framing, for a folder without its data; None where it keeps nothing."""
    kept = _read(workspace.folder / FILE, workspace.data())
    return _document("", kept) if kept else None


def _in_one_large_file(path: Path) -> bool:
    """Tell whether all faces lie in one large file: the path's own, or FER2013's CSV in its folder or beside it."""
    pixels, _ = ferplus.files_of(path) or (fer2013.csv_of(path), None)
    return any(file is not None and file.is_file() and file.stat().st_size > _LARGE for file in (path, pixels))


def _measured(data: Data, detect: Detect) -> _Framing:
    """Return the median over training faces in which the finder finds a face."""
    listing = limited(list_faces(data.path, layout=data.layout, votes=data.votes), _FACES)
    faces = usable_faces(listing, on_error="skip")
    framings = list(_framings(faces.batch(np.arange(len(faces.labels))[:_FACES]), detect))
    if len(framings) < _LEAST:
        raise FsrcacheError(f"The finder finds a face in {len(framings)} of {_FACES} faces of {data.in_words}.")
    side, down = np.median(framings, axis=0).tolist()
    return _Framing(side=side, down=down)


def _framings(pictures: Pictures, detect: Detect) -> Iterator[tuple[float, float]]:
    """Yield side and position of each picture uint8 [S, S, C] in longer sides of the box that is found in it."""
    side = pictures.shape[1]
    margin, zoom = side // 2, _PIXELS / side
    for picture in pictures:
        padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="edge").squeeze()
        boxes = list(detect(pixels_of(padded, Tile(0, 0, len(padded), len(padded), zoom))))
        if boxes:
            _, y, width, height, _ = max(boxes, key=lambda one: one[2] * one[3])
            longer = max(width, height)
            yield _PIXELS / longer, (len(padded) * zoom / 2 - y - height / 2) / longer


def _read(path: Path, data: Data | None) -> dict[str, _Framing]:
    """Return the framings that a file keeps, of these data where a workspace remembers any."""
    try:
        record = value_from(_Record, parse_json(read_regular(path, most=_MOST_BYTES), where=path), where=path)
    except (FileNotFoundError, FsrcacheError):  # what is damaged is measured anew
        return {}
    return dict(record["finders"]) if data is None or record["data"] == data.path else {}


def _write(path: Path, data: Data, kept: Mapping[str, _Framing], on_progress: ProgressCallback) -> None:
    try:
        write_whole(path, _document(data.path, kept))
    except FsrcacheError as error:  # a workspace that is only read
        on_progress(note(f"{error.what} The framing is measured again next time."))


def _document(data: str, finders: Mapping[str, _Framing]) -> bytes:
    return (json.dumps(_Record(data=data, finders=finders), indent=2) + "\n").encode()
