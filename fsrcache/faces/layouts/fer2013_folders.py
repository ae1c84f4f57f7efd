"""FER2013 as image folders whose file names carry the true split: angry/Training_3908.jpg."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from fsrcache.errors import FsrcacheError, Remedy, arguments
from fsrcache.faces.expressions import SPLITS, split_named, understand_expressions
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, walk_pictures

NAME = "fer2013-folders"
TITLE = "FER2013 (image folders)"
_NAME = re.compile(r"(Training|PublicTest|PrivateTest)_\d+\.")
_ORIGINAL = re.compile(r"(Training|PublicTest|PrivateTest)_\d+\.[A-Za-z]+")  # augmented: Training_1.jpg0.jpg
_LOOKED_AT = 200  # pictures at most, which tell the layout


def recognises(path: Path) -> bool:
    """Return whether most of the first pictures of a folder are named as FER2013's are."""
    if not path.is_dir():
        return False
    named = [_NAME.match(parts[-1]) is not None for parts in islice(walk_pictures(path, LeftOut()), _LOOKED_AT)]
    return 2 * sum(named) > len(named)


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the original pictures; the split is the file name's, whatever folder it lies in."""
    left_out = LeftOut()

    def entries() -> Iterator[tuple[str, str, int]]:
        for parts in walk_pictures(path, left_out):
            match = _ORIGINAL.fullmatch(parts[-1])
            if match is None:
                augmented = _NAME.match(parts[-1]) is not None
                left_out.add("augmented copy" if augmented else "not named as FER2013's pictures", "/".join(parts))
                continue
            if len(parts) < 2:
                raise FsrcacheError(f"{path / parts[-1]} is in no class folder.", "Name the folder above it.")
            split = split_named(match[1])
            assert split is not None  # the pattern's three words are all known
            yield "/".join(parts), parts[-2], split

    originals = list(entries())
    if not originals:
        raise FsrcacheError(
            f"No picture below {path} is named Training_N, PublicTest_N or PrivateTest_N and a suffix.",
            Remedy("If the folders are classes of another data set, say so: `{}`.", arguments(layout="folders")),
        )
    listed = {(split, parts[-1]) for name, _, split in originals if (parts := name.split("/"))}
    if len(listed) != len(originals):
        twice = next(name for name, count in Counter(n.split("/")[-1] for n, _, _ in originals).items() if count > 1)
        raise FsrcacheError(
            f"{len(originals) - len(listed)} pictures below {path} are there twice, {twice} among them.",
            f"Name the folder of one copy (splits: {', '.join(SPLITS)}).",
        )
    understand = partial(understand_expressions, where=f"the folders of {path}")
    return file_listing(NAME, path, entries=originals, understand=understand, left_out=left_out)
