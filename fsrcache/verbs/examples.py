"""The picture of a table's example faces."""

from os import PathLike

from PIL import Image

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.example_sheet import example_sheet
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.tables import Table
from fsrcache.rows.generated import NAME
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.pictures import read_pictures, store_degradation
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
