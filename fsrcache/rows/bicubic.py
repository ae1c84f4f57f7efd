"""bicubic: the extractor on enlarged coarse faces, as it is; at scale 1, on faces at full resolution."""

from collections.abc import Sequence

from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.rows.row import RowContext, no_obstacle

NAME = BICUBIC
NOTE = "the extractor on faces that were made coarse and enlarged again"
SETTINGS = None
train = None
obstacle = no_obstacle


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the store's own features."""
    store = context.store
    return [
        Predictor(
            row=NAME,
            name=NAME,
            source={},
            extractor=context.extractor,
            features=lambda split, scale: store.features(split, scale)[:],
            note=NOTE,
        )
    ]
