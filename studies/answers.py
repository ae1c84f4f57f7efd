"""The answers of a study's trainings, kept in its workspace: the next call takes those of the very same trainings."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from fsrcache.extractors.extractor import Extractor
from fsrcache.files import write_whole
from fsrcache.presets import TrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.settings import run_settings

_NAMED = 12  # digits of a folder's name that are of its training


def training_identity(store: FeatureStore, extractor: Extractor, config: TrainConfig, *, seed: int) -> dict[str, Any]:
    """Return what a training on the CPU is of, as JSON values: extractor, settings, seed and store.

    The store has the scales and extra splits that the training draws from.
    """
    settings = run_settings(store, config, seed=seed, device=torch.device("cpu"), plain=False)
    del settings["threads"]  # which change its rounding alone
    return {**settings, "extractor": extractor.digest}


def training_folder(folder: Path, name: str, identity: Mapping[str, Any]) -> Path:
    """Return the folder of a training, which a digest tells from trainings of one name that are of something else.

    Parameters
    ----------
    folder
        Folder of the study.
    name
        Name of the training.
    identity
        What the training is of, as JSON values.
    """
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return folder / f"{name}-{digest[:_NAMED]}"


def kept_answer(
    folder: Path, name: str, identity: Mapping[str, Any], make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Return the answer of a training, the one that is kept or else a new one.

    Parameters
    ----------
    folder, name, identity
        The training, as ``training_folder`` takes it; its answer depends on nothing else.
    make
        Function of the training's own folder that trains, or goes on with an interrupted training, and returns the
        answer as JSON values.
    """
    own = training_folder(folder, name, identity)
    file = own / "answer.json"
    if not file.exists():
        own.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"identity": identity, "answer": make(own)}, indent=1).encode())
    answer: dict[str, Any] = json.loads(file.read_text())["answer"]
    return answer
