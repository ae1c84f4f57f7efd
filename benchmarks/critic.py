"""Whether a critic helps ``best``: the same training without one and with one, at several weights of its term.

Run as ``python -m fsrcache.benchmarks.critic --workspace DIR`` on a workspace that has a store; it prints one JSON
document. Accuracy is the frozen head's on all faces held out of training, so that no reported picture chooses anything.
"""

import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import fsrcache
from fsrcache.models.extractor import load_extractor
from fsrcache.models.generator import load_generator
from fsrcache.presets import TRAINING, CriticConfig, TrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.train import train
from fsrcache.training.loader import load_cache
from fsrcache.workspace import Workspace

_WEIGHTS = (None, 0.01, 0.1, 1.0)


@click.command
@click.option("--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="With a store.")
@click.option("--steps", default=1500, show_default=True, help="Of every training.")
@click.option("--seed", default=0, show_default=True, help="Of every training.")
def main(workspace: Path, steps: int, seed: int) -> None:
    """Train and print."""
    place = Workspace(workspace)
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores, {platform.system()}",
        "versions": {"fsrcache": fsrcache.__version__, "torch": torch.__version__},
        "data": FeatureStore(place.store).spec.data,
        "steps": steps,
        "seed": seed,
        "rows": [],
    }
    for weight in _WEIGHTS:
        config = replace(TRAINING["best"], steps=steps)
        if weight is not None:
            config = replace(config, critic=CriticConfig(filters=8), adversarial_weight=weight)
        folder = place.run(f"critic-{weight}-{steps}-{seed}")
        record["rows"].append({"adversarial_weight": weight, **_measure(place, config, folder, seed=seed)})
        click.echo(json.dumps(record["rows"][-1]), err=True)
    click.echo(json.dumps(record, indent=1))


def _measure(place: Workspace, config: TrainConfig, folder: Path, *, seed: int) -> dict[str, Any]:
    """Train, or go on, and return the accuracy in percent by scale and its mean over those that are not 1."""
    store, cpu = FeatureStore(place.store), torch.device("cpu")
    record = train(store, place.extractor, config, folder=folder, device=cpu, seed=seed)
    cache = load_cache(store, "train", rows=np.flatnonzero(store.held_out()), device=cpu)
    generator, head = load_generator(Path(record["generator"]))[0], load_extractor(place.extractor).head
    with torch.inference_mode():
        right = {
            scale: 100 * (head(generator(features.float()))[1].argmax(1) == cache.labels).double().mean().item()
            for scale, features in zip(store.scales, cache.features, strict=True)
        }
    mean = sum(value for scale, value in right.items() if scale > 1) / (len(right) - 1)
    return {
        "faces": len(cache.labels),
        "accuracy": {str(scale): round(value, 2) for scale, value in right.items()},
        "mean": round(mean, 2),
        "seconds": round(record["seconds"]),
    }


if __name__ == "__main__":
    main()
