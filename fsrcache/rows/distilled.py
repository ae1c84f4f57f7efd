"""distilled: the extractor trained further on mixed scales to say what it says at full resolution, with the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.covpool import ExtractorTraining
from fsrcache.presets import FINE_TUNING, PretrainConfig
from fsrcache.records import Between, check_fields
from fsrcache.rows.fine_tuned import obstacle, train_tuned, tuned_predictors
from fsrcache.rows.row import RowContext, RowResult, RowTraining
from fsrcache.settings import differences
from fsrcache.training.classifier.distillation import Distillation

__all__ = ["NAME", "NOTE", "SETTINGS", "DistilledConfig", "obstacle", "predictors", "settings_changes", "train"]

NAME = "distilled"
NOTE = (
    "the extractor trained further on mixed scales by its own logits and embedding at full resolution, and the labels"
)


@dataclass(frozen=True, kw_only=True)
class DistilledConfig:
    """Settings of a distillation; what is not here is as in ``FINE_TUNING``.

    Attributes
    ----------
    epochs, batch, learning_rate
        As for ``PretrainConfig``.
    logits_weight, embedding_weight
        As for ``Distillation``.
    """

    epochs: Annotated[int, Between(1, 10**5)] = FINE_TUNING.epochs
    batch: Annotated[int, Between(2, 2**16)] = FINE_TUNING.batch
    learning_rate: Annotated[float, Between(0, 1e38)] = FINE_TUNING.learning_rate
    logits_weight: Annotated[float, Between(0, 1e6)] = 1.0
    embedding_weight: Annotated[float, Between(0, 1e6)] = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        self.weights(1.0)

    @property
    def schedule(self) -> PretrainConfig:
        """The schedule of the training."""
        return replace(FINE_TUNING, epochs=self.epochs, batch=self.batch, learning_rate=self.learning_rate)

    def weights(self, label_weight: float) -> Distillation:
        """Return the weights of the loss."""
        return Distillation(
            label_weight=label_weight, logits_weight=self.logits_weight, embedding_weight=self.embedding_weight
        )


SETTINGS = DistilledConfig()


def train(training: RowTraining) -> RowResult:
    """Train the extractor further as its own pupil, and write the features that it then has."""
    return train_tuned(NAME, training, training.settings.schedule, training.settings.weights(1.0))


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return tuned_predictors(NAME, NOTE, context, settings_changes)


def settings_changes(training: ExtractorTraining) -> tuple[str, ...] | None:
    """Return the assignments to the row's settings, by a training's record; None where it lacks them."""
    if "schedule" not in training or "distillation" not in training:
        return None
    schedule, weights = training["schedule"], training["distillation"]
    config = DistilledConfig(
        epochs=schedule.epochs, batch=schedule.batch, learning_rate=schedule.learning_rate,
        logits_weight=weights["logits_weight"], embedding_weight=weights["embedding_weight"],
    )  # fmt: skip
    return tuple(differences(config, SETTINGS))
