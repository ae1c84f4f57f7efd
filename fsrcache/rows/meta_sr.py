"""meta-sr: the extractor on faces that one Meta-SR enlarged, trained on x1.1 to x4 as published."""

from collections.abc import Sequence
from fractions import Fraction

from fsrcache.evaluation.predictor import Predictor
from fsrcache.models.super_resolution.presets import META_SR
from fsrcache.rows.row import RowContext, RowResult, RowTraining, no_obstacle
from fsrcache.rows.super_resolved import Model, super_resolved_predictors, train_super_resolved

NAME = "meta-sr"
NOTE = "the extractor on faces enlarged by Meta-SR, image super-resolution by one network trained on x1.1 to x4"
SETTINGS = META_SR["small"]
obstacle = no_obstacle
_TRAINED = tuple(Fraction(tenths, 10) for tenths in range(11, 41))


def train(training: RowTraining) -> RowResult:
    """Train the network, and write the features of what it enlarges at every scale of the store."""
    return train_super_resolved(NAME, training, _models(training.context.store.scales))


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return super_resolved_predictors(NAME, NOTE, context, META_SR)


def _models(scales: Sequence[int]) -> list[Model]:
    return [Model("network", _TRAINED, tuple(scale for scale in scales if scale > 1))]
