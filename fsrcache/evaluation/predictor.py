"""What a table scores: one training of a row, as features for a head or as probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.splits import HELD_OUT
from fsrcache.extractors.extractor import Extractor

Outputs = Callable[[str, int], NDArray[np.floating[Any]]]  # (split, scale) -> [n, numbers]


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictor:
    """One training of a row.

    Attributes
    ----------
    row
        The row's name; predictors that differ in their seed alone share it.
    name
        Its own name, unique, with ``/`` between parts: ``fine-tuned/seed-0``.
    seed
        Random seed of the training; None where nothing is trained.
    source
        What its outputs depend on beside the store, as JSON values: digests of files and weights.
    extractor
        The extractor whose head is the frozen one; None with ``probabilities``.
    features
        Returns floating-point [n, P] of a split at a scale, in the store's order; of ``HELD_OUT`` those of the held-out
        tenth of the training split.
    probabilities
        Returns floating-point [n, K] likewise, in place of features: a row with one head, called ``frozen``.
    members
        Number of networks whose outputs it averages.
    part
        Whether these are a part of another row's networks, for comparison; figures leave such a row out.
    scales
        Scales that it is scored at, those of the store among them; None for all of the store's.
    splits
        Splits of the store that it has outputs of; None for all of them.
    note
        One line on the row for the footnotes.
    facts
        Further sentences for the footnotes, by subject: ``generator``, ``checkpoint``, ``settings``. Predictors of one
        row have the same settings.
    changes
        Assignments that lead from the row's own settings to those of the training; None where the row has none, or
        they are unknown.
    networks
        Returns the networks that a face goes through at a scale; None where they are unknown.
    spent
        Duration and processor time of the training in seconds; None where they are unknown, or nothing is trained.

    Raises
    ------
    RequestError
        If it has neither features with an extractor, nor probabilities alone.
    """

    row: str
    name: str
    source: Mapping[str, Any]
    seed: int | None = None
    extractor: Extractor | None = None
    features: Outputs | None = None
    probabilities: Outputs | None = None
    members: int = 1
    part: bool = False
    scales: tuple[int, ...] | None = None
    splits: tuple[str, ...] | None = None
    note: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] | None = None
    networks: Callable[[int], Networks] | None = None
    spent: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        alone = self.probabilities is not None
        if (self.features is None) != alone or (self.extractor is None) != alone:
            raise RequestError(
                f"The predictor {self.name} has {'both features and' if alone else 'neither features nor'} "
                "probabilities, or no extractor for its features.",
                "Give features and an extractor, or probabilities alone.",
            )

    def has(self, split: str) -> bool:
        """Tell whether it has outputs of a split; the held-out tenth is a part of train."""
        return self.splits is None or ("train" if split == HELD_OUT else split) in self.splits
