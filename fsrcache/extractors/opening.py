"""Opens an extractor, whatever it is kept as."""

import copy
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

import torch

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.extractors.covpool import COVPOOL, covpool_extractor
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.reference import entry_point_names, is_reference, open_entry_point, open_reference
from fsrcache.files import as_path
from fsrcache.models.weights import file_digest, kind_of, read_weights, write_weights
from fsrcache.records import shortened, value_from
from fsrcache.workspace import ExtractorSource

FINE_TUNED = "fine-tuned extractor"  # weights of a factory's network, in a file that names it and never has it run
_REMEDY = Remedy(
    "It is damaged or of another version: train it again, `{}`.",
    call("baselines", rows=["fine-tuned"], seed=Blank("SEED")),
)


class _FineTuned(TypedDict):
    """What stands in the file of a factory's network with other weights."""

    reference: str
    training: Any


def open_extractor(
    source: Extractor | ExtractorSource | str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    base: Extractor | str | None = None,
) -> Extractor:
    """Return an extractor in evaluation mode on a device.

    Parameters
    ----------
    source
        A ``.safetensors`` file of ours, an ``.onnx`` file with its ``.toml``, ``package.module:factory``, the name of
        an installed extractor (entry-point group ``fsrcache.extractors``), what a workspace remembers, or an extractor,
        which is returned as it is.
    device
        Where its weights lie.
    base
        The factory's extractor that a file was fine-tuned from, or its reference, ``package.module:factory``: a file
        has no code run. None for any other extractor.

    Raises
    ------
    RequestError
        If there is no such extractor, it lacks what an extractor has, or a file was fine-tuned from another one than
        ``base``.
    FsrcacheError
        If its file is damaged, or its code fails.
    """
    if isinstance(source, Extractor):
        return source.to(device)
    options = None
    if isinstance(source, ExtractorSource):
        options, source = source.options, source.reference
    if not isinstance(source, str | PathLike) or not str(source):
        raise RequestError(f"The extractor is {shortened(source)}.", "Name a file, or package.module:factory.")
    path = as_path(source, name="The extractor")
    if path.suffix.lower() == ".onnx":
        from fsrcache.extractors.onnx import open_onnx

        return open_onnx(path, options=options).to(device)
    if isinstance(source, PathLike) or names_file(source):
        return _of_file(path, base).to(device)
    if is_reference(source):
        return open_reference(source).to(device)
    return open_entry_point(source).to(device)


def names_file(text: str) -> bool:
    """Tell whether a text is the path of an extractor's file; an installed extractor of that name comes first."""
    path = as_path(text, name="The extractor")
    if path.suffix.lower() in (".safetensors", ".onnx"):
        return True
    return path.is_file() and text not in entry_point_names()


def names_code(text: str) -> bool:
    """Tell whether a text is ``package.module:factory``, a module that opening it imports."""
    return is_reference(text) and not names_file(text)


def save_fine_tuned(path: str | PathLike[str], extractor: Extractor, *, training: Any) -> None:
    """Write the weights of a factory's network; ``open_extractor`` puts them into what its caller's factory makes.

    ``training`` says how they were trained, as JSON values.
    """
    record = {"reference": extractor.name, "training": training}
    write_weights(path, extractor.module.state_dict(), kind=FINE_TUNED, record=record)


def _of_file(path: Path, base: Extractor | str | None) -> Extractor:
    if kind_of(path, wanted=COVPOOL) != FINE_TUNED:
        return covpool_extractor(path)
    tensors, written = read_weights(path, kind=FINE_TUNED)
    reference = value_from(_FineTuned, written, where=path, remedy=_REMEDY)["reference"]
    if base is None or reference != (base.name if isinstance(base, Extractor) else base):
        other = "" if base is None else f", not from {base.name if isinstance(base, Extractor) else shortened(base)}"
        raise RequestError(
            f"{path} was fine-tuned from what {shortened(reference)[1:-1]} makes{other}, and no file has code run.",
            "If you trust that module, open it in Python: open_extractor(FILE, base='package.module:factory'). For a "
            "workspace, return its `module` from a factory of your own.",
        )
    extractor = base if isinstance(base, Extractor) else open_extractor(base)  # the caller's stays where it is
    module = copy.deepcopy(extractor.module)  # a factory may return the same network every time
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise FsrcacheError(
            f"{path} does not fit what {reference} makes: {str(error).splitlines()[0]}", _REMEDY
        ) from error
    summary = f"{extractor.summary}, fine-tuned"
    return extractor.with_weights(module, digest=file_digest(path), summary=summary)
