"""``evaluate``: the table of a workspace's rows."""

from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike

from fsrcache.device import pick_device
from fsrcache.errors import RequestError
from fsrcache.evaluation.evaluate import check_heads, evaluate_predictors, reported_split
from fsrcache.evaluation.measured_cost import row_costs, with_costs
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.tables import HEADS, Table
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.files import as_path
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.rows.generated import GENERATOR, NAME, trained_runs
from fsrcache.rows.index import ready_rows, refuse_row_name
from fsrcache.rows.pictures import add_pictures
from fsrcache.rows.row import RowContext
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.native_sizes import native_sizes_of
from fsrcache.workspace import Workspace, existing_workspace, open_workspace


def evaluate(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    split: str | None = None,
    heads: Sequence[str] = tuple(HEADS),
    against: str = BICUBIC,
    native_sizes: bool = False,
    distances: bool = False,
    calibration: bool = False,
    pictures: Mapping[str, str | PathLike[str]] | None = None,
    cost: bool = False,
    seed: int = 0,
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> Table:
    """Score every row that is there at every scale with every head; each row is averaged over the seeds that are there.

    A row of single networks with three seeds or more is also scored as the mean of three, and a generator that is a
    mean of networks as one of them. Predictions are kept in the workspace, and only new ones are computed.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    store
        The feature store; the workspace's where None.
    names
        Names of generators' runs. Those whose settings differ in the seed alone are the seeds of one row. None for the
        run ``default`` if it is trained, and else no generator.
    split
        ``val`` or ``test``; test where None and there is one, else val.
    heads
        ``frozen`` is the extractor's own, ``refit-mlp`` re-trains its architecture, and ``refit-linear`` a linear
        classifier, on the row's own training features of all scales.
    against
        Row that McNemar's test compares with, as tables call it.
    native_sizes
        Whether to score faces by the size of their own pictures too, which are read again for it.
    distances
        Whether to score faces by the distance to the nearest trained one too, which tells what rows remember.
    calibration
        Whether to measure the calibration error of the frozen head's probabilities, before and after a temperature that
        is fitted on faces that are not scored.
    pictures
        Folders of faces that other programs super-resolved, by the name of their row: ``x4/NAME.png`` for a face NAME
        of the store at scale 4, as ``degrade`` names the small ones. The workspace keeps their features, so that the
        rows are in later tables too, until ``pictures/NAME`` in it is deleted. Without the faces of train they have no
        re-fitted heads.
    cost
        Whether to count and measure what every row costs: weights, multiplications, and time of training and a face.
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
        If there is no such workspace, run, split, head, seed, device, row or folder.
    FsrcacheError
        If there is no store, it and the runs belong to another extractor or to each other not at all, or pictures of
        faces are missing.
    """
    workspace, location = open_workspace(workspace), pick_device(device)
    check_value(Seed, seed, name="seed")
    check_heads(heads)
    check_value(str, against, name="against")
    runs = runs_of_table(workspace, names)
    folders = {name: as_path(folder, name=f"pictures[{name!r}]") for name, folder in (pictures or {}).items()}
    for name in folders:
        refuse_row_name(name)
    existing_workspace(workspace)
    features = FeatureStore(workspace.store if store is None else store)
    extractor = open_extractor(workspace.extractor_source, device=location)
    refuse_other_extractor(features, extractor)
    context = RowContext(
        workspace=workspace, store=features, extractor=extractor, device=location, on_progress=on_progress
    )
    for name, folder in folders.items():
        add_pictures(context, name, folder, split=reported_split(features, split))
    ready = ready_rows(context, runs)
    sizes = partial(native_sizes_of, workspace, features, on_progress=on_progress) if native_sizes else None
    table = evaluate_predictors(
        features, extractor, ready.predictors, device=location, folder=workspace.predictions, split=split, heads=heads,
        seed=seed, order=ready.order, against=against, sizes=sizes, distances=distances,
        calibration=calibration, notes=[*ready.left_out, *_untrained(workspace, runs)], on_progress=on_progress,
    )  # fmt: skip
    if not cost:
        return table
    costs = row_costs(features, extractor, ready.predictors, device=location, on_progress=on_progress)
    return with_costs(table, costs)


def runs_of_table(workspace: Workspace, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the runs in a table: those that are asked for, else ``default`` if it is trained.

    Raises
    ------
    RequestError
        If they are no list of names of runs.
    """
    if names is None:
        return ("default",) if (workspace.run("default") / GENERATOR).exists() else ()
    if isinstance(names, str) or not names:
        raise RequestError(f"The names are {shortened(names)}.", "Give a list of names of runs.")
    for name in names:
        workspace.run(name)  # a name that can be none is refused before any work
    return tuple(names)


def _untrained(workspace: Workspace, runs: Sequence[str]) -> list[str]:
    """Return a sentence on the missing row of a table without a run, where there are others."""
    known = [] if runs else trained_runs(workspace)
    return [f"No row {NAME}: no run was named, and there is no run default, but {', '.join(known)}."] if known else []
