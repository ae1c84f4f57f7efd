"""A run's temperature at each scale, fitted on validation faces when it is first needed and kept beside the run."""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.splits import split_inputs, split_labels
from fsrcache.evaluation.temperature import MOST_FACES, calibrate, fit_rows, fit_split
from fsrcache.files import read_regular, write_whole
from fsrcache.model import Model
from fsrcache.models.generators.form import super_resolve
from fsrcache.progress import ProgressCallback, counted, note
from fsrcache.records import Between, parse_json, value_from
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace

FILE = "temperatures.json"
_MOST_BYTES = 1 << 20
_BATCH = 256


class Temperature(TypedDict):
    """The temperature of a scale, the number of faces it was fitted on, and their calibration error at 1 and at it."""

    temperature: Annotated[float, Between(1 / 20, 20)]
    faces: Annotated[int, Between(1, MOST_FACES)]
    error_before: Annotated[float, Between(0, 1)]
    error_after: Annotated[float, Between(0, 1)]


class _Record(TypedDict):
    """What stands in the file: digests of what the temperatures depend on, and the temperatures by scale."""

    source: Mapping[str, str]
    scales: Mapping[str, Temperature]


UNCALIBRATED = Temperature(temperature=1.0, faces=0, error_before=0.0, error_after=0.0)


def temperatures_of(model: Model, *, on_progress: ProgressCallback) -> Callable[[int], Temperature]:
    """Return a function of a scale that the model knows; it returns the scale's temperature.

    The faces are those of the validation split, or else the held-out tenth of the training split. Where there are none,
    as without a store, the temperature is 1, and a note says so.
    """
    workspace = Workspace(model.workspace)
    run = workspace.run(model.run)
    path = (run if run.is_dir() else workspace.folder) / FILE  # an exported model has no folder of runs
    source = _source(model)
    kept = _read(path, source, on_progress)
    store = FeatureStore(workspace.store) if workspace.store.exists() else None
    uncalibrated: set[int] = set()
    if store is None and not kept:
        on_progress(note(f"{workspace.folder} has no store: confidences are not calibrated."))
        uncalibrated.update(model.scales)

    def temperature(scale: int) -> Temperature:
        if scale in kept:
            return kept[scale]
        fitted = None if store is None else _fitted(model, store, scale, on_progress)
        if fitted is not None:
            kept[scale] = fitted
            _write(path, source, kept, on_progress)
            return fitted
        if scale not in uncalibrated:
            on_progress(note(f"{workspace.folder} has no temperature of x{scale}, and no faces to fit one on: "
                             "confidences at that scale are not calibrated."))  # fmt: skip
            uncalibrated.add(scale)
        return UNCALIBRATED

    return temperature


def temperatures_to_carry(model: Model, *, on_progress: ProgressCallback) -> bytes | None:
    """Return the content of the file for an exported model, the temperatures of all its scales; None without any."""
    temperature = temperatures_of(model, on_progress=on_progress)
    scales = {scale: one for scale in model.scales if (one := temperature(scale)) is not UNCALIBRATED}
    return _content(_source(model), scales) if scales else None


def _source(model: Model) -> dict[str, str]:
    return {"generator": _digest(model.generator), "extractor": model.extractor.digest}


def _content(source: Mapping[str, str], kept: Mapping[int, Temperature]) -> bytes:
    record = {"source": source, "scales": {str(scale): kept[scale] for scale in sorted(kept)}}
    return (json.dumps(record, indent=2) + "\n").encode()


def _fitted(model: Model, store: FeatureStore, scale: int, on_progress: ProgressCallback) -> Temperature | None:
    """Return the temperature of a scale; None where the store has no faces for it."""
    split = fit_split(store)
    if split is None or scale not in store.scales:
        return None
    rows = fit_rows(store, split)
    if not len(rows):
        return None
    labels = split_labels(store, split)[rows].astype(np.int64)
    arrays = [read[rows] for read in split_inputs(model.generator, store, split, scale)]
    probabilities = _probabilities(model, arrays, f"calibrating x{scale}", on_progress)
    fitted = calibrate(probabilities, labels, fit=(probabilities, labels))
    assert fitted.temperature is not None
    assert fitted.error_after is not None
    return Temperature(
        temperature=fitted.temperature,
        faces=len(labels),
        error_before=fitted.error,
        error_after=fitted.error_after,
    )


@torch.inference_mode()
def _probabilities(
    model: Model, arrays: Sequence[NDArray[np.floating[Any]]], phase: str, on_progress: ProgressCallback
) -> NDArray[np.float32]:
    """Return the model's probabilities [n, K] of the store's features [n, P], and early ones [n, Q] if it has any."""
    parts = []
    for start in counted(range(0, len(arrays[0]), _BATCH), phase, "parts", on_progress):
        part = [torch.from_numpy(array[start : start + _BATCH]).to(model.device).float() for array in arrays]
        features = super_resolve(model.generator, *part).float()
        parts.append(model.extractor.head(features)[1].float().softmax(1).cpu().numpy())
    return np.concatenate(parts)


def _digest(network: torch.nn.Module) -> str:
    """Return the hexadecimal SHA-256 of a network's weights, wherever they are kept."""
    digest = sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, source: Mapping[str, str], on_progress: ProgressCallback) -> dict[int, Temperature]:
    """Return the temperatures that a file keeps; none where there is none, or it is another model's or damaged."""
    try:
        record = value_from(_Record, parse_json(read_regular(path, most=_MOST_BYTES), where=path), where=path)
    except FileNotFoundError:
        return {}
    except FsrcacheError as error:
        on_progress(note(f"{error.what} It is made anew."))
        return {}
    known = record["source"] == source
    return {int(scale): one for scale, one in record["scales"].items() if known and scale.isdecimal()}


def _write(
    path: Path, source: Mapping[str, str], kept: Mapping[int, Temperature], on_progress: ProgressCallback
) -> None:
    try:
        write_whole(path, _content(source, kept))
    except FsrcacheError as error:  # a workspace that is only read
        on_progress(note(f"{error.what} The temperatures are fitted again next time."))
