"""What faces without labels are worth, by hiding the labels of a part of Training; and what views are worth.

Run as ``python -m studies.unlabelled --workspace DIR --out benchmarks/results`` on a workspace that has a store, with
views where ``--views`` asks for some (``fsrcache extract --views 3``). Every variant is trained with the first seed,
then with the next; ``unlabelled-STEPS.json`` and ``unlabelled-STEPS.md`` are written after every training, and the
same command goes on; after a change of settings, store or extractor it begins anew. Accuracy is the frozen head's, on
all faces held out of training and on the validation split. The extractor has seen the labels that are hidden here: what
is measured is the generator's need of faces and of labels.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.cli.progress import shown
from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generators.forms import load_generator
from fsrcache.presets import TRAINING, TrainConfig
from fsrcache.progress import ProgressCallback
from fsrcache.split_names import view_split
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache, load_cache, load_splits, own_answers, true_probabilities
from fsrcache.training.data.memory import CacheLocation
from fsrcache.training.run.features import TrainFeatures
from fsrcache.training.run.loop import score
from fsrcache.training.run.train import train_generator
from fsrcache.workspace import Workspace
from studies.answers import kept_answer, training_identity
from studies.command import StudyCommand

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """What a training draws from.

    Attributes
    ----------
    hidden
        Number of training faces whose labels are hidden.
    drawn
        Whether these faces are drawn all the same, without their labels.
    views
        Number of views of every face.
    """

    hidden: int = 0
    drawn: bool = False
    views: int = 0

    @property
    def name(self) -> str:
        """The name in words."""
        views = f", {self.views} view{'s' * (self.views > 1)} of each" if self.views else ""
        if not self.hidden:
            return f"all labels{views}"
        return f"{self.hidden:,} faces {'without labels' if self.drawn else 'left out'}{views}"

    @property
    def splits(self) -> list[str]:
        """The store's splits that have the views."""
        return [view_split(number + 1) for number in range(self.views)]


def variants(sizes: tuple[int, ...], views: tuple[int, ...]) -> list[Variant]:
    """Return all labels; so many hidden, left out and drawn; and all labels with so many views."""
    hidden = [Variant(size, drawn) for size in sizes if size for drawn in (False, True)]
    return [Variant(), *hidden, *(Variant(views=count) for count in views if count)]


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="Workspace with a store."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--steps", default=TRAINING["best"].steps, show_default=True, help="Steps of every training.")
@click.option("--seeds", default=1, show_default=True, help="Number of seeds for every variant.")
@click.option(
    "--hidden", multiple=True, default=(10_000, 20_000), show_default=True, help="Labels to hide; repeatable."
)
@click.option("--views", multiple=True, default=(1, 3), show_default=True, help="Views of a face; repeatable.")
def main(workspace: Path, out: Path, steps: int, seeds: int, hidden: tuple[int, ...], views: tuple[int, ...]) -> None:
    """Train every variant and record its accuracy."""
    files = Workspace(workspace)
    store, extractor = FeatureStore(files.store), open_extractor(files.extractor_source)
    head = extractor.frozen_head()
    left_out, every = np.flatnonzero(store.held_out()), variants(hidden, views)
    _refuse_too_few(store, every)
    scored = {"held_out": load_cache(store, "train", rows=left_out, device=_CPU)}
    if "val" in store.splits:
        scored["val"] = load_cache(store, "val", rows=np.arange(store.spec.count("val")), device=_CPU)

    def accuracy(generator: nn.Module) -> dict[str, dict[str, float]]:
        return {split: score(generator, head, cache, store.scales) for split, cache in scored.items()}

    record: dict[str, Any] = {
        "machine": machine(_CPU),
        "commit": commit(),
        "extractor": extractor.summary,
        "data": store.spec.data,
        "faces": {split: len(cache.labels) for split, cache in scored.items()},
        "trained": int((~store.held_out()).sum()),
        "steps": steps,
        "bicubic": accuracy(nn.Identity()),
        "runs": [],
    }
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    config = replace(TRAINING["best"], steps=steps)

    def answer(variant: Variant, seed: int) -> dict[str, Any]:
        drawn = store.with_extra(variant.splits)

        def make(folder: Path) -> dict[str, Any]:
            console.print(f"{variant.name}, seed {seed}", highlight=False)
            with shown(console) as on_progress:
                generator = _train(variant, drawn, extractor, config, folder, seed, on_progress)
            return {"variant": variant.name, "seed": seed, "accuracy": accuracy(generator)}

        identity = {"variant": variant.name, **training_identity(drawn, extractor, config, seed=seed)}
        labels = "drawn" if variant.drawn else "left-out"
        folder = f"{steps}-{seed}-{variant.hidden}-{labels}-views-{variant.views}"
        return kept_answer(files.folder / "unlabelled", folder, identity, make)

    for seed in range(seeds):
        for variant in every:
            record["runs"].append(answer(variant, seed))
            (out / f"unlabelled-{steps}.json").write_text(json.dumps(record, indent=1) + "\n")
            (out / f"unlabelled-{steps}.md").write_text(_table(record))


def _refuse_too_few(store: FeatureStore, every: list[Variant]) -> None:
    """Raise before anything is trained if a variant hides all labels or asks for views that the store lacks."""
    most, labelled = max(one.views for one in every), int((~store.held_out()).sum())
    if view_split(most) not in store.spec.extra and most:
        raise FsrcacheError(
            f"The store {store.name} has fewer than {most} views of each face.",
            Remedy("Add them: `{}`.", call("extract", store=store.name, views=most)),
        )
    if (hidden := max(one.hidden for one in every)) >= labelled:
        raise FsrcacheError(f"{hidden:,} labels are to be hidden, and there are {labelled:,}.", "Hide fewer.")


def _train(
    variant: Variant,
    store: FeatureStore,
    extractor: Extractor,
    config: TrainConfig,
    folder: Path,
    seed: int,
    on_progress: ProgressCallback,
) -> nn.Module:
    """Return the generator of a variant, trained to its last step."""
    trained = train_generator(
        store, extractor, config,
        folder=folder, device=_CPU, seed=seed, cache="ram", extra=variant.splits,
        features=features_of_variant(variant, store), on_progress=on_progress,
    )  # fmt: skip
    return load_generator(Path(trained.generator))[0]


def features_of_variant(variant: Variant, store: FeatureStore) -> TrainFeatures:
    """Return what a variant learns from: the last faces of the training split, in the store's order, are hidden.

    The order is random, and a store that hides more hides the same and others.
    """
    left_out = store.held_out()
    rows = np.flatnonzero(~left_out)
    kept = rows if variant.drawn else rows[: len(rows) - variant.hidden]
    cache = load_splits(store, dict.fromkeys(("train", *variant.splits), kept), device=_CPU)
    if variant.drawn:
        cache = _without_labels(cache, store, rows, hidden=variant.hidden)
    held_out = load_cache(store, "train", rows=np.flatnonzero(left_out), device=_CPU)
    return TrainFeatures(cache, held_out, CacheLocation("ram", "a study's"), _CPU)


def _without_labels(cache: FeatureCache, store: FeatureStore, rows: NDArray[np.int64], *, hidden: int) -> FeatureCache:
    """Return a cache of training rows whose last labels are not known, as if they were of the split ``unlabelled``."""
    answers = own_answers(store, "train", rows=rows[-hidden:])
    answered = true_probabilities(store, "train", rows=rows[-hidden:], labels=answers)
    known = len(rows) - hidden
    return cache._replace(
        labels=torch.cat([cache.labels[:known], torch.from_numpy(answers)]),
        labelled=torch.cat([cache.labelled[:known], torch.zeros(hidden)]),
        probabilities=torch.cat([cache.probabilities[:, :known], torch.from_numpy(answered)], dim=1),
    )


def _table(record: dict[str, Any]) -> str:
    """Return the runs as Markdown, a table for each split of scored faces: means over the seeds."""
    return "\n".join("".join(f"{line}\n" for line in _lines(record, split)) for split in record["faces"])


def _lines(record: dict[str, Any], split: str) -> Iterator[str]:
    scales = list(record["bicubic"][split])
    yield (
        f"Accuracy of the frozen head in percent on {record['faces'][split]:,} faces of {split}, after "
        f"{record['steps']:,} steps on {record['trained']:,} faces. {record['data']}; {record['extractor']}.\n"
    )
    yield f"| | {' | '.join('HR' if scale == '1' else f'x{scale}' for scale in scales)} | mean, coarse | seeds |"
    yield f"| --- |{' ---: |' * (len(scales) + 2)}"
    runs = [{"variant": "bicubic", "accuracy": record["bicubic"]}, *record["runs"]]
    for name in dict.fromkeys(run["variant"] for run in runs):
        own = [run["accuracy"][split] for run in runs if run["variant"] == name]
        means = [fmean(one[scale] for one in own) for scale in scales]
        coarse = fmean(mean for scale, mean in zip(scales, means, strict=True) if scale != "1")
        count = "" if name == "bicubic" else f"{len(own)}"
        yield f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} | {coarse:.2f} | {count} |"


if __name__ == "__main__":
    main()
