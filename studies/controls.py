"""Controls: what a generator takes from its input, and what it does at scales that it was not trained at.

Run as ``python -m studies.controls --workspace DIR --out benchmarks/results`` on a workspace with its faces, a store
and a trained generator. The frozen head is scored on the split that tables report, at the store's scales and at
unseen ones, on

- the generator's output, at full resolution too, which it should leave as it is;
- its output for features whose channels or entries are permuted, and beside early features of another face;
- features with another change than the generator's own: its mean, or that of another face;
- the output of generators with the settings and the seed of the first, trained at one scale alone, with the labels of
  other faces, or towards the fine features of other faces.

``controls.json`` and ``controls.md`` are written after every training, and the same command goes on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.cli.progress import shown
from fsrcache.evaluation.heads import Logits, probabilities_of
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generators.form import early_width, super_resolve
from fsrcache.models.generators.forms import load_generator, read_training
from fsrcache.presets import TRAINING, TrainConfig
from fsrcache.progress import ProgressCallback
from fsrcache.rows.mapped import mapped
from fsrcache.settings import preset_in_words
from fsrcache.spd import unvech, vech
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureCache, trained_rows, true_probabilities
from fsrcache.training.run.features import TrainFeatures, choose_location, open_features
from fsrcache.training.run.train import train_generator
from fsrcache.workspace import Workspace
from studies.answers import training_folder, training_identity
from studies.command import StudyCommand
from studies.unseen import Inputs, unseen_features

_CPU = torch.device("cpu")
_PERMUTATIONS = 3  # random ones, whose accuracies are averaged
_LABELS, _TARGETS = "trained with the labels of other faces", "trained towards the fine features of other faces"
_GENERATOR = "generator.safetensors"

Views = Mapping[str, NDArray[np.floating[Any]]]  # features [n, P] by scale in words
Feature = Callable[[Tensor], Tensor]  # fp32 [b, P] -> [b, P]


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    try:
        return None if value is None else [float(part) for part in value.split(",") if part]
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers; write 2.5,9,10.", ctx, param) from None


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="Workspace with a generator."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--name", default="default", show_default=True, help="Name of the generator's run.")
@click.option("--steps", type=click.IntRange(1), help="Steps of every training.  [default: the run's own]")
@click.option("--trained-at", metavar="SCALES", callback=_numbers, help="Scales, each of which a generator is trained "
              "at alone.  [default: all of the run's]")  # fmt: skip
@click.option("--unseen", metavar="SCALES", callback=_numbers, default="2.5,9,10,11,12", show_default=True,
              help="Scales beside the store's; the size form of one that is not whole.")  # fmt: skip
def main(
    workspace: Path, out: Path, name: str, steps: int | None, trained_at: list[float] | None, unseen: list[float]
) -> None:
    """Score every control."""
    files = Workspace(workspace)
    extractor, run = open_extractor(files.extractor_source), files.run(name) / _GENERATOR
    generator, written = load_generator(run)
    training = read_training(run)
    store = FeatureStore(files.store).with_extra(written.get("extra", {}))  # the run's own
    known = [scale for scale in training["scales"] if scale > 1]
    if missing := [f"{scale:g}" for scale in trained_at or () if scale not in known]:
        there = ", ".join(map(str, known))
        raise click.UsageError(f"--trained-at {missing[0]}: the run {name} was not trained there, but at {there}.")
    config, seed = replace(training["config"], steps=steps or training["config"].steps), training["seed"]
    split = next(one for one in ("test", "val") if one in store.splits)
    labels = store.labels(split).astype(np.int64)
    console = Console(stderr=True)
    with shown(console) as on_progress:
        views: dict[str, Inputs] = {_in_words(scale): _inputs(store, split, scale) for scale in store.scales}
        others = [scale for scale in unseen if scale not in store.scales]
        new = unseen_features(files, store, extractor, split, scales=others, on_progress=on_progress)
        views |= {_in_words(scale): inputs for scale, inputs in new.items()}
    record: dict[str, Any] = {
        "machine": machine(_CPU),
        "commit": commit(),
        "data": store.spec.data,
        "split": split,
        "faces": len(labels),
        "most_frequent_class": 100 * float(np.bincount(labels).max()) / len(labels),
        "seed": seed,
        "steps": config.steps,
        "settings": preset_in_words(training["config"], TRAINING),
        "seen": [_in_words(scale) for scale in known],
        "full_resolution": full_resolution(views["HR"], extractor, generator),
        "rows": untrained_controls(views, labels, extractor, generator, seed=seed),
    }
    out.mkdir(parents=True, exist_ok=True)
    _write(record, out)
    alone = {f"trained at x{scale:g} alone": [int(scale)] for scale in trained_at or known}
    whole = {} if config == training["config"] else {f"trained for {config.steps:,} steps": known}
    for control, scales in {**whole, **alone, _LABELS: known, _TARGETS: known}.items():
        console.print(control, highlight=False)
        with shown(console) as on_progress:
            folder = files.folder / "controls" / name
            path = _trained(control, store.at_scales(scales), extractor, config, folder, seed, on_progress)
        outputs = _generated(load_generator(path)[0], views)
        record["rows"].append({"name": control, "accuracy": _accuracy(extractor, outputs, labels)})
        click.echo(json.dumps(record["rows"][-1]), err=True)
        _write(record, out)


def full_resolution(inputs: Inputs, extractor: Extractor, generator: torch.nn.Module) -> dict[str, float]:
    """Return how far a generator leaves full-resolution features as they are.

    Returns
    -------
    dict
        ``changed_answers``, the share of faces with another class, and ``relative_change``, the mean of
        ``|G(F) - F| / |F|``, both in percent.
    """
    fine, outputs = inputs.features, _generated(generator, {"HR": inputs})["HR"]
    before, after = (_answers(extractor, values) for values in (fine, outputs))
    change = np.linalg.norm(outputs.astype(np.float32) - fine, axis=1) / np.linalg.norm(fine.astype(np.float32), axis=1)
    return {"changed_answers": 100 * float((before != after).mean()), "relative_change": 100 * float(change.mean())}


def untrained_controls(
    views: Mapping[str, Inputs],
    labels: NDArray[np.int64],
    extractor: Extractor,
    generator: torch.nn.Module,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the controls of a trained generator: the name and the accuracy in percent by scale of each.

    Parameters
    ----------
    views, labels
        What the generator reads by scale, and labels [n] of the same faces.
    extractor
        The extractor, whose head is scored.
    generator
        The generator.
    seed
        Random seed of permutations and of other faces.
    """
    random = np.random.default_rng(seed)
    outputs, coarse = _generated(generator, views), {name: one.features for name, one in views.items()}
    change = {name: outputs[name].astype(np.float32) - values for name, values in coarse.items()}
    alike, unlike = other_faces(labels, random)
    length, side = extractor.form.length, extractor.form.side
    entries = [torch.from_numpy(random.permutation(length)) for _ in range(_PERMUTATIONS)]
    permuted: dict[str, list[Feature]] = {"entries": [partial(permuted_entries, order=order) for order in entries]}
    if side is not None:
        channels = [torch.from_numpy(random.permutation(side)) for _ in range(_PERMUTATIONS)]
        permuted["channels"] = [partial(permuted_channels, order=order) for order in channels]
    scored = partial(_accuracy, extractor, labels=labels)
    rows = {"bicubic": scored(coarse), "FSR-FER": scored(outputs)}
    for what, functions in permuted.items():
        inputs = [_mapped(function, coarse) for function in functions]
        rows[f"{what} permuted, no generator"] = _means([scored(one) for one in inputs])
        changed = [{name: Inputs(values, views[name].early) for name, values in one.items()} for one in inputs]
        rows[f"{what} permuted"] = _means([scored(_generated(generator, one)) for one in changed])
    if early_width(generator):
        for what, faces in (("another face", random.permutation(len(labels))), ("a face of the class", alike)):
            of_others = {name: Inputs(one.features, one.early[faces]) for name, one in views.items()}
            rows[f"early features of {what}"] = scored(_generated(generator, of_others))
    rows["mean change"] = scored({name: coarse[name] + one.mean(0) for name, one in change.items()})
    for what, faces in (("another face of the class", alike), ("a face of another class", unlike)):
        rows[f"change of {what}"] = scored({name: coarse[name] + one[faces] for name, one in change.items()})
    return [{"name": name, "accuracy": accuracy} for name, accuracy in rows.items()]


def permuted_channels(features: Tensor, *, order: Tensor) -> Tensor:
    """Return vectors [b, P] of symmetric matrices with rows and columns permuted alike."""
    return vech(unvech(features)[:, order][:, :, order])


def permuted_entries(features: Tensor, *, order: Tensor) -> Tensor:
    """Return vectors [b, P] with their numbers permuted."""
    return features[:, order]


def other_faces(labels: NDArray[np.int64], random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a random other face of its class for each of n faces, and one of another class, int64 [n] each.

    Every face is that of one other in its class; a face that is alone in its class is its own.
    """
    alike, unlike = np.empty_like(labels), np.empty_like(labels)
    for label in np.unique(labels):
        of_class = random.permutation(np.flatnonzero(labels == label))
        alike[of_class] = np.roll(of_class, 1)
        unlike[of_class] = random.choice(np.flatnonzero(labels != label), len(of_class))
    return alike, unlike


def with_other_labels(cache: FeatureCache, store: FeatureStore, random: np.random.Generator) -> FeatureCache:
    """Return the cache of a training of a store in which every face has the label of a random face.

    Probabilities are those of that label for the face itself: a sample's weight is what a wrong label makes of it.
    """
    labels = cache.labels.numpy()[random.permutation(len(cache.labels))]
    rows = {split: np.flatnonzero(wanted) for split, wanted in trained_rows(store).items()}  # in the cache's order
    parts = np.split(labels, np.cumsum([len(own) for own in rows.values()])[:-1])
    probabilities = [
        true_probabilities(store, split, rows=own, labels=part)
        for (split, own), part in zip(rows.items(), parts, strict=True)
    ]
    return cache._replace(
        labels=torch.from_numpy(labels), probabilities=torch.from_numpy(np.concatenate(probabilities, axis=1))
    )


def with_other_targets(cache: FeatureCache, random: np.random.Generator) -> FeatureCache:
    """Return a cache in which every face has the fine feature of a random face, in place of its own."""
    order = torch.from_numpy(random.permutation(len(cache.labels)))
    cache.features[0] = cache.features[0][order]  # in place: a store may be as large as half of the memory
    cache.early[0] = cache.early[0][order]
    cache.probabilities[0] = cache.probabilities[0][order]
    return cache._replace(embeddings=cache.embeddings[order])


def _trained(
    control: str,
    store: FeatureStore,
    extractor: Extractor,
    config: TrainConfig,
    folder: Path,
    seed: int,
    on_progress: ProgressCallback,
) -> Path:
    """Return the file of a control's generator, which is trained, or trained on, unless it is there."""
    identity = {"control": control, **training_identity(store, extractor, config, seed=seed)}
    own = training_folder(folder, f"{config.steps}-{control.replace(' ', '-').replace(',', '')}", identity)
    path = own / _GENERATOR
    if path.exists():
        return path
    features: TrainFeatures | None = None
    if control in (_LABELS, _TARGETS):
        location = choose_location(store, "ram", device=_CPU)
        features = open_features(store, config, location=location, device=_CPU, seed=seed, on_progress=on_progress)
        cache, random = features.source, np.random.default_rng(seed)
        assert isinstance(cache, FeatureCache)
        other = with_other_labels(cache, store, random) if control == _LABELS else with_other_targets(cache, random)
        features = replace(features, source=other)
    train_generator(
        store, extractor, config,
        folder=own, device=_CPU, seed=seed, cache="ram", features=features, on_progress=on_progress,
    )  # fmt: skip
    return path


def _inputs(store: FeatureStore, split: str, scale: int) -> Inputs:
    features = store.features(split, scale)[:]
    early = store.early(split, scale)[:] if "early" in store.spec.widths else features[:, :0]
    return Inputs(features, early)


def _mapped(function: Feature, views: Views) -> dict[str, NDArray[Any]]:
    return {name: mapped(function, [values], _CPU, name, lambda _: None) for name, values in views.items()}


def _generated(generator: torch.nn.Module, views: Mapping[str, Inputs]) -> dict[str, NDArray[Any]]:
    generate = partial(super_resolve, generator)
    return {name: mapped(generate, values, _CPU, name, lambda _: None) for name, values in views.items()}


def _answers(extractor: Extractor, features: NDArray[Any]) -> NDArray[np.int64]:
    """Return the frozen head's classes, int64 [n]."""
    answers: NDArray[np.int64] = probabilities_of(Logits(extractor.frozen_head()), features).argmax(1)
    return answers


def _accuracy(extractor: Extractor, views: Views, labels: NDArray[np.int64]) -> dict[str, float]:
    """Return the frozen head's accuracy in percent by scale."""
    return {name: 100 * float((_answers(extractor, values) == labels).mean()) for name, values in views.items()}


def _means(accuracies: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: mean(one[name] for one in accuracies) for name in accuracies[0]}


def _in_words(scale: float) -> str:
    return "HR" if scale == 1 else f"x{scale:g}"


def _write(record: dict[str, Any], out: Path) -> None:
    (out / "controls.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "controls.md").write_text(_table(record))


def _table(record: dict[str, Any]) -> str:
    """Return the controls as Markdown."""
    names = list(record["rows"][0]["accuracy"])
    lines = [["", *names], ["---"] + ["---:"] * len(names)]
    lines += [[row["name"], *(f"{row['accuracy'][name]:.1f}" for name in names)] for row in record["rows"]]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    error = 50 / record["faces"] ** 0.5
    fine = record["full_resolution"]
    caption = (
        f"Accuracy of the frozen head in percent on the {record['faces']:,} faces of {record['split']}, of which "
        f"{record['most_frequent_class']:.1f} % are of the most frequent class; standard errors are up to {error:.1f}. "
        f"{', '.join(name for name in names if name not in ('HR', *record['seen']))} were in no training. At full "
        f"resolution the generator changes the answer for {fine['changed_answers']:.1f} % of the faces, and the "
        f"feature by {fine['relative_change']:.1f} % of its length. The run: {record['settings']}, seed "
        f"{record['seed']}; rows that begin with trained: {record['steps']:,} steps. {record['data']}; "
        f"{record['machine']['processor']}, {record['machine']['cores']} cores."
    )
    return f"{table}\n{caption}\n"


if __name__ == "__main__":
    main()
