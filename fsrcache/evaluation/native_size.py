"""Accuracy by native size: faces that are coarse by nature, in bins of their own pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.metrics import Classes, wilson_interval
from fsrcache.evaluation.scores import Ensemble, Trainings, seeds_of

EDGES = (12, 16, 24, 32, 48, 96)  # pixels at which bins begin
_UNBOUNDED = 1 << 31


@dataclass(frozen=True, kw_only=True)
class SizeScore:
    """Accuracy of one row with one head on the faces of a bin of sizes, each once and in its own pixels.

    Attributes
    ----------
    row, head, members, label, seeds
        As in ``Score``.
    least, below
        Pixels of the faces' longer sides: ``least`` and more, less than ``below``; None for the last bin.
    n
        Number of pictures.
    accuracy, low, high
        Percent, mean over the seeds, and its 95 % Wilson interval over pictures.
    """

    row: str
    head: str
    least: int
    below: int | None
    n: int
    accuracy: float
    low: float
    high: float
    members: int
    label: str
    seeds: tuple[int, ...]


def score_sizes(
    trainings: Trainings, labels: Classes, sizes: NDArray[np.int32], *, ensembles: Mapping[str, Ensemble]
) -> tuple[SizeScore, ...]:
    """Return the scores of every row and head in every bin that has faces, ordered as the rows are.

    Parameters
    ----------
    trainings
        Predictions int [n] by label, head and scale, by seed; those at scale 1 count, where nothing is made coarse.
    labels
        int [n].
    sizes
        Longer sides of the faces before they were resized, in pixels, int32 [n].
    ensembles
        The networks by label.
    """
    bins = [(least, below, (sizes >= least) & (sizes < below)) for least, below in pairwise((1, *EDGES, _UNBOUNDED))]
    scores = []
    for (label, head, scale), seeds in trainings.items():
        for least, below, chosen in bins if scale == 1 else ():
            if not (n := int(chosen.sum())):
                continue
            right = fmean(int((one == labels)[chosen].sum()) for one in seeds.values())
            low, high = wilson_interval(right, n)
            ensemble = ensembles.get(label, Ensemble(label))
            scores.append(
                SizeScore(
                    row=ensemble.row, head=head, least=least, below=None if below == _UNBOUNDED else below, n=n,
                    accuracy=100 * right / n, low=100 * low, high=100 * high, members=ensemble.members, label=label,
                    seeds=seeds_of(seeds) or ensemble.seeds,
                )
            )  # fmt: skip
    return tuple(scores)
