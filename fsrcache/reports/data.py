"""What a report is made from: the table, probabilities, features, faces and trainings of one workspace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.predictions import Probabilities
from fsrcache.evaluation.scores import BICUBIC, FROZEN, Score
from fsrcache.evaluation.tables import Table
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation
from fsrcache.presets import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a generator.

    Attributes
    ----------
    name, config, seed
        The run's name, its settings and its random seed.
    scales, extra
        Scales, and names of the extra splits, that batches were drawn from.
    store
        Digests of the store's content by name.
    history
        The lines of its history.
    """

    name: str
    config: TrainConfig
    seed: int
    scales: tuple[int, ...] = ()
    extra: tuple[str, ...] = ()
    store: Mapping[str, str] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]]

    def differs_in_weights_alone(self, other: "Training") -> bool:
        """Tell whether another training is of other weights of the samples, and of the same in all else."""
        fixed, theirs = (
            (replace(one.config, reweight="none"), one.seed, one.scales, {*one.extra}, one.store)
            for one in (self, other)
        )
        return fixed == theirs and self.config.reweight != other.config.reweight


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportData:
    """What a report is made from; a section without its data is left out.

    Attributes
    ----------
    table
        The scores.
    row
        Name of the row that the report is about.
    labels
        int [n], the classes of the split.
    probabilities
        fp32 [n, K] by row and scale, with the frozen head; of several seeds, the first.
    features
        Returns floating-point [n, P] of a row at a scale, likewise; None for a row that has none.
    pictures
        uint8 ``[S, S, 1 or 3]`` at full resolution, by number in the split: those of ``shown_faces``, or none.
    enlarged
        Example faces as image super-resolvers enlarge them, likewise, by row, then by number and scale.
    degradation
        How low-resolution views are made.
    trainings
        The trainings of the row, and those that differ in their re-weighting alone.
    facts
        Settings and digests: text by name, in groups.
    commands
        Command lines that repeat it all.
    """

    table: Table
    row: str
    labels: NDArray[np.integer[Any]]
    probabilities: Mapping[str, Probabilities]
    features: Callable[[str, int], NDArray[np.floating[Any]] | None]
    pictures: Mapping[int, Pictures] = field(default_factory=dict)
    enlarged: Mapping[str, Mapping[tuple[int, int], Pictures]] = field(default_factory=dict)
    degradation: Degradation
    trainings: Sequence[Training] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: Sequence[str] = ()


def frozen_scores(table: Table) -> dict[tuple[str, int], Score]:
    """Return the scores with the frozen head by label and scale."""
    return {(score.label, score.scale): score for score in table.rows if score.head == FROZEN}


def coarse_scales(table: Table, row: str) -> list[int]:
    """Return the scales beyond 1 at which a row has scores beside bicubic's with the frozen head; none of bicubic."""
    scores = frozen_scores(table)
    shared = [scale for one, scale in scores if one == row != BICUBIC and (BICUBIC, scale) in scores]
    return sorted(scale for scale in shared if scale > 1)


def widest_scale(table: Table, row: str) -> int | None:
    """Return the scale at which a row gains most over bicubic; None where they share no coarse scale."""
    scores = frozen_scores(table)

    def gain(scale: int) -> float:
        return scores[row, scale].accuracy - scores[BICUBIC, scale].accuracy

    return max(coarse_scales(table, row), key=gain, default=None)
