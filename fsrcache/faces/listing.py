"""What a layout yields: every labelled picture by name, its label and split, and how to load it."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError
from fsrcache.faces.decode import PictureError, Pictures, decode, decode_noted
from fsrcache.faces.expressions import SPLITS, classes_of
from fsrcache.faces.walk import LeftOut


@dataclass(frozen=True)
class Listing:
    """Labelled pictures as found, none of them decoded.

    Attributes
    ----------
    layout
        The name of the layout, as ``--format`` takes it.
    classes
        The ``K`` class names; a label is an index into them.
    names
        String array ``[n]``: each picture's identity inside the data, a path relative to their folder or a row.
    labels, splits
        uint8 ``[n]``; a split is an index into ``SPLITS``.
    load
        Decodes picture ``i`` as uint8 ``[H, W]`` or ``[H, W, 3]``; raises :class:`PictureError`.
    where
        Shows picture ``i`` to a person: its path, or its file and row.
    mapping
        What was written in the data -> the class it was understood as.
    left_out, left_out_names
        Reason -> how many entries are not part of the data for that reason, and the names of the first of them.
    notes
        Sentences about the data that a person should hear, such as that nothing says which split a picture is of.
    soft_labels
        float32 ``[n, K]``, rows sum to 1, where the data have votes and they were asked for.
    load_noted
        As ``load``, with what is to be told of the picture's file, where that may be anything.

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
            raise RequestError(f"The classes of a listing are {self.classes!r}.", "They are a tuple of names.")
        for what, count in (("labels", len(self.classes)), ("splits", len(SPLITS))):
            codes = getattr(self, what)
            if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8 or codes.shape != (len(self.names),):
                raise RequestError(
                    f"The {what} of a listing are {_kind(codes)}, its names {len(self.names)}.",
                    "They are uint8 [n], one for each name.",
                )
            if len(codes) and codes.max() >= count:
                raise RequestError(f"The {what} of a listing go up to {codes.max()}.", f"They are below {count}.")


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"of the type {type(value).__name__}"


def string_array(names: Iterable[str]) -> NDArray[np.str_]:
    """Return names as one compact array: 16 bytes each and their text, instead of a Python object each."""
    kind = np.dtypes.StringDType()
    parts: list[NDArray[np.str_]] = [np.empty(0, kind)]
    rest = iter(names)
    while some := [_printable(name) for name in islice(rest, 1 << 14)]:
        parts.append(np.array(some, dtype=kind))
    whole: NDArray[np.str_] = np.concatenate(parts)
    return whole


def _printable(name: str) -> str:
    """Return a file's name, any bytes in it that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


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
        The layout's name and the folder that the names are relative to.
    entries
        ``(name, class as written, split)`` a picture, read once and not kept.
    understand
        Called after the entries with all classes as written; returns the expression that each one means.
    left_out
        What is found not to be part of the data; looked at after the entries, whose generator may add to it.
    notes
        Called with the number of pictures after the entries; returns the notes of :class:`Listing`.
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

    def file(i: int) -> Path:
        path = root / str(listed[i])
        if "\\x" in str(listed[i]) and not path.exists():
            raise PictureError("the file's name is not UTF-8; rename it")
        return path

    return Listing(
        layout=layout,
        classes=classes,
        names=listed,
        labels=label_of_code[np.asarray(written_codes, np.int64)],
        splits=np.frombuffer(bytes(splits), np.uint8),
        load=lambda i: decode(file(i)),
        load_noted=lambda i: decode_noted(file(i)),
        where=lambda i: str(root / listed[i]),
        mapping=dict(sorted(meaning.items(), key=lambda pair: (classes.index(pair[1]), pair[0]))),
        left_out=dict(left_out.counts) if left_out else {},
        left_out_names=left_out.names if left_out else {},
        notes=notes(len(listed)),
    )
