"""bicubic: the extractor on enlarged coarse faces, as it is; at scale 1, on faces at full resolution."""

from collections.abc import Sequence

from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import BICUBIC
from fsrcache.evaluation.splits import split_features
from fsrcache.rows.row import RowContext, no_obstacle
from fsrcache.training.run.spent import total_spent

NAME = BICUBIC
NOTE = "the extractor on faces that were made coarse and enlarged again"
SETTINGS = None
train = None
obstacle = no_obstacle


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the store's own features."""
    store, workspace = context.store, context.workspace
    own = workspace.extractor_source.reference == str(workspace.extractor)
    return [
        Predictor(
            row=NAME,
            name=NAME,
            source={},
            extractor=context.extractor,
            features=lambda split, scale: split_features(store, split, scale),
            note=NOTE,
            networks=lambda _: Networks(extractor=context.extractor),
            spent=total_spent([workspace.pretraining] if own else []),
        )
    ]
