"""The picture of a table's example faces, read again from the workspace's data."""

from collections.abc import Generator, Sequence
from os import PathLike
from pathlib import Path

from PIL import Image

from fsrcache.ahead import ordered_map
from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.example_sheet import example_sheet
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.tables import Table
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.index import list_faces
from fsrcache.faces.listing import Listing
from fsrcache.faces.survey import picture_hash
from fsrcache.records import value_from
from fsrcache.rows.generated import NAME
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace


def draw_examples(workspace: Workspace, table: Table, *, store: str | PathLike[str] | None = None) -> Image.Image:
    """Draw the example faces of a table at every scale, with what bicubic and FSR-FER say of them.

    Parameters
    ----------
    workspace
        The workspace, which remembers the data.
    table
        A table of its store.
    store
        The feature store; the workspace's where None.

    Raises
    ------
    FsrcacheError
        If the pictures are not at hand, or not those of the store.
    """
    if not table.examples:
        raise FsrcacheError("The table has no example faces.", "Score the frozen head.")
    features = FeatureStore(workspace.store if store is None else store)
    pictures = list(read_pictures(workspace, features, table.split, [one.number for one in table.examples]))
    return example_sheet(table, pictures, rows=(BICUBIC, NAME), degradation=store_degradation(features))


def read_pictures(workspace: Workspace, store: FeatureStore, split: str, numbers: Sequence[int]) -> Generator[Pictures]:
    """Return faces of a split by their numbers there, one by one, uint8 ``[S, S, 1 or 3]``, from the workspace's data.

    Raises
    ------
    FsrcacheError
        If the pictures are not at hand, or not those of the store.
    """
    data, side = workspace.data(), store.spec.recipe.get("side")
    if data is None or type(side) is not int:
        raise FsrcacheError(f"{workspace.folder} remembers no pictures.", "Name them in an extraction.")
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
    names, hashes = store.ids(split), store.hashes(split)
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(map(str, listing.names)):
        rows.setdefault(name, []).append(row)

    def picture(number: int) -> Pictures:
        name = str(names[number])
        return _picture(listing, name, rows.get(name, []), hashes[number].tobytes(), side)

    return ordered_map(picture, numbers)


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


def _picture(listing: Listing, name: str, rows: Sequence[int], digest: bytes, side: int) -> Pictures:
    """Return the picture of a hash, one of some rows, at a side, uint8 ``[side, side, 1 or 3]``."""
    for i in rows:
        try:
            picture = listing.load(i)
        except PictureError as error:
            raise FsrcacheError(f"{listing.where(i)} cannot be read: {error}.", "Restore it.") from None
        if picture_hash(picture) == digest:
            resized = picture if picture.shape[:2] == (side, side) else imresize(picture, size=(side, side))
            return resized[..., None] if resized.ndim == 2 else resized
    raise FsrcacheError(f"The data have no picture {name} as the store has.", "Extract the data again.")
