"""``baselines``: train the rows of the table that need no generator."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, get_type_hints

from fsrcache.device import pick_device, with_threads
from fsrcache.errors import Blank, Remedy, RequestError, arguments, call
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import Faces
from fsrcache.files import as_path
from fsrcache.models.super_resolution.presets import SuperResolutionConfig
from fsrcache.presets import Side
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import Seed, check_value, value_from
from fsrcache.rows.index import refuse_obstacle, refuse_other_row, rows_to_train
from fsrcache.rows.row import Row, RowContext, RowResult, RowTraining
from fsrcache.settings import refuse_text, refuse_unknown_settings, resolved, setting_names, with_settings
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ranks import joined
from fsrcache.verbs.data import choose_data, has_store_of, read_faces
from fsrcache.workspace import Data, Workspace, existing_workspace, open_workspace


@dataclass(frozen=True)
class BaselineResult:
    """What ``baselines`` trained.

    Attributes
    ----------
    rows
        The trainings, in the order of the rows' names.
    """

    rows: tuple[RowResult, ...]


class _Recipe(TypedDict):
    """How the pictures of a store were made."""

    side: Side
    degradation: Degradation


def baselines(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    data: Data | str | PathLike[str] | None = None,
    rows: Sequence[str] = ("fine-tuned",),
    settings: Sequence[str] = (),
    pictures: str | PathLike[str] | None = None,
    restart: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> BaselineResult:
    """Train rows of the table on the pictures of the workspace's store; ``evaluate`` shows them once they are there.

    Interrupted, it goes on where it stopped when it is called again with the same arguments. Processes that torchrun
    started share each batch; the first writes, fits what is no training, and alone has the whole result.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    data
        The store's faces where they lie now, for the workspace to remember; None for what it remembers.
    rows
        Names of rows that are trained; ``("all",)`` or ``("paper",)`` for all, or those of the
        paper, that the workspace's extractor and its store's scales allow.
    settings
        Texts ``name=value`` in place of the rows' own settings, as for ``fsrcache.settings.with_settings``.
    pictures
        Folder of pictures that the image super-resolvers among the rows are trained on, in place of the faces.
    restart
        Whether to begin anew where there is a training already.
    seed
        Random seed of every training.
    device
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is the GPU if there is one.
    threads
        Number of threads; None for torch's. Only where it is named may a training go on under another number than
        before; it ends in other bytes then.
    on_progress
        Called as the work goes on, and with notes.

    Raises
    ------
    RequestError
        If there is no such workspace, row, setting, seed, device or folder of pictures, a row cannot be had with the
        extractor, the store was made from other faces, or torchrun's processes cannot share a batch equally.
    FsrcacheError
        If there is no store, it was written with another extractor, or a training fails.
    """
    with joined() as ranks:
        on_progress = on_progress if ranks.first else no_progress
        workspace, location = open_workspace(workspace), ranks.own_device(pick_device(device))
        check_value(Seed, seed, name="seed")
        chosen = rows_to_train(rows)
        configs = _settings(chosen, settings)
        for config in configs.values():  # before hours of the first rows
            members = getattr(getattr(config, "generator", None), "members", 1)
            ranks.refuse_uneven(getattr(config, "batch", 0), parts=members)
        if pictures is not None:
            pictures = _pictures(chosen, as_path(pictures, name="pictures"))
        existing_workspace(workspace)
        store = FeatureStore(workspace.store)
        names = get_type_hints(_Recipe)
        recipe = value_from(
            _Recipe, {name: value for name, value in store.spec.recipe.items() if name in names},
            where=store.name, name="recipe", remedy=Remedy("Extract faces: `{}`.", call("extract", data=Blank("PATH"))),
        )  # fmt: skip
        extractor = open_extractor(workspace.extractor_source, device=location)
        refuse_other_extractor(store, extractor)
        if list(rows) in (["all"], ["paper"]):
            for row in chosen:
                if obstacle := row.obstacle(extractor, store.scales):
                    on_progress(note(f"{row.NAME} is left out: {obstacle}"))
            chosen = [row for row in chosen if not row.obstacle(extractor, store.scales)]
        for row in chosen:
            refuse_obstacle(row, extractor, store.scales)

        @cache
        def faces() -> tuple[Faces, str]:
            chosen_data = choose_data(workspace, data, on_progress=on_progress)
            read, title = read_faces(chosen_data, side=recipe["side"], on_progress=on_progress)
            source = face_source(read, extractor, device=location, degradation=recipe["degradation"])
            has_store_of(workspace, store_spec(source, scales=store.scales, data=title), chosen_data)  # compares
            ranks.wait()  # all have looked at the workspace
            if ranks.first:
                workspace.remember(chosen_data)
            return read, title

        if data is not None:
            faces()  # wrong ones are refused whether a row needs them or not

        context = RowContext(
            workspace=workspace, store=store, extractor=extractor, device=location, on_progress=on_progress
        )
        results = []
        for row in chosen:
            training = RowTraining(
                context=context, seed=seed, settings=configs[row.NAME], restart=restart and not ranks.restarted,
                other_threads=threads is not None or ranks.launched, degradation=recipe["degradation"],
                read_faces=faces, pictures=pictures, ranks=ranks,
            )  # fmt: skip
            assert row.train is not None
            with with_threads(threads):
                results.append(row.train(training))
                ranks.wait()  # for what the first alone does
            if results[-1].was_there:
                on_progress(note(f"Nothing to do: {row.NAME} with the seed {seed} was there."))
        return BaselineResult(tuple(results))


def _pictures(rows: Sequence[Row], folder: Path) -> Path:
    """Return the folder of pictures; refuse one that is not there, or that no row would be trained on."""
    if not any(isinstance(row.SETTINGS, SuperResolutionConfig) for row in rows):
        raise RequestError(
            f"{', '.join(row.NAME for row in rows)}: no such row is trained on other pictures than the faces.",
            Remedy("Leave the pictures out, or name image super-resolvers: `{}`.", arguments(rows=["rcan", "meta-sr"])),
        )
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}.", "Name one of pictures that are there.")
    return folder


def _settings(rows: Sequence[Row], assignments: Sequence[str]) -> dict[str, Any]:
    """Return the settings of every row's training: each takes those that it has."""
    refuse_text(assignments)
    names = {row.NAME: [name for name, _ in resolved(row.SETTINGS)] for row in rows if row.SETTINGS is not None}
    if assignments and not names:
        raise RequestError(
            f"{', '.join(row.NAME for row in rows)}: no such row has settings.",
            "Leave the settings out, or name other rows.",
        )
    if assignments:
        refuse_unknown_settings(assignments, *(type(row.SETTINGS) for row in rows if row.SETTINGS is not None))
    known, configs = {name for of_row in names.values() for name in of_row}, {}
    for row in rows:
        configs[row.NAME] = row.SETTINGS
        if row.NAME in names:
            of_other_forms = {name for name in known.difference(names[row.NAME]) if "." in name}
            own = {*setting_names(type(row.SETTINGS))} - of_other_forms
            chosen = [one for one in assignments if one.partition("=")[0].strip() in own]
            configs[row.NAME] = with_settings(row.SETTINGS, chosen)
            refuse_other_row(row, configs[row.NAME])
    return configs
