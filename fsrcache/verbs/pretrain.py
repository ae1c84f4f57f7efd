"""``pretrain``: train the workspace's own extractor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

import torch

from fsrcache.announce import several
from fsrcache.device import pick_device, with_threads
from fsrcache.errors import Blank, Remedy, RequestError, arguments
from fsrcache.faces.digest import content_digest
from fsrcache.faces.faces import Faces
from fsrcache.presets import EXTRACTORS, PRETRAINING, ExtractorConfig, PretrainConfig, Side
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import check_value
from fsrcache.settings import differences, preset_named, split_settings, with_settings
from fsrcache.training.classifier.estimate import PretrainEstimate, estimate_pretraining
from fsrcache.training.classifier.pretraining import PretrainResult, pretrain_extractor
from fsrcache.training.ranks import joined
from fsrcache.training.run.checkpoint import CHECKPOINT, has_checkpoint, run_record
from fsrcache.verbs.data import choose_data, read_faces, remember_beginning
from fsrcache.verbs.record import write_result
from fsrcache.workspace import Data, Workspace, open_workspace

_SMALL = 64  # pixels: up to this side the preset small is the default


@dataclass(frozen=True)
class PretrainSettings:
    """The settings of a pre-training.

    Attributes
    ----------
    preset
        Preset that they began from.
    extractor, schedule
        The extractor's shape, and how it is trained.
    differences
        What differs from the preset, as ``name=value``; the pictures' side is no such difference.
    """

    preset: str
    extractor: ExtractorConfig
    schedule: PretrainConfig
    differences: tuple[str, ...]


def pretrain(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    data: Data | str | PathLike[str] | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    settings: Sequence[str] = (),
    scales: Sequence[int] = (1,),
    side: int | None = None,
    restart: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> PretrainResult:
    """Train the workspace's extractor on the training split without its held-out tenth; the last epoch is kept.

    Interrupted, it goes on from the last checkpoint when it is called again. Processes that torchrun started share
    each batch, and the first writes.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    data
        A folder or file of faces, or ``drawn:COUNT``; ``Data`` names its layout and more too. None for what the
        workspace remembers, or else the drawn faces.
    preset
        Shape and schedule; None for ``tiny`` on drawn faces, ``small`` up to 64 pixels, and beyond that ``medium``, or
        ``paper`` on a GPU.
    epochs
        Passes over the pictures; None for the preset's.
    settings
        Texts ``name=value`` that replace settings of the preset.
    scales
        Scales at which pictures are seen, each as often; 1 is full resolution.
    side
        Pixels of every picture's side; None for the commonest.
    restart
        Whether to begin anew where there is a pre-training, or an extractor that none made here; the extractor stays
        until the new one replaces it.
    seed
        Random seed.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the GPU if there is one.
    threads
        Number of threads; None for torch's. Only where it is named may a run go on under another number than
        before; it ends in other bytes then.
    on_progress
        Called every second.

    Raises
    ------
    RequestError
        If an argument is wrong, the workspace has an extractor that was not pre-trained there, or torchrun's processes
        cannot share a batch equally.
    FsrcacheError
        If the faces cannot be read, the workspace holds a pre-training of other settings, or the loss stops being
        finite.
    """
    with joined() as ranks, with_threads(threads):
        on_progress = on_progress if ranks.first else no_progress
        target = ranks.own_device(pick_device(device))
        workspace = _own_workspace(workspace, restart=restart)
        _check_names(settings)
        data = choose_data(workspace, data, any_limit=restart, on_progress=on_progress)
        faces, _ = read_faces(data, side=side, on_progress=on_progress)
        resolved = resolve_settings(data, faces.side, preset=preset, epochs=epochs, settings=settings, device=target)
        ranks.wait()  # all have looked at the workspace
        if ranks.first and _is_begun_on(workspace, faces):
            workspace.remember(data)  # wherever they lie now
        elif ranks.first:
            remember_beginning(workspace, data)
        if restart and workspace.store.exists():
            on_progress(note(f"{workspace.store} has another extractor's features: remove it, then extract again."))
        if preset is None and resolved.preset == "medium":
            on_progress(note(f"Preset medium: {faces.side} x {faces.side} pixels without a GPU."))
        result = pretrain_extractor(
            faces, resolved.extractor, resolved.schedule,
            target=workspace.extractor, folder=workspace.pretraining, scales=tuple(scales),
            restart=restart and not ranks.restarted, other_threads=threads is not None or ranks.launched, seed=seed,
            device=target, ranks=ranks, on_progress=on_progress,
        )  # fmt: skip
    result = replace(result, preset=resolved.preset, settings=resolved.differences)
    if not ranks.first:
        return result
    workspace.remember(data)
    had_ended = result.resumed_from == result.epochs
    write_result(workspace.pretraining, result, had_ended=had_ended)
    if had_ended:
        on_progress(note(f"Nothing to do: the pre-training had ended after {several(result.epochs, 'epoch')}."))
    return result


def estimate_pretrain(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    data: Data | str | PathLike[str] | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    settings: Sequence[str] = (),
    scales: Sequence[int] = (1,),
    side: int | None = None,
    restart: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> PretrainEstimate:
    """Estimate time and memory of :func:`pretrain` with these arguments from a few steps; write nothing."""
    target = pick_device(device)
    workspace = _own_workspace(workspace, restart=restart)
    _check_names(settings)
    data = choose_data(workspace, data, any_limit=restart, on_progress=on_progress)
    faces, _ = read_faces(data, side=side, on_progress=on_progress)
    resolved = resolve_settings(data, faces.side, preset=preset, epochs=epochs, settings=settings, device=target)
    with with_threads(threads):
        estimate = estimate_pretraining(
            faces, resolved.extractor, resolved.schedule,
            device=target, scales=tuple(scales), seed=seed, on_progress=on_progress,
        )  # fmt: skip
    return replace(estimate, preset=resolved.preset, settings=resolved.differences)


def pretrain_settings(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    data: Data | str | PathLike[str] | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    settings: Sequence[str] = (),
    side: int | None = None,
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> PretrainSettings:
    """Return the settings of :func:`pretrain` with these arguments; without ``side`` the faces are read for it."""
    _check_names(settings)
    check_value(Side | None, side, name="side")
    data = choose_data(open_workspace(workspace), data, any_limit=True, on_progress=on_progress)
    side = read_faces(data, on_progress=on_progress)[0].side if side is None else side
    return resolve_settings(data, side, preset=preset, epochs=epochs, settings=settings, device=pick_device(device))


def resolve_settings(
    data: Data,
    side: int,
    *,
    preset: str | None = None,
    epochs: int | None = None,
    settings: Sequence[str] = (),
    device: torch.device,
) -> PretrainSettings:
    """Return the settings for faces of a side on a device; the arguments are those of :func:`pretrain`."""
    if preset is None:
        large = "paper" if device.type == "cuda" else "medium"
        preset = "tiny" if data.drawn else "small" if side <= _SMALL else large
    if epochs is not None:
        settings = [*settings, f"epochs={epochs}"]
    of_schedule, of_shape = split_settings(settings, PretrainConfig, ExtractorConfig)
    shape = replace(preset_named(EXTRACTORS, preset), side=side)
    schedule = PRETRAINING[preset]
    extractor, trained = with_settings(shape, of_shape), with_settings(schedule, of_schedule)
    changes = *differences(extractor, shape), *differences(trained, schedule)
    return PretrainSettings(preset, extractor, trained, changes)


def _own_workspace(workspace: Workspace | str | PathLike[str], *, restart: bool) -> Workspace:
    """Return a workspace whose extractor, if any, a pre-training may overwrite."""
    workspace = open_workspace(workspace)
    extractor = workspace.extractor_source.reference
    elsewhere = arguments(workspace=Blank("DIR"))
    if extractor != str(workspace.extractor):
        raise RequestError(
            f"{workspace.folder} has the extractor {extractor}, which was not pre-trained there.",
            Remedy("Pre-train in a workspace of its own: `{}`.", elsewhere),
        )
    if workspace.extractor.exists() and not restart and not has_checkpoint(workspace.pretraining):
        raise RequestError(
            f"{workspace.folder} has the extractor {extractor}, which was not pre-trained there: "
            f"{workspace.pretraining} has no checkpoint.",
            Remedy(
                "Pre-train in a workspace of its own, `{}`, or overwrite it: `{}`.", elsewhere, arguments(restart=True)
            ),
        )
    return workspace


def _is_begun_on(workspace: Workspace, faces: Faces) -> bool:
    """Tell whether the workspace has a pre-training on these faces, finished or not."""
    record = run_record(workspace.pretraining / CHECKPOINT)
    return record is not None and record["settings"].get("data") == content_digest(faces)


def _check_names(settings: Sequence[str]) -> None:
    """Refuse unknown names before anything is read, and the side, which is the pictures'."""
    split_settings(settings, PretrainConfig, ExtractorConfig)
    if any(assignment.partition("=")[0].strip() == "side" for assignment in settings):
        raise RequestError(
            "The side of the pictures is no setting.",
            Remedy("It is an argument of its own: `{}`.", arguments(side=Blank("PIXELS"))),
        )
