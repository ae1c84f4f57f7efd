"""What a row of the table is, and what it works with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import Faces
from fsrcache.models.weights import file_digest
from fsrcache.progress import ProgressCallback
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.workspace import Workspace


@dataclass(frozen=True, kw_only=True, eq=False)
class RowContext:
    """What every row works with.

    Attributes
    ----------
    workspace
        The workspace; a row keeps its files in ``workspace.row(NAME, seed)``.
    store, extractor
        The features, and the extractor that they come from, on the device.
    device
        Device of all networks.
    on_progress
        Called as the work goes on, and with notes.
    """

    workspace: Workspace
    store: FeatureStore
    extractor: Extractor
    device: torch.device
    on_progress: ProgressCallback


@dataclass(frozen=True, kw_only=True, eq=False)
class RowTraining:
    """One training of a row.

    Attributes
    ----------
    context
        What every row works with.
    seed
        Random seed.
    settings
        The row's ``SETTINGS``, or others of that class.
    restart, other_threads
        Whether to begin anew where there is a training already, or else may go on under another number of threads.
    degradation
        How the store's low-resolution views were made.
    read_faces
        Returns the pictures of the store, at the extractor's side, and the data in one line; they are read once, and
        only for rows that need them.
    pictures
        Folder of pictures that image super-resolvers are trained on; None for the store's own.
    ranks
        The processes that train together, each with these values; the first alone writes and has the whole result.
    """

    context: RowContext
    seed: int
    settings: Any
    restart: bool
    other_threads: bool
    degradation: Degradation
    read_faces: Callable[[], tuple[Faces, str]]
    pictures: Path | None = None
    ranks: Ranks = ALONE


@dataclass(frozen=True, kw_only=True)
class RowResult:
    """What a training of a row made.

    Attributes
    ----------
    row, seed
        The row's name, and the random seed.
    extractor
        Path of the weights' file, where the row is an extractor of its own.
    epochs, resumed_from
        Epochs in all, and the epoch that this call went on from; 0 where there are none.
    accuracy
        Percent at full resolution by split, ``held-out`` among them, where that is measured.
    held_out
        Percent on the held-out tenth of the training split by scale, as ``x4``, where that is measured.
    super_resolution
        Mean PSNR in dB and SSIM on the held-out tenth by scale, as ``x4``, where the row enlarges pictures: ``psnr``,
        ``ssim``, ``bicubic_psnr`` and ``bicubic_ssim``.
    history
        JSON values for every epoch, or every few steps.
    seconds
        Duration of this call.
    extraction
        JSON values about the row's own feature store, where it has one.
    was_there
        Whether earlier calls had done all of it.
    """

    row: str
    seed: int
    extractor: str | None = None
    epochs: int = 0
    resumed_from: int = 0
    accuracy: Mapping[str, float] = field(default_factory=dict)
    held_out: Mapping[str, float] = field(default_factory=dict)
    super_resolution: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    seconds: float
    extraction: Mapping[str, Any] | None = None
    was_there: bool = False


class Row(Protocol):
    """A module that is a row of the table.

    Attributes
    ----------
    NAME
        The name in the table and for ``baselines --rows``.
    NOTE
        One line for the footnotes.
    SETTINGS
        Settings of the training, a record for ``--set``; None where there is nothing to set.
    """

    NAME: str
    NOTE: str
    SETTINGS: Any

    @property
    def train(self) -> Callable[[RowTraining], RowResult] | None:
        """Trains the row with one seed into ``workspace.row(NAME, seed)``, going on where it stopped or anew.

        None where ``fsrcache baselines`` has nothing to train.
        """

    def obstacle(self, extractor: Extractor, scales: Sequence[int], /) -> str:
        """Return why there can be no such row with an extractor and a store's scales, as a sentence; else nothing."""

    def predictors(self, context: RowContext, runs: Sequence[str], /) -> Sequence[Predictor]:
        """Return the trainings that are ready to be scored, one for each seed; none where nothing is trained yet.

        Parameters
        ----------
        context
            What every row works with.
        runs
            Names of the generators' runs that are asked for.

        Raises
        ------
        FsrcacheError
            If what was trained is damaged, or belongs to another store or extractor.
        """


def no_obstacle(extractor: Extractor, scales: Sequence[int]) -> str:  # noqa: ARG001  # a row's signature
    """Return an empty text: the row can be had with every extractor and at all scales."""
    return ""


def trained_seeds(workspace: Workspace, name: str) -> list[tuple[int, Path]]:
    """Return the seeds that a row has a folder for, ascending, and the folders."""
    found = {}
    for folder in workspace.row(name, 0).parent.glob("seed-*"):
        text = folder.name.removeprefix("seed-")
        if text.isdecimal() and folder == workspace.row(name, int(text)):
            found[int(text)] = folder
    return sorted(found.items())


def refuse_replaced(path: Path, digest: str) -> None:
    """Raise if a file whose network was just read has another digest than when its row was listed.

    Its answers would be kept as those of the network before.

    Raises
    ------
    FsrcacheError
        With the file.
    """
    if file_digest(path) != digest:
        raise FsrcacheError(f"{path} was trained anew while it was scored.", "Evaluate again.")


def changes_in_words(changes: Sequence[str] | None) -> str:
    """Return the settings of a training by what differs from the row's own; ``unknown`` for None."""
    if changes is None:
        return "unknown"
    return f"default{' with ' * bool(changes)}{', '.join(changes)}"


def rows_apart(name: str, predictors: Sequence[Predictor]) -> list[Predictor]:
    """Return trainings of a row, those of other settings or scales than the first as rows of their own.

    The row of the first is called as the row is, any other ``NAME (seed-S)`` by its first seed.
    """
    rows: dict[tuple[tuple[int, ...], str], str] = {}  # by the scales and the settings
    ready = []
    for one in predictors:
        key = one.scales or (), one.facts["settings"]
        ready.append(replace(one, row=rows.setdefault(key, f"{name} (seed-{one.seed})" if rows else name)))
    return ready
