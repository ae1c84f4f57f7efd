"""The person and the scene of a picture: their traits, each drawn from its range.

Lengths are in half head heights: the crown is at y = -1, the chin at y = 1, x to the right, z towards the viewer.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # red, green, blue, 0..255

# Skin from fair to deep as reflectance; melanin 0..1 walks along it.
_SKIN = np.array(
    [(240, 208, 188), (232, 190, 162), (218, 168, 132), (192, 138, 100), (156, 104, 72), (118, 76, 54), (86, 56, 44)]
)
_HAIR: tuple[Colour, ...] = ((34, 26, 24), (56, 38, 30), (92, 60, 40), (140, 90, 54), (206, 168, 104), (168, 78, 40))
_GREY: Colour = (186, 184, 182)
_IRIS: tuple[Colour, ...] = ((62, 38, 24), (92, 58, 32), (110, 92, 52), (84, 116, 76), (86, 126, 158), (120, 140, 150))
_STYLES = (
    "short",
    "fringe",
    "parted",
    "long",
    "bob",
    "curly",
    "afro",
    "bun",
    "buzz",
    "receding",
    "bald",
    "headscarf",
    "beanie",
)
_STYLE_ODDS = np.cumsum([0.15, 0.11, 0.11, 0.14, 0.09, 0.07, 0.06, 0.05, 0.07, 0.05, 0.04, 0.03, 0.03])
_BEARDED = ("short", "parted", "curly", "afro", "buzz", "receding", "bald", "beanie")
_OCCLUSIONS = ("hand", "scarf", "lock", "mask", "cup")

_TRAITS = {
    "head_width": (0.645, 0.735),
    "jaw_square": (2.1, 3.0),
    "chin_round": (1.25, 1.75),
    "eye_level": (-0.05, 0.03),
    "eye_distance": (0.285, 0.335),
    "eye_width": (0.142, 0.178),
    "eye_height": (0.054, 0.076),
    "eye_tilt": (-0.06, 0.16),
    "lid_fold": (0.03, 0.07),
    "brow_gap": (0.16, 0.215),
    "brow_thickness": (0.022, 0.055),
    "brow_arch": (0.01, 0.055),
    "brow_slope": (-0.03, 0.04),
    "nose_length": (0.36, 0.45),
    "nose_width": (0.115, 0.18),
    "nose_bridge": (0.06, 0.12),
    "mouth_gap": (0.20, 0.26),
    "mouth_width": (0.235, 0.30),
    "lip_upper": (0.030, 0.066),
    "lip_lower": (0.045, 0.088),
    "mouth_rest": (-0.016, 0.022),
    "cheek": (0.03, 0.08),
    "hairline": (-0.72, -0.58),
    "age": (0.0, 1.0),
}


@dataclass(frozen=True)
class Shape:
    """The measures of a face."""

    head_width: float
    jaw_square: float
    chin_round: float
    eye_level: float
    eye_distance: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    lid_fold: float
    brow_gap: float
    brow_thickness: float
    brow_arch: float
    brow_slope: float
    nose_length: float
    nose_width: float
    nose_bridge: float
    mouth_gap: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    mouth_rest: float
    cheek: float
    hairline: float
    age: float  # 0 young, 1 old

    @property
    def nose_level(self) -> float:
        """The height of the nose's base."""
        return self.eye_level + self.nose_length

    @property
    def mouth_level(self) -> float:
        """The height of the closed lips."""
        return self.nose_level + self.mouth_gap


@dataclass(frozen=True)
class Person:
    """An identity: the shape of a face, its colours, and what grows and sits on it."""

    shape: Shape
    makeup: float  # 0 none, 1 strong
    skin: Colour
    hair: Colour
    brow: Colour
    iris: Colour
    cloth: Colour
    style: str
    beard: str  # "", "stubble", "moustache", "goatee" or "full"
    parting: float  # -1 left .. 1 right
    strands: tuple[float, ...]  # 24 numbers in -1..1 that vary the locks of hair
    glasses: str  # "", "round", "square" or "dark"


@dataclass(frozen=True)
class Scene:
    """The scene of a picture: pose, light, occlusion, lens and sensor. Angles in radians, pixels of 100."""

    roll: float
    yaw: float
    pitch: float
    scale: float  # pixels per half head height
    shift: tuple[float, float]  # of the face from the middle, in pixels
    gaze: tuple[float, float]  # of the pupils from straight on, -1..1
    light: tuple[float, float, float]  # unit vector towards the lamp; y down, z towards the viewer
    light_colour: Colour  # around 1
    ambient: float  # 0..1: the part of the light that has no direction
    exposure: float
    occlusion: str  # "" or one of hand, scarf, lock, mask, cup
    side: float  # -1 or 1: the side from which the occlusion comes
    blur: float  # standard deviation, in pixels
    noise: float  # standard deviation, in grey levels
    backdrop: np.ndarray  # float [2, 3]: two colours, 0..255


def draw_person(rng: np.random.Generator) -> Person:
    """Draw an identity; the number of values drawn is fixed."""
    low, high = zip(*_TRAITS.values(), strict=True)
    shape = Shape(**dict(zip(_TRAITS, rng.uniform(low, high).tolist(), strict=True)))
    melanin, undertone, makeup, parting, hair_pick, grey, iris_pick, style_pick, beard_pick, glass_pick = rng.random(10)
    skin = np.array([np.interp(melanin * (len(_SKIN) - 1), range(len(_SKIN)), channel) for channel in _SKIN.T])
    skin *= 1 + (undertone - 0.5) * np.array([0.03, -0.02, -0.14])
    hair = _pick(_HAIR, hair_pick * (1.0 if melanin < 0.35 else 0.5 if melanin < 0.6 else 0.3))
    hair = mix(hair, _GREY, max(0.0, min(0.9, (shape.age - 0.6) * 3 * grey)))
    style = _STYLES[int(np.searchsorted(_STYLE_ODDS, style_pick * _STYLE_ODDS[-1]))]
    beards = ("stubble", "moustache", "goatee", "full") if style in _BEARDED else ()
    beard = beards[int(beard_pick / 0.45 * 4)] if beards and beard_pick < 0.45 else ""
    return Person(
        shape=shape,
        makeup=0.0 if beards else float(max(0.0, makeup - 0.3)),
        skin=triple(skin),
        hair=hair,
        brow=mix(mix(hair, (30, 22, 20), 0.45), triple(skin), 0.08),
        iris=_pick(_IRIS, iris_pick * (1.0 if melanin < 0.4 else 0.45)),
        cloth=mix(triple(rng.uniform(30, 220, 3)), (112, 112, 112), 0.3),
        style=style,
        beard=beard,
        parting=float(2 * parting - 1),
        strands=tuple(rng.uniform(-1, 1, 24).tolist()),
        glasses="round"
        if glass_pick < 0.08
        else "square"
        if glass_pick < 0.15
        else "dark"
        if glass_pick < 0.165
        else "",
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw the circumstances of one picture; the number of values drawn is fixed."""
    roll, yaw, pitch = np.clip(rng.standard_normal(3), -2.2, 2.2) * np.radians((6.0, 14.0, 7.0))
    azimuth, height, warmth, ambient, exposure, contrast = rng.random(6)
    direction = np.array([np.sin(2.4 * (azimuth - 0.5)), -0.9 * height + 0.15, 0.75])
    occluded, kind, side, blur, noise = rng.random(5)
    shift = rng.normal(0, 1.4, 2)
    gaze = rng.normal(0, 0.35, 2)
    return Scene(
        roll=float(roll),
        yaw=float(yaw),
        pitch=float(pitch),
        scale=float(rng.uniform(42.0, 46.0)),
        shift=(float(shift[0]), float(shift[1])),
        gaze=(float(gaze[0]), float(gaze[1])),
        light=triple(direction / np.linalg.norm(direction)),
        light_colour=(1 + 0.10 * (warmth - 0.4), 1.0, 1 - 0.16 * (warmth - 0.4)),
        ambient=float(0.38 + 0.3 * ambient * contrast),
        exposure=float(0.84 + 0.24 * exposure),
        occlusion=_OCCLUSIONS[int(kind * len(_OCCLUSIONS))] if occluded < 0.10 else "",
        side=1.0 if side < 0.5 else -1.0,
        blur=float(max(0.0, 1.5 * blur - 0.6)),
        noise=float(1.0 + 6.0 * noise**2),
        backdrop=rng.uniform(60, 215, (2, 1)) + rng.normal(0, 16, (1, 3)) + rng.normal(0, 7, (2, 3)),
    )


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour a share of the way from one to another."""
    return (
        one[0] + (other[0] - one[0]) * share,
        one[1] + (other[1] - one[1]) * share,
        one[2] + (other[2] - one[2]) * share,
    )


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker (below 1) or lighter (above 1)."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def triple(values: np.ndarray) -> tuple[float, float, float]:
    """Return an array of three numbers as floats."""
    first, second, third = values.tolist()
    return (first, second, third)


def _pick(colours: tuple[Colour, ...], position: float) -> Colour:
    return colours[min(int(position * len(colours)), len(colours) - 1)]
