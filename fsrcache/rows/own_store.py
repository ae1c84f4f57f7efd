"""The feature store that a row has of its own, beside the workspace's."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.extraction.extract import ExtractResult, extract_features
from fsrcache.extraction.source import FaceSource
from fsrcache.progress import note
from fsrcache.rows.row import RowContext, RowTraining, trained_seeds
from fsrcache.store.existing import read_root
from fsrcache.store.objects import objects_at
from fsrcache.store.reader import FeatureStore

STORE = "features.zarr"  # in the folder of a seed
_SAME = ("pictures", "labels", "order", "preprocessing")  # digests that it shares with the workspace's


def ready_seeds(context: RowContext, name: str) -> Iterator[tuple[int, Path]]:
    """Yield the seeds of a row whose own store is complete, weights beside it, and their folders; others are noted."""
    for seed, folder in trained_seeds(context.workspace, name):
        root = read_root(objects_at(folder / STORE))
        if root is not None and root.complete and any(folder.glob("*.safetensors")):
            yield seed, folder
        else:
            leave_out(context, name, seed)


def leave_out(context: RowContext, name: str, seed: int) -> None:
    """Note that a seed of a row is left out."""
    context.on_progress(note(f"{name} with the seed {seed} is left out: its training did not come to its end."))


def write_own_store(
    source: FaceSource, training: RowTraining, folder: Path, *, scales: Sequence[int], data: str
) -> ExtractResult:
    """Write the row's own store, a part of it by every process; one that other weights wrote is removed before.

    Parameters
    ----------
    source
        Faces and extractor.
    training
        The row's training.
    folder
        Folder of its seed.
    scales
        Scales of the store.
    data
        The data in one line, for people.

    Raises
    ------
    FsrcacheError
        As :func:`fsrcache.extraction.extract.extract_features`.
    """
    ranks = training.ranks
    if ranks.first:
        _discard_other_store(folder / STORE, source)
    ranks.wait()
    part = extract_features(
        source, store=folder / STORE, scales=scales, data=data, part=(ranks.rank + 1, ranks.size),
        on_progress=training.context.on_progress,
    )  # fmt: skip
    blocks, resumed_from, complete = ranks.sums(part.blocks, part.resumed_from, part.complete)
    return replace(part, blocks=blocks, resumed_from=resumed_from, complete=complete > 0)


def discard_store(folder: Path) -> None:
    """Remove the own store of a row's seed, before the networks that its features come from are replaced."""
    if (folder / STORE).exists():
        shutil.rmtree(folder / STORE)


def _discard_other_store(path: Path, source: FaceSource) -> None:
    root = read_root(objects_at(path))
    wrote = None if source.super_resolver is None else source.super_resolver.digest
    if root is not None and (
        root.spec.digests["weights"] != source.extractor.digest or root.spec.recipe.get("super_resolver") != wrote
    ):
        shutil.rmtree(path)


def refuse_other_faces(store: FeatureStore, context: RowContext, name: str, *, seed: int) -> None:
    """Raise if a row's own store is of other faces than the workspace's.

    Raises
    ------
    FsrcacheError
        With what differs.
    """
    other = [one for one in _SAME if store.spec.digests[one] != context.store.spec.digests[one]]
    if other:
        raise FsrcacheError(
            f"{store.name} is of other faces than {context.store.name}, or of others made coarse: "
            f"their {', '.join(other)} differ.",
            train_again(context, name, seed=seed),
        )


def train_again(context: RowContext, name: str, *, seed: int) -> Remedy:
    """Return the remedy of a row that does not belong to its workspace."""
    again = call("baselines", workspace=str(context.workspace.folder), rows=[name], seed=seed, restart=True)
    return Remedy("Train it again: `{}`.", again)
