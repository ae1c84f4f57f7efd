"""Faces of a store's split as pictures, read again from the workspace's data and known by their hashes."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar

from fsrcache.ahead import ordered_map
from fsrcache.errors import Blank, FsrcacheError, Remedy, call
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.index import list_faces
from fsrcache.faces.listing import Listing
from fsrcache.faces.survey import picture_hash
from fsrcache.records import value_from
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace

T = TypeVar("T")


def read_pictures(workspace: Workspace, store: FeatureStore, split: str, numbers: Sequence[int]) -> Generator[Pictures]:
    """Return faces of a split by their numbers there, one by one, uint8 ``[S, S, 1 or 3]``, from the workspace's data.

    Raises
    ------
    FsrcacheError
        If the pictures are not at hand, or not those of the store.
    """
    side = store.spec.recipe.get("side")
    if type(side) is not int:
        raise FsrcacheError(f"The store {store.name} does not say the side of its faces.", "Extract the data again.")

    def at_side(picture: Pictures) -> Pictures:
        resized = picture if picture.shape[:2] == (side, side) else imresize(picture, size=(side, side))
        return resized[..., None] if resized.ndim == 2 else resized

    return mapped_pictures(workspace, store, split, numbers, change=at_side)


def mapped_pictures(
    workspace: Workspace,
    store: FeatureStore,
    split: str,
    numbers: Sequence[int],
    *,
    change: Callable[[Pictures], T],
) -> Generator[T]:
    """Return what becomes of faces of a split by their numbers there, one by one, from the workspace's data.

    Parameters
    ----------
    workspace
        The workspace, which remembers the data.
    store, split, numbers
        The features, and the faces.
    change
        Function of a picture as the data have it, uint8 ``[H, W]`` or ``[H, W, 3]``.

    Raises
    ------
    FsrcacheError
        If the pictures are not at hand, or not those of the store.
    """
    data = workspace.data()
    if data is None:
        raise FsrcacheError(f"{workspace.folder} remembers no pictures.", "Name them in an extraction.")
    if not data.drawn and not Path(data.path).exists():
        raise FsrcacheError(
            f"The faces are not at hand: nothing is at {data.path} any more.",
            Remedy(
                "If they were moved, name their new path once: `{}`.",
                call("extract", workspace=str(workspace.folder), data=Blank("PATH")),
            ),
        )
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
    names, hashes = store.ids(split), store.hashes(split)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(map(str, listing.names)):
        rows.setdefault(name, []).append(row)

    def changed(number: int) -> T:
        name = str(names[number])
        return change(_picture(listing, name, rows.get(name, []), hashes[number].tobytes()))

    return ordered_map(changed, numbers)


def store_degradation(store: FeatureStore) -> Degradation:
    """Return how the low-resolution views of a store were made.

    Raises
    ------
    FsrcacheError
        If the store does not say.
    """
    degradation: Degradation = value_from(
        Degradation, store.spec.recipe.get("degradation"), where=store.name, name="recipe.degradation"
    )
    return degradation


def _picture(listing: Listing, name: str, rows: Sequence[int], digest: bytes) -> Pictures:
    """Return the picture of a hash, one of some rows."""
    for i in rows:
        try:
            picture = listing.load(i)
        except PictureError as error:
            raise FsrcacheError(f"{listing.where(i)} cannot be read: {error}.", "Restore it.") from None
        if picture_hash(picture) == digest:
            return picture
    raise FsrcacheError(f"The data have no picture {name} as the store has.", "Extract the data again.")
