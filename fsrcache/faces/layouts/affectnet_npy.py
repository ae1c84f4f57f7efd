"""AffectNet as files of annotations: train_set/annotations/1_exp.npy beside train_set/images/1.jpg."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import PICTURE_SUFFIXES
from fsrcache.faces.expressions import expression_named, split_named
from fsrcache.faces.layouts.affectnet_labels import NUMBERS, UNDERSTOOD, no_expression
from fsrcache.faces.walk import LeftOut, foreign, single_folder, text_of

_ANNOTATIONS, _IMAGES, _END = "annotations", "images", "_exp.npy"
_LOOKED_AT = 200  # files after which a folder without such a name holds other annotations
_MAX_BYTES = 1024  # that are read of a file with one label; numpy writes 132
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<>=|][USiuf]\d{1,3})', 'fortran_order': (?:True|False), 'shape': \((?:1,)?\), \} *\n"
)


def root_of(path: Path) -> Path:
    """Return the folder that holds the sets: an archive often unpacks into one folder in a folder."""
    return single_folder(path)


def sets_of(path: Path) -> list[tuple[Path, int]]:
    """Return the folders with such annotations and the split that each one's name means: of the path or inside it."""
    if not path.is_dir():
        return []
    root = root_of(path)
    folders = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
    return [
        (folder, split)
        for folder in folders
        if (split := split_named(folder.absolute().name)) is not None and _has_annotations(folder / _ANNOTATIONS)
    ]


def entries(sets: list[tuple[Path, int]], root: Path, left_out: LeftOut) -> Iterator[tuple[str, str, int]]:
    """Yield every picture that has an expression: name, label, split. No file is unpickled.

    Raises
    ------
    FsrcacheError
        If a file does not hold one label, or an unknown one.
    """
    for folder, split in sets:
        within = text_of(str((folder / _IMAGES).relative_to(root)))
        pictures = _pictures(folder / _IMAGES, left_out)
        for identity in _identities(folder / _ANNOTATIONS):
            file = folder / _ANNOTATIONS / (identity + _END)
            name = f"{within}/{text_of(pictures.pop(identity, identity + '.jpg'))}"
            label = _label(file)
            if reason := no_expression(label):
                left_out.add(f"labelled {reason}", name)
            elif expression_named(label) is None and label not in NUMBERS:
                raise FsrcacheError(
                    f"{file} holds the label {label[:40]!r}.", f"Understood: {UNDERSTOOD}, or these words."
                )
            else:
                yield name, label, split
        for picture in pictures.values():
            left_out.add(f"no file {_END} for the picture", f"{within}/{text_of(picture)}")


def _has_annotations(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as files:
        return any(file.name.endswith(_END) for file in islice(files, _LOOKED_AT))


def _identities(folder: Path) -> list[str]:
    with os.scandir(folder) as files:
        names = [file.name for file in files if file.name.endswith(_END) and foreign(file.name) is None]
    return sorted((name.removesuffix(_END) for name in names), key=os.fsencode)


def _pictures(folder: Path, left_out: LeftOut) -> dict[str, str]:
    """Return the pictures of a folder by their names without suffix."""
    pictures: dict[str, str] = {}
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    for name in sorted(names, key=os.fsencode):
        path = Path(name)
        if path.suffix.lower() not in PICTURE_SUFFIXES or foreign(name) is not None:
            left_out.add("not a picture by its suffix", f"{text_of(folder.name)}/{text_of(name)}")
        elif pictures.setdefault(path.stem, name) != name:
            left_out.add("second picture of a name", f"{text_of(folder.name)}/{text_of(name)}")
    return pictures


def _label(file: Path) -> str:
    """Return the label in a file of numpy's format: one text or whole number, read from its plain bytes."""
    with file.open("rb") as opened:
        content = opened.read(_MAX_BYTES)
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(content[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(content[start:end])
    if not content.startswith(_MAGIC) or header is None:
        raise _damaged(file, "is no numpy file of one text or number")
    try:
        kind = np.dtype(header[1].decode())
        value = np.frombuffer(content[end:], kind).reshape(()).item()
        text = value.decode("ascii") if isinstance(value, bytes) else str(value)
    except (TypeError, ValueError):
        raise _damaged(file, "does not hold one text or number") from None
    return text.strip().removesuffix(".0")


def _damaged(file: Path, what: str) -> FsrcacheError:
    return FsrcacheError(
        f"{file} {what}.", "Restore it, or remove it: its picture is then left out. It is never unpickled."
    )
