"""meta-sr-retrained: the extractor on faces that one Meta-SR enlarged, trained on all scales of the store."""

from collections.abc import Sequence
from fractions import Fraction

from fsrcache.evaluation.predictor import Predictor
from fsrcache.models.super_resolution.presets import META_SR
from fsrcache.rows.row import RowContext, RowResult, RowTraining, no_obstacle
from fsrcache.rows.super_resolved import Model, super_resolved_predictors, train_super_resolved

NAME = "meta-sr-retrained"
NOTE = "the extractor on faces enlarged by Meta-SR, image super-resolution by one network trained on the store's scales"
SETTINGS = META_SR["small"]
obstacle = no_obstacle


def train(training: RowTraining) -> RowResult:
    """Train the network, and write the features of what it enlarges at every scale of the store."""
    return train_super_resolved(NAME, training, _models(training.context.store.scales))


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return super_resolved_predictors(NAME, NOTE, context, META_SR)


def _models(scales: Sequence[int]) -> list[Model]:
    coarse = tuple(scale for scale in scales if scale > 1)
    return [Model("network", tuple(map(Fraction, coarse)), coarse)]
