"""Walks the folders of a data set: every picture once by every path; other entries are counted and named.

A name from the file system is text in the encoding of the process's locale. Here it becomes ``text_of``, the same in
every locale, and ``on_disk`` is the way back, without which an open fails where the locale is not UTF-8.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import PICTURE_SUFFIXES
from fsrcache.faces.expressions import expression_named, split_named

_ESCAPE = re.compile(rb"\\x([89a-f][0-9a-f])")
_NAMED = 10  # names for each reason
_VISITS = 64  # of one folder, by different links: links to links may multiply without end
_SYSTEM = frozenset(
    (
        *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # network storage
        *("__macosx", ".appledouble", ".ds_store", ".trashes", ".spotlight-v100", ".fseventsd", "icon\r"),
        *("lost+found", "$recycle.bin", "recycler", "system volume information"),
        *("thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "desktop.ini"),
    )
)


@dataclass
class LeftOut:
    """Entries that are not part of the data.

    Attributes
    ----------
    counts
        Reason -> how many.
    names
        Reason -> the first ten of them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        """Count an entry, and record its name if it is one of the first."""
        self.counts[reason] += 1
        first = self.names.setdefault(reason, [])
        if len(first) < _NAMED:
            first.append(name)


def text_of(name: str) -> str:
    """Return a name or path of the file system as text; bytes in it that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def on_disk(text: str) -> str:
    """Return the name or path by which the file system knows a text."""
    return os.fsdecode(text.encode("utf-8"))


def is_escaped(root: Path, name: str) -> bool:
    """Return whether a name below a folder has escapes, as ``text_of`` writes bytes, and is that of a file."""
    text = name.encode("utf-8")
    own = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text)
    return own != text and (root / os.fsdecode(own)).exists()


def foreign(name: str) -> str | None:
    """Return why a file or folder of that name is no part of any data: ``system`` or ``hidden``; None if it may be."""
    if name.lower() in _SYSTEM or name.startswith("._"):
        return "system"
    return "hidden" if name.startswith(".") else None


def walk_pictures(root: Path, left_out: LeftOut) -> Iterator[tuple[str, ...]]:
    """Yield what :func:`walk_names` yields as text."""
    for parts in walk_names(root, left_out):
        yield tuple(text_of(part) for part in parts)


def walk_names(root: Path, left_out: LeftOut) -> Iterator[tuple[str, ...]]:
    """Yield every picture below a folder, by its suffix, as the parts of its relative path on the disk, sorted.

    Links are followed; a picture that is reached by two paths is listed twice, and shows as the duplicate that it is. A
    link to a folder around it is left out, as are hidden and system files and folders, folders that cannot be read
    and files that are no pictures.

    Raises
    ------
    FsrcacheError
        If the folder itself cannot be read.
    """
    visits: Counter[tuple[int, int]] = Counter()
    above: list[tuple[int, int]] = []  # the folders that the walk is in, outermost first
    rest: list[tuple[tuple[str, ...], Iterator[tuple[str, bool]]]] = []

    def enter(parts: tuple[str, ...]) -> None:
        folder, name = root.joinpath(*parts), text_of("/".join(parts) + "/")
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                left_out.add("link to a folder that it lies in", name)
                return
            visits[identity] += 1
            if visits[identity] > _VISITS:
                left_out.add(f"folder that {_VISITS} other links lead to", name)
                return
            children = _children(folder)
        except OSError as error:
            if not parts:
                raise FsrcacheError(f"{root} cannot be listed: {error.strerror}.", "Check its permissions.") from None
            left_out.add("folder that cannot be read", name)
            return
        above.append(identity)
        rest.append((parts, iter(children)))

    enter(())
    while rest:
        outer, children = rest[-1]
        child = next(children, None)
        if child is None:
            rest.pop()
            above.pop()
            continue
        name, is_folder = child
        parts = (*outer, name)
        if is_folder and foreign(name) is None:
            enter(parts)
        elif Path(name).suffix.lower() in PICTURE_SUFFIXES and foreign(name) is None:
            yield parts
        else:
            reason = _reason(root.joinpath(*parts), is_folder=is_folder)
            left_out.add(reason, text_of("/".join(parts) + "/" * is_folder))


def _children(folder: Path) -> list[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        children = [(entry.name, _is_folder(entry)) for entry in entries]
    return sorted(children, key=lambda child: os.fsencode(child[0]))  # the order of every locale


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _leads_nowhere(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode) and not path.exists()
    except OSError:
        return True


def single_folder(path: Path, left_out: LeftOut | None = None) -> Path:
    """Return the folder that really holds the data: archives often unpack into one folder in a folder.

    A folder named after a split or an expression is data itself. Entries beside the folders on the way are left out.
    """
    if not path.is_dir():
        raise FsrcacheError(f"{path} is not a folder.", "Name the folder that holds the pictures.")
    passed = {path.resolve()}
    while True:
        children = _children(path)
        folders = [path / name for name, is_folder in children if is_folder and foreign(name) is None]
        if len(folders) != 1 or any(
            Path(name).suffix.lower() in PICTURE_SUFFIXES and foreign(name) is None for name, _ in children
        ):
            return path
        inner = folders[0]
        if split_named(inner.name) is not None or expression_named(inner.name) is not None or inner.name.isdigit():
            return path
        if inner.resolve() in passed or not os.access(inner, os.R_OK | os.X_OK):
            return path
        for name, is_folder in children:
            if left_out is not None and name != inner.name:
                left_out.add(_reason(path / name, is_folder=is_folder), text_of(name) + "/" * is_folder)
        passed.add(inner.resolve())
        path = inner


def folder_near(file: Path, names: tuple[str, ...], *, above: int) -> tuple[Path, str]:
    """Return the folder around a folder of pictures, and the pictures' way from there, one of the names.

    It is the file's own folder or one of so many above it.

    Raises
    ------
    FsrcacheError
        If there is no such folder.
    """
    for root in file.absolute().parents[: above + 1]:
        for name in names:
            if (root / name).is_dir():
                return root, name
    raise FsrcacheError(
        f"There is no folder {names[0]} beside {file}, nor up to {above} folders above.",
        "Unpack the pictures there, under that name.",
    )


def _reason(path: Path, *, is_folder: bool) -> str:
    """Return why a file, or a folder that is hidden or the system's, is left out."""
    if why := foreign(path.name):
        return f"{why} {'folder' if is_folder else 'file'}"
    return "link that leads nowhere" if _leads_nowhere(path) else "not a picture by its suffix"
