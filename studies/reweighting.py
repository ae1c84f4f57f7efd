"""Whether re-weighting the generator's losses speeds up its training about threefold, as in arXiv 2004.02234.

Run as ``python -m studies.reweighting --workspace DIR --out benchmarks/results`` on a workspace that has a
store. The paper's training is run without weights and with them by every source of p, from the same first weights and
on the same batches. It has its losses, critic and optimiser, but small networks, and a generator of the form of
``best``, which learns something in a few minutes. What is compared is the step at which a run reaches the level at
which the run of its seed without weights ends: the faces' mean accuracy, and their cross-entropy, which is smoother.
The level, and what reaches it, are means of three scorings. ``reweighting.json`` is written after every run, and the
same command goes on; after a change of settings, store or extractor it begins anew.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from torch.nn.functional import cross_entropy

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.cli.progress import shown
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generators.form import super_resolve
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, TrainConfig
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache, load_cache
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.networks import make_trainer
from fsrcache.training.step.trainer import Trainer
from fsrcache.workspace import Workspace
from studies.answers import kept_answer, training_identity
from studies.command import StudyCommand

SOURCES = ("none", "lr", "hr", "sr", "sr_grad")
_CPU = torch.device("cpu")
_SMALL = replace(
    TRAINING["paper"],
    generator=MLPConfig(width=384),
    critic=CriticConfig(filters=4),
    milestones=(),
)
_SMOOTHED = 3  # scorings
_AT_ONCE = 512  # features


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="Workspace with a store."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--steps", default=800, show_default=True, help="Training steps of a run.")
@click.option("--every", default=25, show_default=True, help="Steps between two scorings.")
@click.option("--seeds", default=3, show_default=True, help="Number of seeds for every source of p.")
@click.option("--faces", default=600, show_default=True, help="Number of held-out faces that are scored.")
def main(workspace: Path, out: Path, steps: int, every: int, seeds: int, faces: int) -> None:
    """Train with every source and compare."""
    files = Workspace(workspace)
    store, extractor = FeatureStore(files.store).with_extra(()), open_extractor(files.extractor)
    scored = load_cache(store, "train", rows=np.flatnonzero(store.held_out())[:faces], device=_CPU)
    record: dict[str, Any] = {
        "machine": machine(_CPU),
        "commit": commit(),
        "data": store.spec.data,
        "faces": len(scored.labels),
        "runs": [],
    }
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)

    def answer(source: Any, seed: int) -> dict[str, Any]:
        config = replace(_SMALL, reweight=source, steps=steps)

        def make(_: Path) -> dict[str, Any]:
            console.print(f"weights by {source}, seed {seed}", highlight=False)
            with shown(console) as on_progress:
                return _run(store, extractor, config, scored, on_progress, seed=seed, every=every)

        identity = {"every": every, "faces": faces, **training_identity(store, extractor, config, seed=seed)}
        return kept_answer(files.folder / "reweighting", f"{steps}-{seed}-{source}", identity, make)

    for seed in range(seeds):
        plain: list[dict[str, float]] = []
        for source in SOURCES:
            run = answer(source, seed)
            plain = plain or run["curve"]
            run["steps_to_the_level"] = {
                measure: steps_to_the_level(run["curve"], plain, measure=measure) for measure in ("accuracy", "loss")
            }
            record["runs"].append(run)
            summary = {key: run[key] for key in ("source", "seed", "steps_to_the_level", "seconds")}
            click.echo(json.dumps({**summary, **run["curve"][-1]}), err=True)
            (out / "reweighting.json").write_text(json.dumps(record, indent=1) + "\n")


def _run(
    store: FeatureStore,
    extractor: Extractor,
    config: TrainConfig,
    scored: FeatureCache,
    on_progress: ProgressCallback,
    *,
    seed: int,
    every: int,
) -> dict[str, Any]:
    """Train once; return the curve of the scores."""
    start = time.perf_counter()
    steps = config.steps
    location = choose_location(store, "ram", device=_CPU)
    features = open_features(store, config, location=location, device=_CPU, seed=seed)
    trainer = make_trainer(features, extractor, config, seed=seed)
    curve = [_score(trainer, scored, 0)]
    for step in range(steps):
        if step % every == 0:
            trainer.batches.prepare(step, min(every, steps - step))
        trainer.step(step)
        if (step + 1) % every == 0 or step + 1 == steps:
            trainer.finite.check()
            curve.append(_score(trainer, scored, step + 1))
            on_progress(Progress("training", step + 1, steps, "steps", {"accuracy": curve[-1]["accuracy"]}))
    return {"source": config.reweight, "seed": seed, "seconds": round(time.perf_counter() - start), "curve": curve}


@torch.no_grad()
def _score(trainer: Trainer, scored: FeatureCache, step: int) -> dict[str, float]:
    """Return the frozen head's accuracy in percent and its cross-entropy over all scales but full resolution."""
    generator, head = trainer.kept.eval(), trainer.networks.head
    labels = scored.labels.repeat(len(scored.features) - 1)
    read = (values[1:].flatten(0, 1) for values in (scored.features, scored.early))
    parts = zip(*(torch.split(values, _AT_ONCE) for values in read), strict=True)
    logits = torch.cat([head(super_resolve(generator, *(one.float() for one in part)))[1] for part in parts])
    accuracy = 100 * (logits.argmax(1) == labels).double().mean().item()
    return {"step": step, "accuracy": round(accuracy, 3), "loss": round(cross_entropy(logits, labels).item(), 5)}


def steps_to_the_level(curve: list[dict[str, float]], plain: list[dict[str, float]], *, measure: str) -> float | None:
    """Return the first step at which a curve reaches the level where ``plain`` ends; None if it never does."""
    sign = 1 if measure == "accuracy" else -1
    level = sign * mean(point[measure] for point in plain[-_SMOOTHED:])
    for end in range(_SMOOTHED, len(curve) + 1):
        window = curve[end - _SMOOTHED : end]
        if sign * mean(point[measure] for point in window) >= level:
            return window[-1]["step"]
    return None


if __name__ == "__main__":
    main()
