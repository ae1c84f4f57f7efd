"""Who is drawn, how the head is held and how the picture was taken: everything but the expression."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Colour: TypeAlias = tuple[float, float, float]
_Values: TypeAlias = NDArray[np.float64]

_SKINS = np.array(
    [
        (255, 226, 203),
        (243, 200, 165),
        (228, 176, 132),
        (199, 139, 96),
        (150, 95, 62),
        (104, 65, 44),
        (74, 46, 34),
    ],
    np.float64,
)
_HAIRS = np.array(
    [(26, 22, 22), (48, 34, 26), (88, 58, 36), (134, 92, 52), (196, 158, 96), (150, 70, 34), (176, 172, 168)],
    np.float64,
)
_EYES = np.array([(62, 40, 26), (84, 58, 34), (98, 110, 60), (78, 112, 140), (110, 124, 130)], np.float64)
_LIP_TINT = np.array((0.86, 0.56, 0.56))


@dataclass(frozen=True)
class Person:
    """One person before one camera; lengths are in half-heights of the head, angles in radians."""

    width: float
    taper: float
    eye_gap: float
    eye_size: float
    eye_height: float
    brow_height: float
    brow_weight: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    lip_weight: float
    age: float
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    hairline: float
    haircut: str
    beard: str
    glasses: str
    occluder: str
    occluder_place: float
    yaw: float
    pitch: float
    roll: float
    size: float
    shift: tuple[float, float]
    light: tuple[float, float, float]
    warmth: float
    exposure: float
    contrast: float
    blur: float
    noise: float
    background: tuple[Colour, Colour]


def sample_person(rng: np.random.Generator) -> Person:
    """Draw a person and a camera."""
    skin = _between(_SKINS, rng) * rng.uniform(0.96, 1.04, 3)
    age = rng.beta(1.3, 2.2)
    hair = _HAIRS[-1] * rng.uniform(0.8, 1.15) if age > 0.75 else _HAIRS[rng.choice(7, p=_hair_odds(skin))]
    masculine = rng.random() < 0.5
    haircut = rng.choice(
        ("bald", "short", "side", "long", "fringe"),
        p=(0.12, 0.45, 0.33, 0.05, 0.05) if masculine else (0.02, 0.13, 0.2, 0.4, 0.25),
    )
    beards = ("none", "stubble", "moustache", "full")
    light = np.array([rng.normal(0, 0.55), rng.normal(-0.35, 0.35), 1.0])
    first = rng.uniform(60, 225) + rng.normal(0, 16, 3)  # rooms and skies are rarely colourful
    return Person(
        width=rng.uniform(0.70, 0.82),
        taper=rng.uniform(0.10, 0.26) + 0.06 * (not masculine),
        eye_gap=rng.uniform(0.30, 0.36),
        eye_size=rng.uniform(0.130, 0.165),
        eye_height=rng.uniform(0.40, 0.56),
        brow_height=rng.uniform(0.19, 0.25),
        brow_weight=rng.uniform(0.035, 0.06) + 0.02 * masculine,
        nose_width=rng.uniform(0.11, 0.18),
        nose_length=rng.uniform(0.36, 0.46),
        mouth_width=rng.uniform(0.24, 0.31),
        mouth_height=rng.uniform(0.50, 0.58),
        lip_weight=rng.uniform(0.055, 0.10),
        age=age,
        skin=_colour(skin),
        hair=_colour(hair * rng.uniform(0.85, 1.15)),
        iris=_colour(_EYES[rng.integers(2 if skin.mean() < 150 else 5)]),
        lips=_colour(skin * _LIP_TINT * rng.uniform(0.92, 1.06)),
        clothes=_colour((rng.uniform(40, 190) + rng.normal(0, 35, 3)).clip(10, 235)),
        hairline=rng.uniform(-0.70, -0.58),
        haircut=str(haircut),
        beard=str(rng.choice(beards, p=(0.5, 0.25, 0.1, 0.15))) if masculine else "none",
        glasses=str(rng.choice(("none", "round", "square"), p=(0.78, 0.11, 0.11))),
        occluder=str(rng.choice(("none", "hand", "scarf", "strand", "edge"), p=(0.86, 0.035, 0.035, 0.035, 0.035))),
        occluder_place=rng.uniform(-1, 1),
        yaw=rng.normal(0, 0.24),
        pitch=rng.normal(0, 0.12),
        roll=rng.normal(0, 0.10),
        size=rng.uniform(37, 43),
        shift=(rng.normal(0, 1.5), rng.normal(0, 1.5)),
        light=_colour(light / np.linalg.norm(light)),
        warmth=rng.normal(0, 0.06),
        exposure=rng.uniform(0.78, 1.12),
        contrast=rng.uniform(0.2, 0.65),
        blur=max(0.0, rng.normal(0.25, 0.3)),
        noise=rng.gamma(2.0, 1.6),
        background=(_colour(first.clip(0, 255)), _colour((first * rng.uniform(0.6, 1.2)).clip(0, 245))),
    )


def _between(palette: _Values, rng: np.random.Generator) -> _Values:
    place = rng.uniform(0, len(palette) - 1.001)
    below = int(place)
    mixed: _Values = palette[below] + (place - below) * (palette[below + 1] - palette[below])
    return mixed


def _hair_odds(skin: _Values) -> tuple[float, ...]:
    return (0.16, 0.24, 0.22, 0.16, 0.12, 0.07, 0.03) if skin.mean() > 185 else (0.6, 0.28, 0.06, 0.02, 0.0, 0.01, 0.03)


def _colour(values: _Values) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
