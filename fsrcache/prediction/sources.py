"""Which pictures and videos are meant by paths: files, folders, patterns, standard input."""

from collections.abc import Sequence
from contextlib import suppress
from glob import glob
from os import PathLike, fspath
from pathlib import Path
from stat import S_ISDIR

from fsrcache.errors import RequestError
from fsrcache.faces.walk import LeftOut, walk_names
from fsrcache.records import shortened

STANDARD_INPUT = "-"
_PATTERN = frozenset("*?[")


def list_sources(paths: Sequence[str | PathLike[str]]) -> list[str]:
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
    files: list[str] = []
    for path in paths:
        text = fspath(path) if isinstance(path, str | PathLike) else None
        if not isinstance(text, str) or not text or "\0" in text:
            raise RequestError(f"A path is {shortened(path)}.", "It is the path of a picture, a folder or a video.")
        files += _files(text)
    if not any(file == STANDARD_INPUT or mode_of(file) for file in files):
        named = ", ".join(map(str, paths[:3])) + ", ..." * (len(paths) > 3)
        raise RequestError(
            f"There is no picture at {named or 'no path at all'}.",
            "Name pictures, folders of pictures, patterns in quotes, a video, or - for standard input.",
        )
    return files


def _files(text: str) -> list[str]:
    if text == STANDARD_INPUT:
        return [text]
    if S_ISDIR(mode_of(text)):
        return [str(Path(text, *parts)) for parts in walk_names(Path(text), LeftOut())]
    if not mode_of(text) and _PATTERN & set(text):
        matches = glob(text, recursive=True)  # noqa: PTH207  from any root
        return sorted(one for one in matches if not S_ISDIR(mode_of(one)))
    return [text]


def mode_of(path: str) -> int:
    """Return the mode of a file; 0 where there is none that can be reached, a name too long included."""
    with suppress(OSError):
        return Path(path).stat().st_mode
    return 0
