"""Which extractor a workspace works with: one that is named now, or the one that it remembers."""

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.onnx_options import describe, read_options
from fsrcache.extractors.opening import names_file, open_extractor
from fsrcache.progress import ProgressCallback, note
from fsrcache.records import shortened
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.data import absolute_path
from fsrcache.workspace import ExtractorSource, Workspace


class ChosenExtractor(NamedTuple):
    """An extractor, and what the workspace is yet to remember of it, if anything."""

    extractor: Extractor
    source: ExtractorSource | None


def choose_extractor(
    workspace: Workspace,
    extractor: str | PathLike[str] | None,
    *,
    onnx: Mapping[str, Any] | None,
    device: torch.device,
    on_progress: ProgressCallback,
) -> ChosenExtractor | None:
    """Open the extractor that was named, else the workspace's; None where there is neither.

    Parameters
    ----------
    workspace
        The workspace.
    extractor
        A ``.safetensors`` or ``.onnx`` file, ``package.module:factory``, or the name of an installed extractor.
    onnx
        Options of an ONNX file, as JSON values, beside or in place of those of the TOML file beside it.
    device
        Device of its weights.
    on_progress
        Called with the options of an ONNX file in words.

    Raises
    ------
    RequestError
        If there is no such extractor, or the workspace has another one.
    FsrcacheError
        If one of them cannot be read.
    """
    if extractor is None:
        if onnx:
            raise RequestError(
                "There are options of an ONNX file, and no file.",
                Remedy("Name it: `{}`.", arguments(extractor=Blank("FILE.onnx"))),
            )
        if not workspace.has_extractor:
            return None
        remembered = open_extractor(workspace.extractor_source, device=device)
        _compare_store(workspace, remembered)
        return ChosenExtractor(remembered, None)
    if not isinstance(extractor, str | PathLike) or not fspath(extractor):
        raise RequestError(f"The extractor is {shortened(extractor)}.", "Name a file, or package.module:factory.")
    source = _source(workspace, extractor, onnx, on_progress)
    opened = open_extractor(source, device=device)
    if not Path(source.reference).is_absolute() and opened.digest != open_extractor(source).digest:  # a factory's
        raise RequestError(
            f"{source.reference} makes other weights at each call.", "Load its weights, or seed them in the factory."
        )
    known = _known(workspace, opened, source)
    return ChosenExtractor(opened, None if known else source)


def _source(
    workspace: Workspace,
    extractor: str | PathLike[str],
    onnx: Mapping[str, Any] | None,
    on_progress: ProgressCallback,
) -> ExtractorSource:
    """Return what a workspace is to remember of an extractor by its name."""
    reference = fspath(extractor)
    file = isinstance(extractor, PathLike) or names_file(reference)
    path = absolute_path(reference) if file else Path(reference)
    if not file or path.suffix.lower() != ".onnx":
        if onnx:
            raise RequestError(
                f"{reference} is no ONNX file, and there are options of one.", "Leave out these options."
            )
        return ExtractorSource(str(path) if file else reference)
    if not path.exists():
        raise RequestError(f"There is no ONNX file at {path}.", "Check the path.")
    options = read_options(path.with_suffix(".toml"), **{**_own_options(workspace, path), **(onnx or {})})
    on_progress(note(f"{path.name}: {describe(options)}"))
    return ExtractorSource(str(path), asdict(options))


def _own_options(workspace: Workspace, path: Path) -> Mapping[str, Any]:
    """Return the options that the workspace remembers of its own ONNX file; none of another file."""
    try:
        source = workspace.extractor_source
        own = path.samefile(source.reference)
    except (FsrcacheError, OSError):  # the record cannot be read, or is of something that is no file
        return {}
    return (source.options or {}) if own else {}


def _known(workspace: Workspace, extractor: Extractor, source: ExtractorSource) -> bool:
    """Tell whether the workspace has an extractor, which must be this one, and so must be its store's."""
    known = _remembered(workspace)
    if known is not None and _features_of(known) != _features_of(extractor):
        raise RequestError(
            f"{workspace.folder} has another extractor, {_identity(known)}; {source.reference} is "
            f"{_identity(extractor)}.",
            Remedy("Use a workspace of its own for each: `{}`.", arguments(workspace=Blank("DIR"))),
        )
    _compare_store(workspace, extractor)
    return known is not None


def _compare_store(workspace: Workspace, extractor: Extractor) -> None:
    """Refuse an extractor that is not that of the workspace's complete store."""
    try:
        store = FeatureStore(workspace.store)
    except FsrcacheError:  # there is none, or it is not complete: whoever writes it compares
        return
    refuse_other_extractor(store, extractor)


def _remembered(workspace: Workspace) -> Extractor | None:
    """Open the workspace's extractor; None if there is none, or the note of which it is cannot be read."""
    if not workspace.has_extractor:
        return None
    try:
        source = workspace.extractor_source
    except FsrcacheError:
        return None
    return open_extractor(source)


def _features_of(extractor: Extractor) -> tuple[str, str, str]:
    """Return what a store's record says of an extractor."""
    return extractor.name, extractor.digest, extractor.preprocessing


def _identity(extractor: Extractor) -> str:
    return f"{extractor.summary} (weights {extractor.digest[:12]})"
