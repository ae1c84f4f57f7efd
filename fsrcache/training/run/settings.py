"""The settings of a run, which its checkpoint keeps: another call's are refused before any features are read."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fsrcache.device import computed_precision, torch_threads
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.identity import degradation_of
from fsrcache.presets import TrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.checkpoint import CHECKPOINT, is_intact, previous, record_of, refuse_other_run

ANEW = "another name"  # what a run that begins anew may have, beside a restart


def run_settings(
    store: FeatureStore, config: TrainConfig, *, seed: int, device: torch.device, plain: bool
) -> dict[str, Any]:
    """Return the settings of a run as JSON values, all but the order of its faces.

    Parameters
    ----------
    store
        The store, with the scales and extra splits of the run.
    config, seed, device, plain
        As for ``train_generator``.
    """
    settings = {
        "config": asdict(config),
        "seed": seed,
        "store": store.spec.content_digests,
        "scales": list(store.scales),
        "channels": 1 if store.spec.recipe.get("channels") == 1 else 3,
        "degradation": None if (degradation := degradation_of(store)) is None else asdict(degradation),
        "device": device.type,
        "precision": computed_precision(config.precision, device),
        "threads": torch_threads(device),
        "plain": plain,
    }
    if store.spec.extra:
        settings["extra"] = {split: one["digest"] for split, one in store.spec.extra.items()}
    return settings


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise if a folder holds a run of other settings, its threads and its order of faces aside.

    A damaged checkpoint is passed over, as by ``resume``.

    Parameters
    ----------
    folder
        Folder of the run.
    settings
        Settings, as of ``run_settings``.

    Raises
    ------
    RequestError
        With the name of each setting that differs and both values.
    """
    for file in (folder / CHECKPOINT, previous(folder / CHECKPOINT)):
        try:
            written = record_of(file)["settings"]
        except FsrcacheError:
            continue
        try:
            refuse_other_run(file, written, settings, anew=ANEW, other_threads=True, other_order=True)
        except FsrcacheError:
            if is_intact(file):
                raise
            continue
        return
