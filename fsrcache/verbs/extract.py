"""``extract``: write the features of every face at every scale into the workspace's store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch

from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extract import ExtractEstimate, ExtractResult, estimate_extraction, extract_features
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.presets import EXTRACTORS, PRETRAINING
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.store.reader import FeatureStore
from fsrcache.store.writer import unwritten
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.verbs.data import choose_data, read_faces
from fsrcache.verbs.extractor import choose_extractor
from fsrcache.workspace import Data, Workspace, open_workspace

SCALES = (2, 3, 4, 5, 6, 7, 8)


def extract(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    data: Data | str | PathLike[str] | None = None,
    extractor: str | PathLike[str] | None = None,
    onnx: Mapping[str, Any] | None = None,
    scales: Sequence[int] = SCALES,
    degradation: Degradation = SCALE_FORM,
    part: tuple[int, int] = (1, 1),
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> ExtractResult:
    """Write features, embeddings and probabilities of every face at every scale into the workspace's store.

    Interrupted, it goes on where it stopped when it is called again; more scales can be added later. In a workspace
    without an extractor, if none is named, a tiny one is pre-trained where the faces are the drawn ones.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    store
        The feature store, a folder or a URL; None for the workspace's.
    data
        A folder or file of faces, or ``drawn:COUNT``; ``Data`` names its layout and more too. None for what the
        workspace remembers, or else the drawn faces.
    extractor
        A ``.safetensors`` file of ours, an ``.onnx`` file, ``package.module:factory``, or the name of an installed
        extractor; the workspace remembers it. None for the workspace's.
    onnx
        Options of an ONNX file by name (``fsrcache.extractors.onnx_options.OnnxOptions``), beside or in place of those
        in the TOML file beside it.
    scales
        Scales from 2; full resolution is always written.
    degradation
        How low-resolution views are made.
    part
        ``(i, n)``: the i-th of n shares, which several processes or hosts may write at once.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the GPU if there is one.
    on_progress
        Called after every batch.

    Raises
    ------
    RequestError
        If an argument is wrong, or the workspace has another extractor.
    FsrcacheError
        If there is no extractor, it has other classes than the faces, the faces cannot be read, or the store is of
        other content or cannot be written.
    """
    target = pick_device(device)
    workspace = open_workspace(workspace)
    data = choose_data(workspace, data, on_progress=on_progress)
    chosen = choose_extractor(workspace, extractor, onnx=onnx, device=target, on_progress=on_progress)
    if chosen is None and (not data.drawn or part != (1, 1)):
        raise _no_extractor(workspace, data)
    faces, title = read_faces(data, side=None if chosen is None else chosen.extractor.side, on_progress=on_progress)
    if chosen is None:
        workspace.remember(data)
        on_progress(note("There is no extractor yet: pre-training a tiny one on the drawn faces."))
        _pretrain_tiny(workspace, faces, target, on_progress)
        source = face_source(faces, workspace.extractor, device=target, degradation=degradation)
    else:
        source = face_source(faces, chosen.extractor, device=target, degradation=degradation)
        if chosen.source is not None:
            unwritten(store or workspace.store, store_spec(source, scales=scales, data=title), part=part)  # compares
            workspace.remember_extractor(chosen.source)
        if not workspace.has_data:  # an interrupted extraction goes on with the same
            workspace.remember(data)
    _announce_scales(workspace, store or workspace.store, scales, on_progress)
    result = extract_features(
        source, store=store or workspace.store, scales=scales, data=title, part=part, on_progress=on_progress
    )
    if store is None:  # one elsewhere may be of other data
        workspace.remember(data)
    return result


def estimate_extract(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    data: Data | str | PathLike[str] | None = None,
    extractor: str | PathLike[str] | None = None,
    onnx: Mapping[str, Any] | None = None,
    scales: Sequence[int] = SCALES,
    degradation: Degradation = SCALE_FORM,
    part: tuple[int, int] = (1, 1),
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> ExtractEstimate:
    """Estimate size and time of :func:`extract` with these arguments from a measured sample; write nothing."""
    target = pick_device(device)
    workspace = open_workspace(workspace)
    data = choose_data(workspace, data, on_progress=on_progress)
    chosen = choose_extractor(workspace, extractor, onnx=onnx, device=target, on_progress=on_progress)
    if chosen is None:
        raise _no_extractor(workspace, data)
    faces, _ = read_faces(data, side=chosen.extractor.side, on_progress=on_progress)
    source = face_source(faces, chosen.extractor, device=target, degradation=degradation)
    return estimate_extraction(source, store=store or workspace.store, scales=scales, part=part)


def _announce_scales(
    workspace: Workspace, store: str | PathLike[str], scales: Sequence[int], on_progress: ProgressCallback
) -> None:
    """Say beforehand which trainings will not know the scales that are added to a complete store."""
    try:
        known = FeatureStore(store).scales
    except FsrcacheError:  # there is none yet, it is not complete, or the writer says what is wrong with it
        return
    added = [f"x{scale}" for scale in sorted(scales) if scale not in known]
    generators = sorted(workspace.folder.glob("runs/*/generator.safetensors"))
    rows = sorted(workspace.folder.glob("rows/*/*/features.zarr"))
    trained = [f"run {file.parent.name}" for file in generators]
    trained += [f"{file.parents[1].name} {file.parent.name}" for file in rows]
    if added and trained:
        on_progress(
            note(
                f"The store gets {', '.join(added)}. What was trained keeps the scales that it was trained at, and is "
                f"scored at those: {', '.join(trained)}."
            )
        )


def _no_extractor(workspace: Workspace, data: Data) -> FsrcacheError:
    return FsrcacheError(
        f"There is no extractor in {workspace.folder}.",
        f"Run `fsrcache pretrain --data {data.path}` first, or name an extractor with --extractor.",
    )


def _pretrain_tiny(workspace: Workspace, faces: Faces, device: torch.device, on_progress: ProgressCallback) -> None:
    config = replace(EXTRACTORS["tiny"], side=faces.side)
    pretrain_extractor(
        faces, config, PRETRAINING["tiny"],
        target=workspace.extractor, folder=workspace.pretraining, device=device, on_progress=on_progress,
    )  # fmt: skip
