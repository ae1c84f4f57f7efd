"""One thing changed at a time: what each form of generator, loss, weight and critic is worth.

All but ``best`` change a base, which is ``best`` with one network instead of several, at B 128 and without its noise;
the rows of ``studies.forms`` read no early features, so that what they change shows beside "no early features".
Run as ``python -m studies.variants --workspace DIR --out benchmarks/results`` on a workspace that has a
store. All variants are trained with the first seed, then with the next; ``variants-STEPS.json`` and
``variants-STEPS.md`` are written after every training, and the same command goes on; after a change of settings, store
or extractor it begins anew. Accuracy is the frozen head's on all faces held out of training, so that no reported
picture chooses anything, and beside it on a tenth of those that were trained on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from torch import nn

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.cli.progress import shown
from fsrcache.extractors.covpool import load_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generators.forms import load_generator
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig, TrainConfig
from fsrcache.progress import ProgressCallback
from fsrcache.split_names import view_split
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache, load_cache
from fsrcache.training.run.loop import score
from fsrcache.training.run.train import train_generator
from fsrcache.verbs.extract import extract
from fsrcache.workspace import Workspace
from studies.answers import kept_answer, training_identity
from studies.command import StudyCommand
from studies.forms import FORMS, train_form

_CPU = torch.device("cpu")
_SEEN_ONE_IN = 10  # one in so many of the faces trained on is scored
_VIEWS = "mirrored and shifted views too"
_LONGER = "three times as many steps"
_BASE = replace(TRAINING["best"], generator=MLPConfig(), batch=128)
_REGULARISED = MLPConfig(dropout=0.2, noise=0.5)
_CRITIC = replace(_BASE, critic=CriticConfig(filters=8))
VARIANTS: Mapping[str, TrainConfig] = {
    "base": _BASE,
    "generator half as wide": replace(_BASE, generator=MLPConfig(width=384)),
    "generator twice as wide": replace(_BASE, generator=MLPConfig(width=1536)),
    "generator with 4 blocks": replace(_BASE, generator=MLPConfig(blocks=4)),
    "residual of rank 8": replace(_BASE, generator=MLPConfig(rank=8)),
    "residual of rank 16": replace(_BASE, generator=MLPConfig(rank=16)),
    "residual of rank 64": replace(_BASE, generator=MLPConfig(rank=64)),
    "residual linear in what is hidden": replace(_BASE, generator=MLPConfig(rank=0)),
    "RRDB, 2 blocks, folded by 8": replace(
        _BASE, generator=RRDBConfig(filters=64, growth=32, blocks=2, unshuffle=8, global_skip=True)
    ),
    "dropout 0.3": replace(_BASE, generator=MLPConfig(dropout=0.3)),
    "noise 0.3": replace(_BASE, generator=MLPConfig(noise=0.3)),
    "half of the samples mixed": replace(_BASE, mixing=0.5),
    "all samples mixed": replace(_BASE, mixing=1.0),
    "without L2": replace(_BASE, l2_weight=0.0),
    "without perceptual": replace(_BASE, perceptual_weight=0.0),
    "without distillation": replace(_BASE, distillation_weight=0.0),
    "distillation, weight 3": replace(_BASE, distillation_weight=3.0),
    "cross-entropy for distillation": replace(_BASE, distillation_weight=0.0, classification_weight=1.0),
    "cross-entropy too": replace(_BASE, classification_weight=1.0),
    "weights none": replace(_BASE, reweight="none"),
    "weights by hr": replace(_BASE, reweight="hr"),
    "weights by sr": replace(_BASE, reweight="sr"),
    "weights by sr_grad": replace(_BASE, reweight="sr_grad"),
    "averaging 0.999": replace(_BASE, averaging=0.999),
    "no early features": replace(_BASE, generator=MLPConfig(early=False)),
    "batch 256": replace(_BASE, batch=256),
    "batch 256, noise 0.5, dropout 0.2": replace(_BASE, batch=256, generator=_REGULARISED),
    "the same, two networks of two thirds the width": replace(
        _BASE, batch=256, generator=replace(_REGULARISED, width=512, members=2)
    ),
    "best": TRAINING["best"],  # three such networks, batch 384
    "critic, weight 0.01": replace(_CRITIC, adversarial_weight=0.01),
    "critic, weight 0.1": replace(_CRITIC, adversarial_weight=0.1),
    "critic, weight 1": replace(_CRITIC, adversarial_weight=1.0),
    _VIEWS: _BASE,  # drawn from another split too
    _LONGER: _BASE,
    **dict.fromkeys(FORMS, _BASE),
}


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="Workspace with a store."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--steps", default=2000, show_default=True, help="Steps of every training.")
@click.option("--seeds", default=3, show_default=True, help="Number of seeds for every variant.")
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Variant to train; repeatable.")
def main(workspace: Path, out: Path, steps: int, seeds: int, only: tuple[str, ...]) -> None:
    """Train every variant and record its accuracy."""
    files = Workspace(workspace)
    store, extractor = FeatureStore(files.store), open_extractor(files.extractor)
    head = load_covpool(files.extractor).head
    left_out = store.held_out()
    held_out = load_cache(store, "train", rows=np.flatnonzero(left_out), device=_CPU)
    seen = load_cache(store, "train", rows=np.flatnonzero(~left_out)[::_SEEN_ONE_IN], device=_CPU)
    record: dict[str, Any] = {
        "machine": machine(_CPU),
        "commit": commit(),
        "data": store.spec.data,
        "faces": len(held_out.labels),
        "seen": len(seen.labels),
        "steps": steps,
        "bicubic": score(nn.Identity(), head, held_out, store.scales),
        "runs": [],
    }
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)

    def answer(name: str, seed: int) -> dict[str, Any]:
        config = replace(VARIANTS[name], steps=3 * steps if name == _LONGER else steps)
        drawn = _with_views(files, console) if name == _VIEWS else store.with_extra(())

        def make(folder: Path) -> dict[str, Any]:
            console.print(f"{name}, seed {seed}", highlight=False)
            with shown(console) as on_progress:
                scored, seconds = _train(name, drawn, files.extractor, config, folder, seed, on_progress)
            return {
                "variant": name,
                "seed": seed,
                "accuracy": scored(held_out),
                "accuracy_seen": scored(seen),
                "seconds": round(seconds),
            }

        identity = {"variant": name, **training_identity(drawn, extractor, config, seed=seed)}
        folder = f"{steps}-{seed}-{name.replace(' ', '-').replace(',', '')}"
        return kept_answer(files.folder / "variants", folder, identity, make)

    for seed in range(seeds):
        for name in only or VARIANTS:
            record["runs"].append(answer(name, seed))
            click.echo(json.dumps(record["runs"][-1]), err=True)
            (out / f"variants-{steps}.json").write_text(json.dumps(record, indent=1) + "\n")
            (out / f"variants-{steps}.md").write_text(_table(record))


def _with_views(files: Workspace, console: Console) -> FeatureStore:
    """Return the store with one view of every face, which is extracted if it is missing, and no other extra split."""
    store = FeatureStore(files.store)
    if view_split(1) not in store.spec.extra:
        with shown(console) as on_progress:
            extract(files, scales=store.scales, views=1, device="cpu", on_progress=on_progress)
        store = FeatureStore(files.store)
    return store.with_extra([view_split(1)])


def _train(
    name: str,
    store: FeatureStore,
    extractor: Path,
    config: TrainConfig,
    folder: Path,
    seed: int,
    on_progress: ProgressCallback,
) -> tuple[Callable[[FeatureCache], dict[str, float]], float]:
    """Return a function that scores the trained variant on a cache, and the seconds of its steps."""
    if name in FORMS:
        return train_form(name, store, extractor, config, seed=seed, on_progress=on_progress)
    trained = train_generator(
        store, extractor, config,
        folder=folder, device=_CPU, seed=seed, extra=[*store.spec.extra], on_progress=on_progress,
    )  # fmt: skip
    generator = load_generator(Path(trained.generator))[0]
    head = load_covpool(extractor).head
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    seconds = sum(line["seconds"] for line in history)  # also of the steps before an interruption
    return lambda cache: score(generator, head, cache, store.scales), seconds


def _table(record: dict[str, Any]) -> str:
    """Return the runs as Markdown: means over the seeds, and the deviation of the seeds' means."""
    scales, runs = list(record["bicubic"]), record["runs"]
    names = ["HR" if scale == "1" else f"x{scale}" for scale in scales]
    coarse = " to ".join(dict.fromkeys((names[1], names[-1])))
    head = ["", *names, f"mean {coarse}", "± over seeds", "mean, seen faces", "seeds", "seconds"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), _line("bicubic", [{"accuracy": record["bicubic"]}], scales)]
    by_variant = {run["variant"]: [other for other in runs if other["variant"] == run["variant"]] for run in runs}
    lines += [_line(name, own, scales) for name, own in by_variant.items()]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    caption = f"Accuracy of the frozen head in percent on {record['faces']:,} faces held out of training, and on "
    caption += f"{record['seen']:,} that were trained on"
    without_early = [name for name in by_variant if name in FORMS]
    left_out = f" {', '.join(without_early)}: without early features." if without_early else ""
    processor = f"{record['machine']['processor']}, {record['machine']['cores']} cores"
    return f"{table}\n{caption}, after {record['steps']:,} steps.{left_out} {record['data']}; {processor}.\n"


def _line(name: str, runs: list[dict[str, Any]], scales: list[str]) -> list[str]:
    means = [_coarse(run["accuracy"]) for run in runs]
    spread = f"{stdev(means):.2f}" if len(means) > 1 else ""
    accuracy = [f"{mean(run['accuracy'][scale] for run in runs):.1f}" for scale in scales]
    trained = [run for run in runs if "seconds" in run]
    seen = f"{mean(_coarse(run['accuracy_seen']) for run in trained):.2f}" if trained else ""
    seconds = f"{mean(run['seconds'] for run in trained):.0f}" if trained else ""
    return [name, *accuracy, f"{mean(means):.2f}", spread, seen, str(len(trained) or ""), seconds]


def _coarse(accuracy: Mapping[str, float]) -> float:
    """Return the mean over the scales that are not full resolution."""
    return mean(value for scale, value in accuracy.items() if scale != "1")


if __name__ == "__main__":
    main()
