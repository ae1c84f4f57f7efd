"""Drawn faces: an endless, free data set whose expressions are built from facial action units.

A face is a function of (seed, index) alone. Lengths are in half-heights of the head, x to the right, y down, the
origin between the ears; depth comes from an ellipsoid, so a turned head foreshortens.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fsrcache.faces.action_units import sample_units
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.person import Colour, Person, sample_person

SIDE = 100
_FINE = 3  # drawn this many times larger, then reduced
_Points = NDArray[np.float64]
_ACROSS = np.linspace(-1.0, 1.0, 17)  # along an eye or a mouth, corner to corner
_BOW = 1.0 - _ACROSS**2
_ROUND = np.linspace(0.0, 2 * np.pi, 33)
_GRID_Y, _GRID_X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) + np.float32(0.5)


def draw_face(seed: int, index: int, *, expression: str | None = None, intensity: float | None = None) -> Pictures:
    """Draw face ``index`` of a seed.

    Parameters
    ----------
    seed, index
        Non-negative; the same two give the same picture.
    expression
        One of ``EXPRESSIONS`` in place of its own; the person, pose and camera stay.
    intensity
        Of the expression, 0..1, in place of a random one.

    Returns
    -------
    numpy.ndarray
        uint8 ``[100, 100, 3]``.
    """
    rng = np.random.default_rng([seed, index])
    person = sample_person(rng)
    shown = expression or EXPRESSIONS[drawn_expression(seed, index)]
    units = sample_units(shown, rng, intensity=intensity)
    return _photograph(_Drawing(person, units).finish(), person, rng)


def drawn_expression(seed: int, index: int) -> int:
    """Return the class of a face as an index into ``EXPRESSIONS``: every seven faces in a row hold each once."""
    return (seed + index) % len(EXPRESSIONS)


class _Drawing:
    """One head on its way to paper: crisp shapes on a fine canvas, soft shadows on a mask beside it."""

    def __init__(self, person: Person, units: dict[int, float]) -> None:
        self.person, self.units = person, units
        first, second = (tuple(int(value) for value in colour) for colour in person.background)
        self.canvas = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), first)
        self.draw = ImageDraw.Draw(self.canvas)
        self.draw.polygon([0, 0, SIDE * _FINE, 0, 0, SIDE * _FINE * (0.6 + person.roll)], second)
        self.shadow = Image.new("L", (SIDE, SIDE), 0)
        self.shade = ImageDraw.Draw(self.shadow)
        self.cos_yaw, self.sin_yaw = np.cos(person.yaw), np.sin(person.yaw)
        self.cos_pitch, self.sin_pitch = np.cos(person.pitch), np.sin(person.pitch)
        self.cos_roll, self.sin_roll = np.cos(person.roll), np.sin(person.roll)

    def finish(self) -> NDArray[np.float32]:
        """Draw everything, far to near; return float32 ``[100, 100, 3]`` in 0..255."""
        self._bust()
        self._head()
        self._nose()
        self._mouth()
        for side in (-1.0, 1.0):
            self._eye(side)
            self._brow(side)
        self._wrinkles()
        self._hair()
        if self.person.glasses != "none":
            self._glasses()
        picture = np.asarray(self.canvas.reduce(_FINE), np.float32)
        shadow = np.asarray(self.shadow.filter(ImageFilter.GaussianBlur(1.1)), np.float32)
        picture *= 1.0 - shadow[..., None] * np.array([0.55, 0.68, 0.72], np.float32) / 255
        picture *= self._light()[..., None]
        return self._occlude(picture)

    def _project(self, points: _Points, *, flat: bool = False, lift: float = 0.0) -> _Points:
        """Turn points ``[n, 2]`` of the face (or, flat, of its outline) into pixels."""
        x, y = points[:, 0], points[:, 1]
        z = np.zeros_like(x) if flat else 0.8 * np.sqrt(np.maximum(0.03, 1 - (x / 0.86) ** 2 - (y / 1.25) ** 2)) + lift
        x, z = x * self.cos_yaw + z * self.sin_yaw, z * self.cos_yaw - x * self.sin_yaw
        y = y * self.cos_pitch + z * self.sin_pitch
        x, y = x * self.cos_roll - y * self.sin_roll, x * self.sin_roll + y * self.cos_roll
        person = self.person
        centre = np.array([SIDE / 2 + person.shift[0], SIDE * 0.52 + person.shift[1]])
        back = np.array([0.35 * self.sin_yaw, 0.3 * self.sin_pitch])  # the picture is cropped round the features
        projected: _Points = centre + person.size * (np.stack([x, y], axis=1) - back)
        return projected

    def _fill(self, points: _Points, colour: Colour, *, flat: bool = False, lift: float = 0.0) -> None:
        pixels = self._project(points, flat=flat, lift=lift) * _FINE
        self.draw.polygon(pixels.ravel().tolist(), tuple(int(min(255.0, value)) for value in colour))

    def _line(self, points: _Points, colour: Colour, width: float) -> None:
        pixels = self._project(points) * _FINE
        drawn = max(1, round(width * self.person.size * _FINE))
        self.draw.line(pixels.ravel().tolist(), tuple(int(value) for value in colour), drawn, joint="curve")

    def _darken(self, points: _Points, depth: float) -> None:
        if depth > 0.02:
            self.shade.polygon(self._project(points).ravel().tolist(), int(255 * min(1.0, depth)))

    def _crease(self, points: _Points, depth: float) -> None:
        if depth > 0.04:
            self.shade.line(self._project(points).ravel().tolist(), int(255 * min(1.0, depth)), 1, joint="curve")

    def _bust(self) -> None:
        person = self.person
        if person.haircut in ("long", "fringe"):
            back = _ellipse(0, 0.15, person.width * 1.22, 1.25)
            back[:, 1] = np.where(back[:, 1] > 0.15, 0.15 + (back[:, 1] - 0.15) * 1.15, back[:, 1])
            self._fill(back, _times(person.hair, 0.75), flat=True)
        neck = person.width * 0.62
        self._fill(
            _at((-neck, 0.5), (neck, 0.5), (neck * 1.1, 1.6), (-neck * 1.1, 1.6)),
            _times(person.skin, 0.72),
            flat=True,
        )
        self._fill(_ellipse(0, 1.85, 1.5, 0.62), person.clothes, flat=True)
        for side in (-1.0, 1.0):
            self._fill(_ellipse(side * person.width * 0.99, 0.02, 0.09, 0.19), _times(person.skin, 0.86), flat=True)

    def _head(self) -> None:
        self._fill(self._outline(), self.person.skin, flat=True)
        if self.person.beard in ("full", "stubble"):
            weight = 0.85 if self.person.beard == "full" else 0.28
            colour = _mix(self.person.skin, self.person.hair, weight)
            jaw = self._outline(0.985)
            lower = jaw[jaw[:, 1] > 0.18]
            lower = lower[np.argsort(-lower[:, 0])]
            rim = np.stack([_ACROSS * 0.42, 0.42 - 0.1 * _BOW], axis=1)
            self._fill(np.concatenate([lower, rim]), colour, flat=True)

    def _outline(self, grow: float = 1.0) -> _Points:
        person, jaw = self.person, self.units[26]
        x, y = person.width * np.sin(_ROUND), -np.cos(_ROUND)
        low = np.maximum(0.0, y)
        return grow * np.stack([x * (1 - person.taper * low**1.6), y + 0.12 * jaw * low**2], axis=1)

    def _nose(self) -> None:
        person, units = self.person, self.units
        lift = 0.05 * units[9] + 0.02 * units[10]
        tip, wide = (
            -0.12 + person.nose_length - lift,
            person.nose_width * (1 + 0.18 * units[9] + 0.1 * units[12]),
        )
        dark = -1.0 if person.light[0] > 0 else 1.0
        bridge = _at((dark * 0.03, -0.14), (dark * 0.05, tip - 0.05), (dark * wide, tip), (dark * 0.10, -0.05))
        self._darken(bridge, 0.30 + 0.1 * person.contrast)
        self._darken(_ellipse(0, tip + 0.05, wide * 0.9, 0.035), 0.42)
        self._fill(_ellipse(0.01, tip - 0.06, 0.035, 0.05), _times(person.skin, 1.07), lift=0.12)
        for side in (-1.0, 1.0):
            wing = np.stack([side * wide * (0.8 + 0.3 * _BOW), tip + 0.07 * _ACROSS - 0.01], axis=1)
            self._line(wing, _times(person.skin, 0.68), 0.022)
            self._fill(_ellipse(side * wide * 0.5, tip + 0.045, 0.04, 0.022), _times(person.skin, 0.42), lift=0.05)

    def _mouth(self) -> None:
        person, units = self.person, self.units
        half = person.mouth_width * (1 + 0.38 * units[12] + 0.34 * units[20] - 0.22 * units[26] - 0.16 * units[23])
        centre = person.mouth_height + 0.03 * units[26] - 0.05 * units[17] - 0.03 * units[10]
        corner = centre - 0.17 * units[12] + 0.15 * units[15] + 0.05 * units[20] + 0.05 * units[26]
        x = half * _ACROSS
        middle = centre + (corner - centre) * np.abs(_ACROSS) ** 2.2
        upper_gap = (0.03 * units[25] + 0.05 * units[26] + 0.05 * units[10] * units[25]) * _BOW
        lower_gap = (0.09 * units[25] + 0.27 * units[26]) * _BOW ** (0.8 - 0.25 * units[20])
        weight = person.lip_weight * (1 - 0.7 * units[23]) * (1 - 0.25 * units[12])
        cupid = 1 - 0.28 * np.exp(-((_ACROSS / 0.16) ** 2))
        inner_top, inner_low = middle - upper_gap, middle + lower_gap
        outer_top = inner_top - (weight * 0.8 + 0.03 * units[10]) * _BOW**0.7 * cupid
        outer_low = inner_low + weight * (1.1 + 0.5 * units[17]) * _BOW**0.8
        if person.beard in ("moustache", "full"):
            hair = outer_top - 0.015
            self._fill(
                _band(x * 1.12, hair - 0.10 * _BOW**0.5 - 0.02, hair + 0.02),
                _mix(person.skin, person.hair, 0.9),
            )
        self._fill(_band(x, inner_low, outer_low), _times(person.lips, 1.06))
        self._fill(_band(x, outer_top, inner_top), _times(person.lips, 0.86))
        opening = inner_low - inner_top
        if opening.max() > 0.03:
            self._fill(_band(x, inner_top, inner_low), (58, 24, 26))
            if units[26] > 0.35:
                tongue = np.clip(inner_low - 0.4 * opening, inner_top, inner_low)
                self._fill(_band(x * 0.62, tongue, inner_low - 0.02), (158, 78, 80))
            teeth = np.minimum(inner_top + 0.075 * _BOW**0.3, inner_low)
            self._fill(_band(x * 0.9, inner_top + 0.004, teeth), (236, 230, 220))
            if units[20] * units[25] > 0.2 or units[10] * units[25] > 0.15:
                self._fill(_band(x * 0.8, np.maximum(inner_low - 0.05 * _BOW, teeth), inner_low), (222, 215, 204))
        else:
            self._line(np.stack([x, middle], axis=1), _times(person.lips, 0.5), 0.022)
        self._darken(_band(x * 0.7, outer_low + 0.02, outer_low + 0.05 + 0.03 * _BOW), 0.28)
        for side in (-1.0, 1.0):  # the fold from nose to mouth corner
            fold = 0.13 * person.age + 0.5 * units[12] + 0.45 * units[10] + 0.35 * units[9] + 0.1 * units[20]
            top = np.array([side * person.nose_width * 1.25, 0.20 - 0.05 * units[9]])
            end = np.array([side * (half + 0.07), corner + 0.04])
            bulge = np.array([side * (0.05 + 0.06 * units[12]), 0.0])
            self._crease(_bend(top, end, bulge), fold)
            self._crease(_at((side * half, corner), (side * (half + 0.04), corner + 0.05 * units[15])), 0.5)

    def _eye(self, side: float) -> None:
        person, units = self.person, self.units
        centre_x, centre_y = side * person.eye_gap, -0.14
        closing = 1 - 0.75 * units[43]
        tall = person.eye_size * person.eye_height
        above = tall * (1 + 0.75 * units[5] - 0.25 * units[7] - 0.2 * units[6] - 0.25 * units[9]) * closing
        below = tall * 0.62 * (1 + 0.15 * units[5] - 0.75 * units[7] - 0.85 * units[6] - 0.5 * units[9])
        x = centre_x + person.eye_size * _ACROSS
        slant = centre_y - 0.018 * side * _ACROSS + 0.02 * units[15] * side * _ACROSS
        top, low = slant - max(above, 0.012) * _BOW**0.75, slant + max(below, 0.008) * _BOW**0.75
        self._darken(_ellipse(centre_x, centre_y - 0.05, person.eye_size * 1.3, 0.13), 0.22 + 0.12 * units[4])
        self._fill(_band(x, top, low), (234, 230, 226))
        radius = 0.072
        ring = np.clip(np.abs(x - centre_x) / radius, 0, 1)
        near = ring < 1
        height = radius * np.sqrt(1 - ring[near] ** 2)
        eye_x, eye_y = x[near], centre_y - 0.012
        for part, colour in ((1.0, person.iris), (0.48, (14.0, 12.0, 12.0))):
            iris_x = centre_x + part * (eye_x - centre_x)
            lid_top, lid_low = np.interp(iris_x, x, top), np.interp(iris_x, x, low)
            iris_top, iris_low = (
                np.maximum(eye_y - part * height, lid_top),
                np.minimum(eye_y + part * height, lid_low),
            )
            self._fill(_band(iris_x, iris_top, np.maximum(iris_top, iris_low)), colour)
        if above > 0.03:
            self._fill(
                _ellipse(centre_x + 0.022 * np.sign(person.light[0]), eye_y - 0.02, 0.015, 0.015),
                (250, 250, 250),
            )
        self._line(np.stack([x, top], axis=1), _times(person.hair, 0.45), 0.028)
        self._line(np.stack([x, low], axis=1), _times(person.skin, 0.62), 0.014)
        lid = top - 0.035 - 0.012 * _BOW
        self._crease(np.stack([x, lid], axis=1), 0.45 * (1 - 0.5 * units[5]))
        bag = 0.15 + 0.35 * person.age + 0.5 * units[6] + 0.3 * units[7]
        self._crease(np.stack([x, low + 0.05 + 0.02 * _BOW], axis=1), 0.6 * bag)

    def _brow(self, side: float) -> None:
        person, units = self.person, self.units
        height = -0.14 - person.brow_height
        inner = (
            0.125 - 0.035 * units[4],
            height + 0.03 - 0.15 * units[1] + 0.12 * units[4] + 0.05 * units[9],
        )
        peak = (0.36, height - 0.035 - 0.08 * units[1] - 0.10 * units[2] + 0.08 * units[4] + 0.05 * units[9])
        outer = (0.55, height + 0.05 - 0.12 * units[2] + 0.02 * units[4] + 0.02 * units[1])
        t = np.linspace(0.0, 1.0, 11)[:, None]
        knee = 2 * np.array(peak) - (np.array(inner) + np.array(outer)) / 2  # the quadratic through the peak
        curve = (1 - t) ** 2 * np.array(inner) + 2 * t * (1 - t) * knee + t**2 * np.array(outer)
        curve[:, 0] *= side
        thick = person.brow_weight * (1.0 - 0.65 * t[:, 0] ** 2)
        brow = np.concatenate([curve - [0.0, 1.0] * thick[:, None], (curve + [0.0, 0.6] * thick[:, None])[::-1]])
        self._fill(brow, _mix(_times(person.skin, 0.6), person.hair, 0.8))

    def _wrinkles(self) -> None:
        units, age = self.units, self.person.age
        raised = (units[1] + units[2]) / 2
        for row in range(3):
            line = np.stack([_ACROSS * (0.38 - 0.04 * row), -0.55 - 0.09 * row - 0.05 * _BOW * units[1]], axis=1)
            self._crease(line, (0.15 + 0.5 * age) * raised + 0.12 * age)
        for side in (-1.0, 1.0):
            self._crease(_at((side * 0.05, -0.36), (side * 0.045, -0.22)), 0.85 * units[4] - 0.3 * units[2] + 0.1 * age)
            for row in range(3):
                crow = _at((side * 0.50, -0.15 + 0.04 * row), (side * 0.62, -0.20 + 0.07 * row))
                self._crease(crow, 0.5 * units[6] + 0.25 * age * units[7])
            self._darken(_ellipse(side * 0.42, 0.20 - 0.05 * units[6], 0.17, 0.035), 0.30 * units[6] + 0.15 * units[12])
            self._darken(_ellipse(side * 0.10, -0.05, 0.035, 0.05), 0.6 * units[9])
        for row in range(2):
            bridge = np.stack([_ACROSS * 0.08, -0.16 + 0.06 * row + 0.02 * _BOW], axis=1)
            self._crease(bridge, 0.9 * units[9])
        chin = _ellipse(0, 0.80 + 0.1 * units[26], 0.12, 0.04)
        self._darken(chin, 0.5 * units[17])

    def _hair(self) -> None:
        person = self.person
        if person.haircut == "bald":
            return
        thick = {"short": 1.05, "side": 1.10, "long": 1.13, "fringe": 1.13}[person.haircut]
        arc = np.linspace(-1.62, 1.62, 25) if person.haircut in ("long", "fringe") else np.linspace(-1.45, 1.45, 25)
        skull = np.stack([person.width * thick * np.sin(arc), -thick * np.cos(arc)], axis=1)
        t = np.linspace(1.0, -1.0, 21)
        drop = np.abs(t) ** 5 * (abs(person.hairline) - 0.1)
        line = person.hairline + drop
        if person.haircut == "side":
            line = line - 0.10 * t
        elif person.haircut == "fringe":
            line = person.hairline + 0.22 + 0.03 * np.cos(9 * t) + np.abs(t) ** 6 * 0.4
        inner = np.stack([t * person.width * 0.97, line], axis=1)
        self._fill(np.concatenate([skull, inner]), person.hair, flat=True)

    def _glasses(self) -> None:
        colour = (34.0, 30.0, 32.0)
        power = 1.0 if self.person.glasses == "round" else 0.55
        for side in (-1.0, 1.0):
            ring = _ellipse(0, 0, 1, 1)
            ring = np.sign(ring) * np.abs(ring) ** power
            rim = ring * [0.21, 0.175] + [side * self.person.eye_gap, -0.12]
            self._line(np.concatenate([rim, rim[:2]]), colour, 0.026)
            self._line(_at((side * (self.person.eye_gap + 0.21), -0.14), (side * 0.78, -0.12)), colour, 0.026)
        self._line(_at((-0.12, -0.13), (0.0, -0.16), (0.12, -0.13)), colour, 0.026)

    def _light(self) -> NDArray[np.float32]:
        """Return the brightness of each pixel from a light on the ellipsoid of the head."""
        person = self.person
        x = (_GRID_X - np.float32(SIDE / 2 + person.shift[0])) / np.float32(person.size * person.width * 1.12)
        y = (_GRID_Y - np.float32(SIDE * 0.52 + person.shift[1])) / np.float32(person.size * 1.15)
        z = np.sqrt(np.maximum(np.float32(0.04), 1 - x * x - y * y))
        lit = x * np.float32(person.light[0]) + y * np.float32(person.light[1]) + z * np.float32(person.light[2])
        shading: NDArray[np.float32] = 1 + np.float32(person.contrast) * (lit.clip(-0.2, 1) - np.float32(0.85))
        return shading

    def _occlude(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Lay a hand, scarf, strand of hair or nearer edge over a finished picture."""
        if self.person.occluder == "none":
            return picture
        cover = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(cover)
        for points, colour in self._occluders():
            pixels = self._project(points, flat=True)
            draw.polygon(pixels.ravel().tolist(), tuple(int(min(255.0, value)) for value in colour))
        return np.asarray(cover, np.float32)

    def _occluders(self) -> list[tuple[_Points, Colour]]:
        person, place = self.person, self.person.occluder_place
        side = 1.0 if place > 0 else -1.0
        if person.occluder == "edge":
            reach = side * (0.62 + 0.2 * abs(place))
            return [(_at((reach, -3), (3 * side, -3), (3 * side, 3), (reach, 3)), person.clothes)]
        if person.occluder == "scarf":
            rim = 0.72 + 0.1 * place + 0.12 * _BOW
            folds = [(_band(2.4 * _ACROSS, rim + 0.2 * k, rim + 2.0), 1 - 0.14 * k) for k in range(3)]
            return [(fold, _times(person.clothes, shade)) for fold, shade in folds]
        if person.occluder == "strand":
            down = np.linspace(-1.0, 0.3, 17)
            left, right = side * (0.25 + 0.22 * (down + 1) ** 2), side * (0.5 + 0.16 * (down + 1))
            strand = np.concatenate([np.stack([left, down], axis=1), np.stack([right, down], axis=1)[::-1]])
            return [(strand, _times(person.hair, 0.9))]
        shapes = [(_ellipse(side * 0.55, 1.15, 0.36, 0.42), _times(person.skin, 0.9))]
        for finger in range(4):
            tip = _ellipse(side * (0.28 + 0.155 * finger), 0.78 - 0.04 * finger * (3 - finger), 0.08, 0.36)
            shapes.append((tip, _times(person.skin, 0.98 - 0.09 * (finger % 2))))
        return shapes


def _photograph(picture: NDArray[np.float32], person: Person, rng: np.random.Generator) -> Pictures:
    """Expose, tint, blur and add the sensor's noise."""
    tint = np.array([1 + person.warmth, 1.0, 1 - person.warmth], np.float32) * np.float32(person.exposure)
    exposed = (picture * tint).clip(0, 255).astype(np.uint8)
    if person.blur > 0.15:
        exposed = np.asarray(Image.fromarray(exposed).filter(ImageFilter.GaussianBlur(person.blur)))
    noise = rng.standard_normal((SIDE, SIDE, 3), np.float32) * np.float32(person.noise)
    return (exposed + noise).clip(0, 255).astype(np.uint8)


def _at(*points: tuple[float, float]) -> _Points:
    return np.array(points, np.float64)


def _ellipse(x: float, y: float, half_width: float, half_height: float) -> _Points:
    return np.stack([x + half_width * np.sin(_ROUND), y - half_height * np.cos(_ROUND)], axis=1)


def _band(x: _Points, top: _Points, low: _Points) -> _Points:
    """Return the outline of what lies between two curves over the same x."""
    return np.concatenate([np.stack([x, top], axis=1), np.stack([x, low], axis=1)[::-1]])


def _bend(start: _Points, end: _Points, bulge: _Points) -> _Points:
    t = np.linspace(0.0, 1.0, 9)[:, None]
    curve: _Points = (1 - t) * start + t * end + 4 * t * (1 - t) * bulge
    return curve


def _times(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    mixed = [a + share * (b - a) for a, b in zip(first, second, strict=True)]
    return mixed[0], mixed[1], mixed[2]
