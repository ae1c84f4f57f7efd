"""Accuracy by the distance of a face to the nearest trained one, which tells memory of photographs from the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.metrics import Classes
from fsrcache.evaluation.scores import Ensemble, Trainings, seeds_of

# shares of the faces, the nearest first; the last two are sums
SHARES = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (0.0, 0.25), (0.25, 1.0))


@dataclass(frozen=True, kw_only=True)
class DistanceScore:
    """Accuracy of one row with one head on the faces of a range of distances to the nearest trained face.

    Attributes
    ----------
    row, head, members, label, seeds
        As in ``Score``.
    full_resolution
        Whether it is the accuracy at full resolution; else it is the mean over the coarse scales that the row has.
    scales
        Scales of the mean; 1 alone at full resolution.
    nearest, farthest
        The faces' place among all, the nearest first: shares from 0 to 1, such as 0.25 and 0.5.
    distance
        The largest distance among them, in standardised features of full resolution.
    n
        Number of pictures.
    accuracy, standard_error
        Percent, mean over the seeds, and its standard error over pictures.
    """

    row: str
    head: str
    full_resolution: bool
    scales: tuple[int, ...]
    nearest: float
    farthest: float
    distance: float
    n: int
    accuracy: float
    standard_error: float
    members: int
    label: str
    seeds: tuple[int, ...]


def score_distances(
    trainings: Trainings, labels: Classes, distances: NDArray[np.float32], *, ensembles: Mapping[str, Ensemble]
) -> tuple[DistanceScore, ...]:
    """Return the scores of every row and head in every range that has faces, ordered as the rows are.

    Parameters
    ----------
    trainings
        Predictions int [n] by label, head and scale, by seed.
    labels
        int [n].
    distances
        Of every face to the nearest trained one, fp32 [n].
    ensembles
        The networks by label.
    """
    nearest_first = distances.argsort(kind="stable")
    n = len(nearest_first)
    ranges = [(low, high, nearest_first[round(low * n) : round(high * n)]) for low, high in SHARES]
    right: dict[tuple[str, str, bool], dict[int, NDArray[np.float64]]] = {}  # by scale: share of seeds that are right
    seeds: dict[str, tuple[int, ...]] = {}
    for (label, head, scale), of_seed in trainings.items():
        of_scale = np.mean([predicted == labels for predicted in of_seed.values()], axis=0)
        right.setdefault((label, head, scale == 1), {})[scale] = of_scale
        seeds[label] = seeds_of(of_seed)
    scores = []
    for (label, head, full), of_scales in right.items():
        of_face = 100 * np.mean([*of_scales.values()], axis=0)
        ensemble = ensembles.get(label, Ensemble(label))
        for low, high, chosen in ranges:
            if not len(chosen):
                continue
            values = of_face[chosen]
            scores.append(
                DistanceScore(
                    row=ensemble.row, head=head, full_resolution=full, scales=tuple(sorted(of_scales)), nearest=low,
                    farthest=high, distance=float(distances[chosen[-1]]), n=len(chosen), accuracy=float(values.mean()),
                    standard_error=float(values.std() / len(chosen) ** 0.5), members=ensemble.members, label=label,
                    seeds=seeds[label] or ensemble.seeds,
                )
            )  # fmt: skip
    return tuple(scores)
