"""``extract``: write the features of every face at every scale into the workspace's store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Annotated, Any, Literal

import torch

from fsrcache.device import pick_device
from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call
from fsrcache.evaluation.splits import REPORTED
from fsrcache.extraction.extract import (
    ExtractEstimate,
    ExtractResult,
    estimate_extraction,
    extract_features,
    following_extraction,
)
from fsrcache.extraction.on_ray import RayCluster
from fsrcache.extraction.room import refuse_full_disk
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.presets import EXTRACTORS, PRETRAINING
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import Between, check_value, shortened
from fsrcache.store.existing import read_root
from fsrcache.store.objects import objects_at
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import LARGEST_SCALE
from fsrcache.store.writer import unwritten
from fsrcache.training.classifier.estimate import estimate_pretraining
from fsrcache.training.classifier.fit import Following
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.verbs.data import choose_data, has_store_of, read_faces, remember_beginning
from fsrcache.verbs.extra import choose_extra, read_unlabelled
from fsrcache.verbs.extractor import choose_extractor
from fsrcache.verbs.pretrain import resolve_settings
from fsrcache.workspace import Data, Workspace, open_workspace

_SCALES = (2, 3, 4, 5, 6, 7, 8)


def extract(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    data: Data | str | PathLike[str] | None = None,
    extractor: str | PathLike[str] | None = None,
    onnx: Mapping[str, Any] | None = None,
    scales: Sequence[int] | None = None,
    views: int = 0,
    unlabelled: Data | str | PathLike[str] | None = None,
    degradation: Degradation = SCALE_FORM,
    part: tuple[int, int] = (1, 1),
    device: str = "auto",
    engine: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    on_progress: ProgressCallback = no_progress,
) -> ExtractResult:
    """Write what the extractor says of every face at every scale into the workspace's store.

    That is features, embeddings, probabilities and, where it has any, early features. Interrupted, it goes on where it
    stopped when it is called again; more scales, views and faces without labels can be added later. In a workspace
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
        Scales from 2; full resolution is always written. None for those of the store, or else 2 to 8.
    views
        Number of views of every training face, mirrored or shifted, that trainings draw from too; a store keeps those
        that it has.
    unlabelled
        A folder or file of faces without labels, or whose labels are ignored, that trainings draw from too.
    degradation
        How low-resolution views are made.
    part
        ``(i, n)``: the i-th of n shares, which several processes or hosts may write at once.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the GPU if there is one. On Ray ``auto``, ``cpu`` or
        ``cuda``, of its workers.
    engine
        ``local``, this process; or ``ray``, the workers of a cluster of Ray, which see the same files. The store is the
        same, byte for byte, on the same kind of device.
    ray_address
        Address of the cluster; None for ``RAY_ADDRESS`` in the environment, else for workers on this machine.
    on_progress
        Called after every batch, on Ray after every block.

    Raises
    ------
    RequestError
        If an argument is wrong, the workspace has another extractor, or the store is of other content.
    FsrcacheError
        If there is no extractor, it has other classes than the faces, the faces cannot be read, the store cannot be
        written, or there is no such cluster.
    """
    cluster = _cluster(engine, ray_address, device)
    target = pick_device("cpu" if cluster else device)
    workspace = open_workspace(workspace)
    data = choose_data(workspace, data, any_limit=store is not None, on_progress=on_progress)
    chosen = choose_extractor(workspace, extractor, onnx=onnx, device=target, on_progress=on_progress)
    if chosen is None and not _pretrains(data, part):
        raise _no_extractor(workspace, data)
    views, unlabelled = choose_extra(workspace, store, views=views, unlabelled=unlabelled, data=data)
    scales = _choose_scales(store or workspace.store, scales)
    faces, title = read_faces(data, side=None if chosen is None else chosen.extractor.side, on_progress=on_progress)
    others = read_unlabelled(unlabelled, side=faces.side, labelled=faces, on_progress=on_progress)
    seen: dict[str, Any] = {"device": target, "degradation": degradation, "views": views, "unlabelled": others}
    if chosen is None:
        workspace.remember(data)
        on_progress(note("There is no extractor yet: pre-training a tiny one on the drawn faces."))
        following = following_extraction(
            faces, scales=scales, degradation=degradation, views=views, unlabelled=others, on_progress=on_progress
        )
        _pretrain_tiny(workspace, faces, target, following, on_progress)
        source = face_source(faces, workspace.extractor, **seen)
    else:
        source = face_source(faces, chosen.extractor, **seen)
        spec = store_spec(source, scales=scales, data=title)
        same = store is None and has_store_of(workspace, spec, data)
        refuse_full_disk(store or workspace.store, spec, source)
        if chosen.source is not None:
            unwritten(store or workspace.store, spec, part=part)  # compares
            workspace.remember_extractor(chosen.source)
        if same:
            workspace.remember(data)
        elif store is None or not workspace.has_data:
            remember_beginning(workspace, data)
    _announce_scales(workspace, store or workspace.store, scales, on_progress)
    result = extract_features(
        source, store=store or workspace.store, scales=scales, data=title, part=part, cluster=cluster,
        on_begin=partial(_remember_unlabelled, workspace, None if store else unlabelled), on_progress=on_progress,
    )  # fmt: skip
    if views and not result.rows.get("train"):
        on_progress(note("There is no train, and views are of its faces: none was written."))
    if not set(REPORTED) & set(result.rows):
        on_progress(note("There is no val and no test: a generator can be trained, and nothing be evaluated."))
    if store is None:  # one elsewhere may be of other data
        workspace.remember(data)
    if result.blocks and result.resumed_from == result.blocks:
        on_progress(note(f"Nothing to do: all {result.blocks:,} blocks were in {result.store}."))
    return result


def estimate_extract(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    data: Data | str | PathLike[str] | None = None,
    extractor: str | PathLike[str] | None = None,
    onnx: Mapping[str, Any] | None = None,
    scales: Sequence[int] | None = None,
    views: int = 0,
    unlabelled: Data | str | PathLike[str] | None = None,
    degradation: Degradation = SCALE_FORM,
    part: tuple[int, int] = (1, 1),
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> ExtractEstimate:
    """Estimate size and time of :func:`extract` with these arguments from a measured sample; write nothing.

    Without an extractor, the figures are those of the one that ``pretrain`` would make by default, and its
    pre-training is estimated too.
    """
    target = pick_device(device)
    workspace = open_workspace(workspace)
    data = choose_data(workspace, data, any_limit=store is not None, on_progress=on_progress)
    chosen = choose_extractor(workspace, extractor, onnx=onnx, device=target, on_progress=on_progress)
    views, unlabelled = choose_extra(workspace, store, views=views, unlabelled=unlabelled, data=data)
    scales = _choose_scales(store or workspace.store, scales)
    faces, title = read_faces(data, side=None if chosen is None else chosen.extractor.side, on_progress=on_progress)
    others = read_unlabelled(unlabelled, side=faces.side, labelled=faces, on_progress=on_progress)
    seen: dict[str, Any] = {"device": target, "degradation": degradation, "views": views, "unlabelled": others}
    if chosen is not None:
        source = face_source(faces, chosen.extractor, **seen)
        if store is None:
            has_store_of(workspace, store_spec(source, scales=scales, data=title), data)  # compares
        return estimate_extraction(
            source, store=store or workspace.store, scales=scales, part=part, on_progress=on_progress
        )
    default = resolve_settings(data, faces.side, device=target)
    first = "extraction pre-trains one first" if _pretrains(data, part) else "pre-train one first, or name one"
    figures = f"the figures are those of the preset {default.preset}"
    on_progress(note(f"There is no extractor in {workspace.folder} yet: {first}; {figures}."))
    pretraining = estimate_pretraining(
        faces, default.extractor, default.schedule, device=target, on_progress=on_progress
    )
    untrained = extractor_of(CovPoolFER(default.extractor, faces.classes).eval(), digest="0")
    source = face_source(faces, untrained, **seen)
    estimate = estimate_extraction(
        source, store=store or workspace.store, scales=scales, part=part, on_progress=on_progress
    )
    return replace(estimate, preset=default.preset, pretraining_seconds=pretraining.seconds)


def _cluster(engine: str, ray_address: str | None, device: str) -> RayCluster | None:
    """Return the cluster that extracts; None for this process."""
    check_value(Literal["local", "ray"], engine, name="engine")
    check_value(str | None, ray_address, name="ray_address")
    if engine == "ray":
        return RayCluster(ray_address, device)
    if ray_address is not None:
        raise RequestError(
            f"The address of Ray is {shortened(ray_address)}, and the engine is local.",
            Remedy("Add `{}`.", arguments(engine="ray")),
        )
    return None


def _remember_unlabelled(workspace: Workspace, unlabelled: Data | None) -> None:
    if unlabelled is not None:
        workspace.remember_unlabelled(unlabelled)


def _choose_scales(store: str | PathLike[str], scales: Sequence[int] | None) -> Sequence[int]:
    """Return the scales that were named, else those of the store, complete or not, else 2 to 8."""
    if scales is not None:
        named = tuple(scales) if isinstance(scales, Sequence) else scales
        check_value(tuple[Annotated[int, Between(1, LARGEST_SCALE)], ...], named, name="scales")
        return scales
    root = read_root(objects_at(store))
    return _SCALES if root is None else root.spec.scales


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
    rows = sorted(workspace.folder.glob("rows/*/seed-*"))
    trained = [f"run {file.parent.name}" for file in generators]
    trained += [f"{folder.parent.name} {folder.name}" for folder in rows]
    if added and trained:
        on_progress(
            note(
                f"The store gets {', '.join(added)}. What was trained keeps the scales that it was trained at, and is "
                f"scored at those: {', '.join(trained)}."
            )
        )


def _pretrains(data: Data, part: tuple[int, int]) -> bool:
    """Tell whether an extraction without an extractor pre-trains one: of drawn faces, if it is not shared."""
    return data.drawn and part == (1, 1)


def _no_extractor(workspace: Workspace, data: Data) -> FsrcacheError:
    folder = workspace.folder
    what = f"There is no extractor in {folder}." if folder.is_dir() else f"There is no workspace at {folder} yet."
    return FsrcacheError(
        what,
        Remedy(
            "Run `{}` first, or name an extractor: `{}`.",
            call("pretrain", workspace=str(folder), data=data.path),
            arguments(extractor=Blank("FILE")),
        ),
    )


def _pretrain_tiny(
    workspace: Workspace, faces: Faces, device: torch.device, following: Following, on_progress: ProgressCallback
) -> None:
    config = replace(EXTRACTORS["tiny"], side=faces.side)
    pretrain_extractor(
        faces, config, PRETRAINING["tiny"],
        target=workspace.extractor, folder=workspace.pretraining, device=device, other_threads=True,
        on_progress=on_progress, following=following,
    )  # fmt: skip
