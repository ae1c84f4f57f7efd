"""Expressions as facial action units (Ekman and Friesen's FACS; the prototypes of EMFACS)."""

from collections.abc import Mapping

import numpy as np

# Action unit -> what it does to a drawn face, and how strongly by itself, 0..1.
PROTOTYPES: Mapping[str, Mapping[int, float]] = {
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 26: 1.0},
    "fear": {1: 0.9, 2: 0.5, 4: 0.7, 5: 0.9, 7: 0.3, 20: 0.9, 25: 0.8},
    "disgust": {9: 1.0, 10: 0.8, 4: 0.4, 7: 0.5, 15: 0.4, 17: 0.4},
    "happiness": {6: 0.9, 12: 1.0, 25: 0.6},
    "sadness": {1: 0.9, 4: 0.5, 15: 1.0, 17: 0.6, 43: 0.3},
    "anger": {4: 1.0, 5: 0.4, 7: 0.7, 23: 0.9, 17: 0.3},
    "neutral": {},
}
UNITS = (
    1,  # inner brow raiser
    2,  # outer brow raiser
    4,  # brow lowerer
    5,  # upper lid raiser
    6,  # cheek raiser
    7,  # lid tightener
    9,  # nose wrinkler
    10,  # upper lip raiser
    12,  # lip corner puller
    15,  # lip corner depressor
    17,  # chin raiser
    20,  # lip stretcher
    23,  # lip tightener
    25,  # lips part
    26,  # jaw drop
    43,  # eyes closed
)
_WEAKEST, _STRONGEST = 0.3, 1.0
_ASIDE = 0.12  # how strongly units that do not belong to the expression stir, half-normal


def sample_units(expression: str, rng: np.random.Generator, *, intensity: float | None = None) -> dict[int, float]:
    """Return the strength of every action unit, 0..1, of one person showing an expression.

    Parameters
    ----------
    expression
        A key of ``PROTOTYPES``.
    rng
        Always advanced by the same amount, so that another expression leaves the rest of a drawing as it is.
    intensity
        0..1; drawn from the generator where None. Units vary by a third around it: no two smiles are alike.
    """
    drawn = _WEAKEST + (_STRONGEST - _WEAKEST) * rng.beta(1.6, 1.3)
    own = rng.uniform(0.65, 1.1, len(UNITS))
    aside = np.abs(rng.normal(0.0, _ASIDE, len(UNITS))) * (rng.random(len(UNITS)) < 0.35)
    open_mouth = rng.random()
    strength = drawn if intensity is None else intensity
    prototype = dict(PROTOTYPES[expression])
    if expression == "happiness":
        prototype[25] = 0.9 if open_mouth < 0.6 else 0.0  # with and without teeth
    elif expression == "anger" and open_mouth < 0.3:
        prototype |= {23: 0.3, 25: 0.7, 10: 0.4}  # shouting
    units = {unit: prototype.get(unit, 0.0) * strength * own[k] + aside[k] for k, unit in enumerate(UNITS)}
    return {unit: float(min(1.0, value)) for unit, value in units.items()}
