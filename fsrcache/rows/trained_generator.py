"""What the rows share that are generators with settings of their own, trained by ``fsrcache baselines``."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from fsrcache.errors import Remedy, RequestError, call
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.extractor import Extractor
from fsrcache.models.generators.forms import read_training, refuse_other_content
from fsrcache.presets import TrainConfig
from fsrcache.progress import named
from fsrcache.rows.generated import GENERATOR, generator_predictor
from fsrcache.rows.row import RowContext, RowResult, RowTraining, changes_in_words, rows_apart, trained_seeds
from fsrcache.settings import differences
from fsrcache.training.run.networks import refuse_impossible_networks
from fsrcache.training.run.train import train_generator

Obstacle = Callable[[Extractor, Sequence[int]], str]
Training = Callable[[RowTraining], RowResult]
Predictors = Callable[[RowContext, Sequence[str]], list[Predictor]]


def generator_row(name: str, note: str, config: TrainConfig) -> tuple[Obstacle, Training, Predictors]:
    """Return ``obstacle``, ``train`` and ``predictors`` of a row by its name, its note and its own settings."""

    def obstacle(extractor: Extractor, scales: Sequence[int]) -> str:  # noqa: ARG001  # a row's signature
        try:
            refuse_impossible_networks(config, extractor.form, device=extractor.device)
        except RequestError as error:
            return error.what
        return ""

    def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
        return _predictors(name, note, config, context)

    return obstacle, partial(_train, name), predictors


def _train(name: str, training: RowTraining) -> RowResult:
    """Train a row's generator on the store's features."""
    began, context = time.perf_counter(), training.context
    result = train_generator(
        context.store.with_extra(()), context.extractor, training.settings,
        folder=context.workspace.row(name, training.seed), device=context.device, seed=training.seed,
        restart=training.restart, other_threads=training.other_threads, ranks=training.ranks,
        on_progress=named(context.on_progress, name),
    )  # fmt: skip
    return RowResult(
        row=name,
        seed=training.seed,
        held_out={f"x{scale}": accuracy for scale, accuracy in result.held_out_accuracy.items()},
        seconds=time.perf_counter() - began,
        was_there=result.resumed_from == result.steps,
    )


def _predictors(name: str, note: str, config: TrainConfig, context: RowContext) -> list[Predictor]:
    """Return a row's trainings that came to their end, a seed each."""
    ready = []
    for seed, folder in trained_seeds(context.workspace, name):
        path = folder / GENERATOR
        if not path.exists():
            continue
        training = read_training(path)
        again = call("baselines", workspace=str(context.workspace.folder), rows=[name], seed=seed, restart=True)
        refuse_other_content(
            path, training, context.store.spec.content_digests, store=context.store.name,
            remedy=Remedy("Train it again: `{}`.", again),
        )  # fmt: skip
        changes = tuple(differences(training["config"], config))
        one = generator_predictor(
            context, path, training, row=name, name=f"{name}/seed-{seed}", note=note,
            settings=changes_in_words(changes), changes=changes,
        )  # fmt: skip
        ready.append(one)
    return rows_apart(name, ready)
