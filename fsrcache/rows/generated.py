"""FSR-FER: the store's features as a trained generator turns them into those of full resolution."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import Remedy, RequestError, arguments, call
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Outputs, Predictor
from fsrcache.models.generators.forms import (
    GeneratorTraining,
    extra_in_words,
    load_generator,
    read_training,
    refuse_other_content,
)
from fsrcache.models.generators.mlp import MLPGenerator
from fsrcache.models.weights import file_digest
from fsrcache.presets import TRAINING, TrainConfig
from fsrcache.progress import named
from fsrcache.rows.mapped import generated_features
from fsrcache.rows.row import RowContext, no_obstacle, refuse_replaced
from fsrcache.settings import preset_in_words
from fsrcache.training.run.checkpoint import has_checkpoint
from fsrcache.training.run.features import read_by
from fsrcache.training.run.spent import total_spent
from fsrcache.workspace import Workspace

NAME = "FSR-FER"
NOTE = "the store's features as the generator turns them into those of full resolution"
SETTINGS = None
train = None  # by the command of that name
obstacle = no_obstacle
GENERATOR = "generator.safetensors"  # in the folder of a training
_WEIGHTS = {
    "lr": "weights from coarse faces",
    "hr": "weights from fine faces",
    "sr": "weights from super-resolved faces",
    "sr_grad": "weights from super-resolved faces, differentiated",
    "none": "equal weights",
}  # of samples, by TrainConfig.reweight


class _Run(NamedTuple):
    """A training run: its name, the generator's file, and the record of its training."""

    name: str
    path: Path
    training: GeneratorTraining


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:
    """Return the generators of runs.

    Those that differ in their seed alone, and in no setting, scale or extra split, are one row. The row of the first
    run is called ``FSR-FER``, any other ``FSR-FER (NAME)`` by its first run. A mean of networks is also there as its
    first alone.
    """
    rows: dict[tuple[object, ...], list[_Run]] = {}
    for run in (_read(context, name) for name in dict.fromkeys(runs)):
        training = run.training
        key = training["config"], training["scales"], tuple(training.get("extra", {}).items())
        rows.setdefault(key, []).append(run)
    ready = []
    for number, of_row in enumerate(rows.values()):
        _refuse_equal_seeds(of_row)
        row = NAME if number == 0 else f"{NAME} ({of_row[0].name})"
        whole = [
            generator_predictor(
                context, run.path, run.training, row=row, name=f"{NAME}/{run.name}", note=NOTE,
                settings=preset_in_words(run.training["config"], TRAINING) + extra_in_words(run.training),
            )
            for run in of_row
        ]  # fmt: skip
        ready += whole
        ready += [_one_of(context, one, run.path) for one, run in zip(whole, of_row, strict=True) if one.members > 1]
    return ready


def _read(context: RowContext, name: str) -> _Run:
    path = _file(context.workspace, name)
    training = read_training(path)
    refuse_other_content(
        path, training, context.store.spec.content_digests, store=context.store.name,
        remedy="Train again under another name, or evaluate in the workspace it belongs to.",
    )  # fmt: skip
    return _Run(name, path, training)


def _file(workspace: Workspace, name: str) -> Path:
    folder = workspace.run(name)
    if (folder / GENERATOR).exists():
        return folder / GENERATOR
    known, here = trained_runs(workspace), str(workspace.folder)
    other = Remedy("Name one of these: `{}`.", arguments(names=known[:1]))
    if has_checkpoint(folder):
        ways = f" {other.text}" if known else ""
        raise RequestError(
            f"The run {name!r} in {here} has no generator yet; there is {', '.join(known) or 'none'}.",
            Remedy(
                f"Train it to its end by the command that began it; `{{}}` has its settings.{ways}",
                call("runs", workspace=here),
                *other.calls,
            ),
        )
    raise RequestError(
        f"There is no trained generator {name!r} in {here}; there is {', '.join(known) or 'none'}.",
        other if known else Remedy("Train one first: `{}`.", call("train", workspace=here)),
    )


def trained_runs(workspace: Workspace) -> list[str]:
    """Return the names of the runs that have a generator."""
    return sorted(one.parent.name for one in (workspace.folder / "runs").glob(f"*/{GENERATOR}"))


def _refuse_equal_seeds(runs: Sequence[_Run]) -> None:
    """Raise if two runs of a row have the same seed: one of them would count twice."""
    names: dict[int, str] = {}
    for run in runs:
        seed = run.training["seed"]
        if seed in names:
            raise RequestError(
                f"The runs {names[seed]} and {run.name} have the same settings and the same seed, {seed}.",
                "Name one of them.",
            )
        names[seed] = run.name


def generator_predictor(
    context: RowContext,
    path: Path,
    training: GeneratorTraining,
    *,
    row: str,
    name: str,
    note: str,
    settings: str,
    changes: tuple[str, ...] | None = None,
) -> Predictor:
    """Return the predictor of a generator: its file, and the record of its training.

    Parameters
    ----------
    context
        What every row works with.
    path, training
        The generator's file, and its record.
    row, name, note, changes
        As in ``Predictor``.
    settings
        Settings of the training in words.
    """
    config, digest = training["config"], file_digest(path)
    generator = cache(partial(_load, path, digest))
    return Predictor(
        row=row,
        name=name,
        source={"generator": digest},
        seed=training["seed"],
        extractor=context.extractor,
        features=_features(context, generator, name),
        members=_members(config),
        scales=training["scales"],
        note=note,
        facts={
            "generator": _description(config, early="early" in read_by(context.store, config).spec.widths),
            "checkpoint": _checkpoint(config, training["steps"]) + _threads(training),
            "settings": settings,
        },
        changes=changes,
        networks=_networks(context, generator),
        spent=total_spent([path.parent]),
    )


def _load(path: Path, digest: str) -> torch.nn.Module:
    """Return the generator of a file that has a digest."""
    generator = load_generator(path)[0]
    refuse_replaced(path, digest)
    return generator


def _one_of(context: RowContext, whole: Predictor, path: Path) -> Predictor:
    """Return the predictor of a generator's first network alone."""

    @cache
    def first() -> torch.nn.Module:
        generator = _load(path, whole.source["generator"])
        assert isinstance(generator, MLPGenerator)
        generator.keep(0)
        return generator

    name = f"{whole.name}/one"
    return replace(
        whole,
        row=f"{whole.row}, one of {whole.members}",
        name=name,
        source={**whole.source, "member": 0},
        features=_features(context, first, name),
        members=1,
        part=True,
        note=f"the first alone of the networks of {whole.row}",
        facts={},
        networks=_networks(context, first),
        spent=None,  # they were trained together
    )


def _features(context: RowContext, generator: Callable[[], torch.nn.Module], name: str) -> Outputs:
    """Return the function that gives the store's features as a generator turns them."""
    store, device = context.store, context.device

    def features(split: str, scale: int) -> NDArray[np.floating[Any]]:
        on_progress = named(context.on_progress, name)
        network = generator().to(device).eval()
        return generated_features(network, store, split, scale, device=device, on_progress=on_progress)

    return features


def _networks(context: RowContext, generator: Callable[[], torch.nn.Module]) -> Callable[[int], Networks]:
    """Return the function that gives the networks of a scale: the extractor and a generator."""
    return lambda _: Networks(extractor=context.extractor, generator=generator().to(context.device).eval())


def _members(config: TrainConfig) -> int:
    members: int = getattr(config.generator, "members", 1)
    return members


def _description(config: TrainConfig, *, early: bool) -> str:
    form, members = config.generator.form.upper(), _members(config)
    network = form if members == 1 else f"mean of {members} {form}s"
    critic = "no critic" if config.critic is None else "with a WGAN-div critic"
    read = ", early features read" * early
    return f"{network}, {config.steps:,} steps of {config.batch}, {critic}, {_WEIGHTS[config.reweight]}{read}"


def _threads(training: GeneratorTraining) -> str:
    """Return that a run went on under another number of threads, if it did, with all of them in order."""
    earlier = training.get("earlier_threads", ())
    numbers = ", then ".join(map(str, (*earlier, training["threads"])))
    return f"; trained on {numbers} threads, so not the bytes of an uninterrupted run" if earlier else ""


def _checkpoint(config: TrainConfig, step: int) -> str:
    """Return which of a training's weights are scored, and what chose them."""
    averaged = f"; weights averaged with the decay {config.averaging:g}" if config.averaging else ""
    if config.patience:
        return f"step {step:,}, the best on held-out pictures of the training split{averaged}"
    return f"the last step; no picture chose it{averaged}"
