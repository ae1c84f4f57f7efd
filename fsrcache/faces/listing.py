"""The listing that a layout returns: every labelled picture by name, its label and split, and how to load it."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError
from fsrcache.faces.boxes import crop, split_box
from fsrcache.faces.decode import PictureError, Pictures, decode_noted
from fsrcache.faces.expressions import SPLITS, classes_of
from fsrcache.faces.walk import LeftOut, is_escaped, on_disk, text_of

SLASHES = "backslashes in the path, read as slashes"


@dataclass(frozen=True)
class Listing:
    """Labelled pictures, none of them decoded.

    Attributes
    ----------
    layout
        Name of the layout, a value of ``--format``.
    classes
        The ``K`` class names; a label is an index into them.
    names
        String array ``[n]``: each picture's identity inside the data, a path relative to their folder or a row.
    labels, splits
        uint8 ``[n]``; a split is an index into ``SPLITS``.
    load
        Function that decodes picture ``i`` as uint8 ``[H, W]`` or ``[H, W, 3]``; raises :class:`PictureError`.
    where
        Function that returns the location of picture ``i``: its path, or its file and row.
    mapping
        Class as written in the data -> class.
    left_out, left_out_names
        Reason -> number of entries that are left out for it, and the names of the first of them.
    notes
        Sentences about the data for the user, such as that no column or folder names the split.
    soft_labels
        float32 ``[n, K]``, rows sum to 1, for votes as ``soft`` labels.
    load_noted
        Function as ``load`` that also returns notes on the conversion of the file; None where files are all alike.

    Raises
    ------
    RequestError
        If classes, names, labels or splits are of another type or length, or a label or split is beyond its names.
    """

    layout: str
    classes: tuple[str, ...]
    names: NDArray[np.str_]
    labels: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    load: Callable[[int], Pictures]
    where: Callable[[int], str]
    mapping: dict[str, str]
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_names: dict[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    soft_labels: NDArray[np.float32] | None = None
    load_noted: Callable[[int], tuple[Pictures, tuple[str, ...]]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise RequestError(f"The classes of a listing are {self.classes!r}.", "They should be a tuple of names.")
        for what, count in (("labels", len(self.classes)), ("splits", len(SPLITS))):
            codes = getattr(self, what)
            if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.shape != (len(self.names),):
                raise RequestError(
                    f"The {what} of a listing are {_kind(codes)}, its names {len(self.names)}.",
                    "They should be uint8 [n], one for each name.",
                )
            if len(codes) and codes.max() >= count:
                raise RequestError(f"The {what} of a listing go up to {codes.max()}.", f"They should be below {count}.")


def _path(root: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """Return the file of a name, and a note if it is one with slashes where Windows wrote backslashes.

    Raises
    ------
    PictureError
        If the file's own name is not UTF-8, or the name is none that a file may have.
    """
    path = root / on_disk(name)
    if "\\" not in name:
        return path, ()
    try:
        if path.exists():
            return path, ()
        if is_escaped(root, name):
            raise PictureError("the file's name is not UTF-8; rename it")
        slashed = root / on_disk(name.replace("\\", "/"))
        return (slashed, (SLASHES,)) if slashed.exists() else (path, ())
    except OSError as error:  # such as a name that is too long
        raise PictureError(f"cannot be read: {error.strerror}") from None


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"of the type {type(value).__name__}"


def string_array(names: Iterable[str]) -> NDArray[np.str_]:
    """Return names as one compact array: 16 bytes each and their text, instead of a Python object each."""
    kind = np.dtypes.StringDType()
    parts: list[NDArray[np.str_]] = [np.empty(0, kind)]
    rest = iter(names)
    while some := list(islice(rest, 1 << 14)):
        parts.append(np.array(some, dtype=kind))
    whole: NDArray[np.str_] = np.concatenate(parts)
    return whole


def file_listing(
    layout: str,
    root: Path,
    *,
    entries: Iterable[tuple[str, str, int]],
    understand: Callable[[set[str]], dict[str, str]],
    left_out: LeftOut | None = None,
    notes: Callable[[int], tuple[str, ...]] = lambda _: (),
) -> Listing:
    """Make a listing of files.

    Parameters
    ----------
    layout, root
        Name of the layout, and folder that the names are relative to.
    entries
        ``(name, class as written, split)`` for every picture, iterated once; names as :func:`walk_pictures` yields them
        or as text from a file. A name may end in the box of one face, as :func:`with_box` writes it: the face is then
        cropped from the picture's own pixels.
    understand
        Function from all classes as written to the expression that each one means, called after the entries.
    left_out
        Entries that are not part of the data, read after ``entries``, whose generator may add to it.
    notes
        Function from the number of pictures to the notes of :class:`Listing`, called after the entries.
    """
    codes: dict[str, int] = {}
    written_codes, splits = array("L"), bytearray()

    def named() -> Iterator[str]:
        for name, written, split in entries:
            written_codes.append(codes.setdefault(written, len(codes)))
            splits.append(split)
            yield name

    listed = string_array(named())
    meaning = understand(set(codes))
    classes = classes_of(set(meaning.values()))
    label_of_code = np.array([classes.index(meaning[written]) for written in codes], np.uint8)

    def load_noted(i: int) -> tuple[Pictures, tuple[str, ...]]:
        name, box = split_box(str(listed[i]))
        path, slashes = _path(root, name)
        picture, notes = decode_noted(path)
        notes = (*slashes, *notes)
        if box is None:
            return picture, notes
        face, cut = crop(picture, box)
        return face, (*notes, *cut)

    return Listing(
        layout=layout,
        classes=classes,
        names=listed,
        labels=label_of_code[np.asarray(written_codes, np.int64)],
        splits=np.frombuffer(bytes(splits), np.uint8),
        load=lambda i: load_noted(i)[0],
        load_noted=load_noted,
        where=lambda i: str(Path(text_of(str(root))) / listed[i]),
        mapping=dict(sorted(meaning.items(), key=lambda pair: (classes.index(pair[1]), pair[0]))),
        left_out=dict(left_out.counts) if left_out else {},
        left_out_names=left_out.names if left_out else {},
        notes=notes(len(listed)),
    )
