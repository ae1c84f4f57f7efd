"""``evaluate``: the table of a workspace's rows."""

from collections.abc import Sequence
from os import PathLike

from fsrcache.device import pick_device
from fsrcache.errors import RequestError
from fsrcache.evaluation.evaluate import check_heads, evaluate_predictors
from fsrcache.evaluation.tables import HEADS, Table
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.rows.index import ready_rows
from fsrcache.rows.row import RowContext
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace, existing_workspace, open_workspace


def evaluate(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    names: Sequence[str] = ("default",),
    split: str | None = None,
    heads: Sequence[str] = tuple(HEADS),
    seed: int = 0,
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> Table:
    """Score every row that is there at every scale with every head; each row is averaged over the seeds that are there.

    Predictions are kept in the workspace, and only new ones are computed.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    store
        The feature store; the workspace's where None.
    names
        Names of generators' runs. Those whose settings differ in the seed alone are the seeds of one row.
    split
        ``val`` or ``test``; test where None and there is one, else val.
    heads
        ``frozen`` is the extractor's own, ``refit-mlp`` re-trains its architecture, and ``refit-linear`` a linear
        classifier, on the row's own training features of all scales.
    seed
        Random seed of the re-fitted heads.
    device
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is the GPU if there is one.
    on_progress
        Called after every row and head, and with notes.

    Returns
    -------
    Table
        The scores, and what is said below them.

    Raises
    ------
    RequestError
        If there is no such workspace, head, seed or device, or a run is named that can be none.
    FsrcacheError
        If there is no store or no such run, or they belong to another extractor or to each other not at all.
    """
    workspace, location = open_workspace(workspace), pick_device(device)
    check_value(Seed, seed, name="seed")
    check_heads(heads)
    if isinstance(names, str) or not names:
        raise RequestError(f"The names are {shortened(names)}.", "Give a list of names of runs.")
    for name in names:
        workspace.run(name)  # a name that can be none is refused before any work
    existing_workspace(workspace)
    features = FeatureStore(workspace.store if store is None else store)
    extractor = open_extractor(workspace.extractor_source, device=location)
    refuse_other_extractor(features, extractor)
    context = RowContext(
        workspace=workspace, store=features, extractor=extractor, device=location, on_progress=on_progress
    )
    ready = ready_rows(context, names)
    return evaluate_predictors(
        features, extractor, ready.predictors, device=location, folder=workspace.predictions, split=split, heads=heads,
        seed=seed, order=ready.order, notes=ready.left_out, on_progress=on_progress,
    )  # fmt: skip
