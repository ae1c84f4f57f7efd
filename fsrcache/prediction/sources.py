"""Which pictures and videos are meant by paths: files, folders, patterns, standard input."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from glob import escape, glob
from os import PathLike, fspath
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.walk import LeftOut, walk_names
from fsrcache.prediction.answers import Failure
from fsrcache.records import shortened

STANDARD_INPUT = "-"
_PATTERN = frozenset("*?[")
_SEPARATORS = re.escape(os.sep + (os.altsep or ""))
_DEEP = re.compile(rf"(?:^|(?<=[{_SEPARATORS}]))\*\*(?:[{_SEPARATORS}]|$)")
_EMPTY = "a folder without a picture"
_NO_MATCH = "a pattern that matches no file"
_UNREADABLE = "folder that cannot be read"  # a reason of walk_names
_NAMED = 5  # names in a sentence


class Sources(NamedTuple):
    """What paths mean.

    Attributes
    ----------
    files
        The files in their order, and a failure where a folder or pattern has none, or a folder cannot be read.
    left_out
        What the folders and patterns hold beside them.
    """

    files: list[str | Failure]
    left_out: LeftOut


def list_sources(paths: Sequence[str | PathLike[str]]) -> Sources:
    """Return the files that paths mean, in their order.

    Parameters
    ----------
    paths
        Files of any kind, folders, whose pictures are listed by suffix, sorted, with those of folders in them;
        patterns such as ``party/*.jpg`` or ``**/*.png``, sorted; and ``-``, standard input. A file that is not there
        is listed where another one is: it fails alone.

    Raises
    ------
    RequestError
        If a path is none, or there is no file to read.
    """
    if isinstance(paths, str | PathLike):
        paths = [paths]
    sources = Sources([], LeftOut())
    for path in paths:
        text = fspath(path) if isinstance(path, str | PathLike) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise RequestError(f"A path is {shortened(path)}.", "It is the path of a picture, a folder or a video.")
        sources.files.extend(_files(text, sources.left_out))
    if not any(map(_is_there, sources.files)):
        where = ", ".join(map(str, paths[:3])) + ", ..." * (len(paths) > 3)
        raise RequestError(
            f"There is no picture at {where or 'no path at all'}.",
            "Name pictures, folders of pictures, patterns in quotes, a video, or - for standard input.",
        )
    return sources


def _is_there(source: str | Failure) -> bool:
    """Return whether there is something that can be read, or a folder that cannot."""
    if isinstance(source, Failure):
        return source.reason not in (_EMPTY, _NO_MATCH)
    return source == STANDARD_INPUT or bool(mode_of(source))


def _files(text: str, left_out: LeftOut) -> Iterator[str | Failure]:
    if text == STANDARD_INPUT:
        yield text
    elif S_ISDIR(mode_of(text)):
        yield from _in_folder(text, left_out)
    elif not mode_of(text) and _PATTERN & set(text):
        unreadable: list[str] = []
        files = sorted({one for one in _matches(text, unreadable) if not S_ISDIR(mode_of(one))})
        yield from files
        if unreadable:
            yield Failure(text, f"folders that cannot be read: {named(unreadable, len(unreadable))}")
        elif not files:
            yield Failure(text, _NO_MATCH)
    else:
        yield text


def _matches(pattern: str, unreadable: list[str]) -> Iterator[str]:
    """Yield what a pattern matches; ``**`` is a folder and those in it; add the folders that cannot be read."""
    deep = _DEEP.search(pattern)
    if deep is None:
        yield from glob(pattern)  # noqa: PTH207  from any root
        return
    above, rest = pattern[: deep.start()], pattern[deep.end() :] or "*"
    for root in glob(above) if above else [""]:  # noqa: PTH207
        for folder in _folders(root, unreadable):
            yield from _matches(f"{escape(folder)}{rest}", unreadable)


def _folders(folder: str, unreadable: list[str], above: tuple[Path, ...] = ()) -> Iterator[str]:
    """Yield a folder, whose name is empty or ends with a separator, and those in it but for hidden ones.

    A link to one of the folders above is left out: Python's own ``**`` follows it again and again.
    """
    real = Path(folder).resolve()
    if real in above:
        return
    try:
        names = sorted(path.name for path in real.iterdir())
    except OSError:
        unreadable.append(folder)
        return
    yield folder
    for name in names:
        if not name.startswith(".") and S_ISDIR(mode_of(f"{folder}{name}")):
            yield from _folders(f"{folder}{name}{os.sep}", unreadable, (*above, real))


def _in_folder(folder: str, left_out: LeftOut) -> Iterator[str | Failure]:
    """Yield the pictures of a folder, and a failure if it, or folders in it, cannot be read; add what is left out."""
    inside = LeftOut()
    try:
        pictures = [str(Path(folder, *parts)) for parts in walk_names(Path(folder), inside)]
    except FsrcacheError:
        yield Failure(folder, f"a {_UNREADABLE}")
        return
    yield from pictures
    if count := inside.counts.pop(_UNREADABLE, 0):
        names = named(inside.names.pop(_UNREADABLE), count)
        yield Failure(folder, f"folders in it that cannot be read: {names}")
    elif not pictures:
        yield Failure(folder, _EMPTY)
    left_out.counts.update(inside.counts)
    for reason, first in inside.names.items():
        left_out.names.setdefault(reason, []).extend(str(Path(folder, name)) for name in first)


def named(names: Sequence[str], count: int) -> str:
    """Return the first of so many names, and how many more there are."""
    first = names[:_NAMED]
    return ", ".join(first) + f" and {count - len(first):,} more" * (count > len(first))


def folder_read(path: str) -> tuple[str, bool] | None:
    """Return the folder that a folder or pattern reads, and whether the folders in it are read too; None for a file."""
    if S_ISDIR(mode_of(path)):
        return path, True
    if path == STANDARD_INPUT or mode_of(path) or not _PATTERN & set(path):
        return None
    parts = Path(path).parts
    first = next(place for place, part in enumerate(parts) if _PATTERN & set(part))
    return str(Path(*parts[:first])), "**" in parts


def mode_of(path: str) -> int:
    """Return the mode of a file; 0 where there is none that can be reached, a name too long included."""
    with suppress(OSError):
        return Path(path).stat().st_mode
    return 0
