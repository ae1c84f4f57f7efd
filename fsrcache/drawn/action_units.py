"""From an expression to facial action units: which face muscles contract, and how strongly, with personal habits.

An action unit (AU) is named by its number in the Facial Action Coding System of Ekman, Friesen and Hager (2002); the
combinations below are those its emotion tables list as prototypes and major variants.
"""

from collections.abc import Mapping

import numpy as np

Units = Mapping[int, float]  # AU number -> activation, 0 at rest, 1 at full strength

NAMES = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip presser",
    25: "lips part",
    26: "jaw drop",
    27: "mouth stretch",
    43: "eyes closed",
}

VARIANTS: dict[str, tuple[dict[int, float], ...]] = {
    "surprise": (
        {1: 0.9, 2: 0.9, 5: 0.7, 25: 0.5, 26: 0.8},
        {1: 0.9, 2: 1.0, 5: 0.8, 25: 0.6, 27: 0.8},
        {1: 0.8, 2: 0.8, 5: 0.5, 25: 0.6, 26: 0.3},
    ),
    "fear": (
        {1: 1.0, 2: 0.5, 4: 0.7, 5: 0.9, 7: 0.4, 20: 0.9, 25: 0.7, 26: 0.2},
        {1: 0.9, 2: 0.3, 4: 0.8, 5: 0.8, 20: 0.8, 16: 0.5, 25: 0.8, 26: 0.5},
        {1: 1.0, 2: 0.5, 4: 0.7, 5: 0.9, 7: 0.3, 20: 0.8, 25: 0.2},
    ),
    "disgust": (
        {4: 0.3, 7: 0.5, 9: 1.0, 10: 0.7, 15: 0.2, 17: 0.5},
        {6: 0.2, 7: 0.5, 9: 0.9, 10: 0.9, 16: 0.5, 25: 0.5, 26: 0.2},
        {4: 0.2, 7: 0.6, 9: 0.8, 10: 0.6, 15: 0.5, 17: 0.7},
    ),
    "happiness": (
        {6: 0.8, 12: 0.9, 25: 0.6},
        {6: 0.5, 12: 0.8},
        {6: 0.9, 12: 1.0, 25: 0.7, 26: 0.6},
    ),
    "sadness": (
        {1: 0.9, 4: 0.5, 15: 0.8, 17: 0.3, 43: 0.2},
        {1: 0.8, 4: 0.4, 7: 0.2, 15: 0.8, 17: 0.8, 43: 0.1},
        {1: 1.0, 4: 0.6, 15: 0.6, 25: 0.3, 43: 0.3},
    ),
    "anger": (
        {4: 1.0, 5: 0.5, 7: 0.7, 23: 0.7, 24: 0.6, 17: 0.3},
        {4: 1.0, 5: 0.6, 7: 0.7, 10: 0.4, 16: 0.5, 23: 0.5, 25: 0.8, 26: 0.4},
        {4: 0.9, 7: 0.8, 24: 0.9, 17: 0.4},
    ),
    "neutral": ({}, {25: 0.15}, {43: 0.1}),
}
NEIGHBOURS = {
    "surprise": "fear",
    "fear": "surprise",
    "disgust": "anger",
    "happiness": "neutral",
    "sadness": "neutral",
    "anger": "disgust",
    "neutral": "sadness",
}
_WEAKEST = 0.4  # of an expression's full strength, before jitter
_REST = 0.10  # the largest activation without an expression
_LARGEST_SHARE = 0.35  # of a neighbouring expression mixed in


def expression_units(rng: np.random.Generator, expression: str, *, intensity: float | None = None) -> dict[int, float]:
    """Return the activations of one face that shows an expression.

    The same numbers are drawn for every expression and intensity, so the generator is left in the same state.

    Parameters
    ----------
    rng
        Random generator of this face's habits.
    expression
        One of ``fsrcache.faces.expressions.EXPRESSIONS``.
    intensity
        Strength, 0 (the face at rest) to 1; drawn if None.
    """
    numbers = list(NAMES)
    drawn_intensity = _WEAKEST + (1 - _WEAKEST) * rng.beta(1.8, 1.2)
    variant, neighbour_variant = rng.integers(len(VARIANTS["neutral"]), size=2)
    share = _LARGEST_SHARE * rng.beta(1.0, 3.0)
    jitter = rng.uniform(0.7, 1.25, len(numbers))
    rest = _REST * rng.beta(0.6, 2.0, len(numbers))
    weight = drawn_intensity if intensity is None else intensity
    pure = VARIANTS[expression][variant]
    mixed = VARIANTS[NEIGHBOURS[expression]][neighbour_variant]
    return {
        number: min(
            1.0, weight * wobble * ((1 - share) * pure.get(number, 0.0) + share * mixed.get(number, 0.0)) + idle
        )
        for number, wobble, idle in zip(numbers, jitter.tolist(), rest.tolist(), strict=True)
    }
