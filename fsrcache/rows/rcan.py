"""rcan: the extractor on faces that RCAN enlarged, one network for x2, x3, x4 and x8 each."""

from collections.abc import Sequence
from fractions import Fraction

from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.extractor import Extractor
from fsrcache.models.super_resolution.presets import RCAN
from fsrcache.rows.row import RowContext, RowResult, RowTraining
from fsrcache.rows.super_resolved import Model, super_resolved_predictors, train_super_resolved

NAME = "rcan"
NOTE = "the extractor on faces enlarged by RCAN, image super-resolution by a network for each of x2, x3, x4 and x8"
SETTINGS = RCAN["small"]
_SCALES = (2, 3, 4, 8)  # as published


def obstacle(extractor: Extractor, scales: Sequence[int]) -> str:  # noqa: ARG001  # a row's signature
    """Return that none of a store's scales is one of RCAN's."""
    return "" if _models(scales) else "it is for x2, x3, x4 and x8, and the store has none of these."


def train(training: RowTraining) -> RowResult:
    """Train a network for every scale of the store that RCAN has, and write the features of what they enlarge."""
    return train_super_resolved(NAME, training, _models(training.context.store.scales))


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return super_resolved_predictors(NAME, NOTE, context, RCAN)


def _models(scales: Sequence[int]) -> list[Model]:
    return [Model(f"x{scale}", (Fraction(scale),), (scale,)) for scale in _SCALES if scale in scales]
