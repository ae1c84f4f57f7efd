"""Equal ensembling: the mean of three trainings beside every row of single networks, as ``best`` is one of three."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import Ensemble
from fsrcache.evaluation.tables import Key

MEMBERS = 3  # trainings of a mean


def ensembles_of(predictors: Sequence[Predictor]) -> dict[str, Ensemble]:
    """Return the networks behind every label of the table, in order.

    A row of single networks with three seeds or more has a further label, ``NAME, mean of 3``, of its lowest seeds.
    """
    ensembles, seeds = {}, dict[str, list[int]]()
    for one in predictors:
        ensembles[one.row] = Ensemble(one.row, one.members, part=one.part)
        if one.seed is not None and one.members == 1 and not one.part:
            seeds.setdefault(one.row, []).append(one.seed)
    for row, trained in seeds.items():
        if len(trained) >= MEMBERS:
            ensembles[f"{row}, mean of {MEMBERS}"] = Ensemble(row, MEMBERS, tuple(sorted(trained)[:MEMBERS]))
    return ensembles


def mean_probabilities(
    probabilities: Mapping[Key, NDArray[np.float32]], ensembles: Mapping[str, Ensemble]
) -> dict[Key, NDArray[np.float32]]:
    """Return the probabilities fp32 [n, K] of the means, by key, whose seed is None.

    Parameters
    ----------
    probabilities
        fp32 [n, K] of the single trainings, by key.
    ensembles
        The networks by label.
    """
    means: dict[Key, NDArray[np.float32]] = {}
    for label, one in ensembles.items():
        for head, scale in dict.fromkeys((head, scale) for row, head, scale, _ in probabilities if row == one.row):
            members = [probabilities.get((one.row, head, scale, seed)) for seed in one.seeds]
            there = [values for values in members if values is not None]
            if len(there) == MEMBERS:
                means[label, head, scale, None] = np.mean(there, axis=0)
    return means
