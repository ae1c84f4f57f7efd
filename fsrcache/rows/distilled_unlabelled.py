"""distilled-unlabelled: the extractor trained further on mixed scales to say what it says at full resolution, alone."""

from collections.abc import Sequence

from fsrcache.evaluation.predictor import Predictor
from fsrcache.rows.distilled import SETTINGS, obstacle, settings_changes
from fsrcache.rows.fine_tuned import train_tuned, tuned_predictors
from fsrcache.rows.row import RowContext, RowResult, RowTraining

__all__ = ["NAME", "NOTE", "SETTINGS", "obstacle", "predictors", "train"]

NAME = "distilled-unlabelled"
NOTE = (
    "the extractor trained further on mixed scales by its own logits and embedding at full resolution, without labels"
)


def train(training: RowTraining) -> RowResult:
    """Train the extractor further as its own pupil, no label looked at, and write the features that it then has."""
    return train_tuned(NAME, training, training.settings.schedule, training.settings.weights(0.0))


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return tuned_predictors(NAME, NOTE, context, settings_changes)
