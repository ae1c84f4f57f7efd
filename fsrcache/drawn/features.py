"""The features that move: brows, eyes, nose and mouth as curves bent by the action units, and the creases they make."""

import numpy as np

from fsrcache.drawn.action_units import Units
from fsrcache.drawn.head import Pen, Points, curve, ellipse
from fsrcache.drawn.person import Person, Scene, mix, shade

_T = np.linspace(-1, 1, 19)  # along an eye or the lips
_ARCH = 1 - _T**2
_BROW = np.linspace(0, 1, 9)  # from the inner to the outer end
_FALL = np.linspace(0, 1, 5)  # along a crease
_FAINT = 0.03  # creases shallower than this are not seen
_TEETH = (238.0, 232.0, 220.0)
_SCLERA = (236.0, 232.0, 228.0)
_THROAT = (74.0, 24.0, 26.0)
_TONGUE = (190.0, 92.0, 92.0)
_BLOOD = (168.0, 52.0, 58.0)
_PUPIL = (14.0, 12.0, 12.0)
_LASH = (34.0, 24.0, 22.0)


def mouth_opening(units: Units) -> float:
    """Return how far the lips part in the middle, in half head heights."""
    return 0.035 * units[25] + 0.16 * units[26] + 0.27 * units[27] + 0.03 * units[16]


def draw_nose(pen: Pen, person: Person, units: Units) -> None:
    """Draw nostrils, wings and the shadow under the tip; the rest of the nose is relief."""
    shape = person.shape
    base, wing = (
        shape.nose_level - 0.035 * units[9] - 0.01 * units[10],
        shape.nose_width * (1 + 0.14 * units[9] + 0.06 * units[12]),
    )
    dark, darker = shade(person.skin, 0.68), mix(shade(person.skin, 0.42), (60, 20, 20), 0.3)
    tip = curve(wing * 0.55 * _T, base + 0.018 + 0.012 * _ARCH)
    pen.stroke_face(tip, shade(person.skin, 0.78), 0.7, 0.08)
    for side in (-1, 1):
        bend = np.linspace(-0.9, 1.25, 7)
        line = curve(side * wing * (0.80 + 0.20 * np.cos(bend)), base - 0.035 + 0.05 * np.sin(bend))
        pen.stroke_face(line, dark, 0.7 + 0.5 * units[9], 0.03)
        pen.fill_face(
            ellipse(side * wing * 0.48, base + 0.005, wing * 0.24, 0.019, angle=-0.25 * side, points=12), darker, 0.07
        )


def draw_eyes(pen: Pen, person: Person, scene: Scene, units: Units) -> None:
    """Draw both eyes: white, iris, pupil, highlight, lids, lashes and the fold above."""
    shape = person.shape
    lifted = (
        1 + 0.75 * units[5] - 0.30 * units[7] - 0.22 * units[6] - 0.15 * units[4] - 0.2 * units[9] - 0.85 * units[43]
    )
    upper = shape.eye_height * max(0.06, lifted)
    lower = (
        shape.eye_height * 0.72 * max(0.12, 1 - 0.50 * units[7] - 0.55 * units[6] - 0.45 * units[9] + 0.12 * units[5])
    )
    oblique = 0.045 * max(0.0, units[1] - 0.8 * units[2]) - 0.025 * units[4]  # how far the inner part of the lid rises
    radius = 0.060
    gaze_x = float(np.clip(0.035 * scene.gaze[0] - 0.05 * scene.yaw, -0.06, 0.06))
    gaze_y = float(np.clip(0.015 * scene.gaze[1], -0.02, 0.02)) - 0.004
    for side in (-1, 1):
        x = side * shape.eye_distance + shape.eye_width * _T
        outward = _T * side
        skew = shape.eye_level - shape.eye_tilt * shape.eye_width * outward
        top = skew - upper * _ARCH**0.75 * (1 - 0.12 * outward) + oblique * outward * _ARCH
        bottom = np.maximum(skew + lower * _ARCH**0.9 * (1 + 0.15 * outward), top)
        rim, floor = curve(x, top), curve(x, bottom)
        fold = top - shape.lid_fold * (0.45 + 0.55 * _ARCH) * (1 + 0.4 * units[43] + 0.25 * units[5]) + 0.02 * units[4]
        lid = mix(shade(person.skin, 0.84), (110, 50, 80), 0.35 * person.makeup)
        pen.fill_face(np.concatenate((curve(x, fold), rim[::-1])), lid)
        pen.stroke_face(curve(x, fold), shade(person.skin, 0.60), 0.8)
        pen.fill_face(np.concatenate((rim, floor[::-1])), _SCLERA)
        middle_x, middle_y = side * shape.eye_distance + gaze_x, shape.eye_level + gaze_y
        for size, colour in ((1.0, shade(person.iris, 0.55)), (0.86, person.iris), (0.46, _PUPIL)):
            disc = ellipse(middle_x, middle_y, size * radius, size * radius, points=16)
            above, below = np.interp(disc[:, 0], x, top), np.interp(disc[:, 0], x, bottom)
            disc[:, 1] = np.minimum(np.maximum(disc[:, 1], above), below)
            pen.fill_face(disc, colour)
        if upper > 0.35 * shape.eye_height:
            glint = ellipse(
                middle_x + 0.022 * (1 if scene.light[0] > 0 else -1), middle_y - 0.022, 0.014, 0.014, points=8
            )
            pen.fill_face(glint, (255.0, 255.0, 255.0))
        pen.stroke_face(floor[2:-2], mix(shade(person.skin, 0.62), _BLOOD, 0.25), 0.6 + 0.3 * units[7])
        pen.stroke_face(rim, mix(_LASH, shade(person.skin, 0.4), 0.3 * (1 - person.makeup)), 1.15 + 0.5 * person.makeup)
        inner = -side  # the inner corner is towards the nose
        pen.fill_face(
            ellipse(float(x[0 if inner < 0 else -1]), float(skew[0 if inner < 0 else -1]), 0.014, 0.010, points=8),
            mix(person.skin, _BLOOD, 0.45),
        )


def draw_brows(pen: Pen, person: Person, units: Units) -> None:
    """Draw both brows: raised inside by AU1, outside by AU2, lowered and drawn together by AU4."""
    shape = person.shape
    inner_x = shape.eye_distance - shape.eye_width * 1.05 - 0.045 * units[4] + 0.01 * units[2]
    x = inner_x + (2.25 * shape.eye_width) * _BROW
    y = (
        shape.eye_level
        - shape.brow_gap
        - shape.brow_arch * np.sin(np.pi * _BROW**0.85)
        - shape.brow_slope * (_BROW - 0.5)
        - 0.125 * units[1] * (1 - _BROW) ** 1.3
        - 0.130
        * units[2]
        * np.sin(0.5 * np.pi * np.minimum(1, _BROW / 0.65))
        * (1 - 0.35 * np.maximum(0, _BROW - 0.65))
        + units[4] * (0.105 * (1 - _BROW) + 0.02 * _BROW)
        + 0.045 * units[9] * (1 - _BROW)
        + 0.012 * units[6]
    )
    thick = shape.brow_thickness * (0.75 + 0.45 * np.minimum(1, _BROW * 3) - 0.85 * _BROW**2) * (1 + 0.15 * units[4])
    for side in (-1, 1):
        upper, lower = curve(side * x, y - thick), curve(side * x, y + thick)
        pen.fill_face(np.concatenate((upper, lower[::-1])), person.brow, 0.02)
        pen.stroke_face(curve(side * x[1:7], (y - 0.3 * thick)[1:7]), shade(person.brow, 1.25), 0.5, 0.02)


def draw_mouth(pen: Pen, person: Person, units: Units) -> None:
    """Draw lips, and between them teeth, tongue and throat."""
    shape = person.shape
    press = 0.5 * max(units[23], 0.9 * units[24])
    width = shape.mouth_width * (
        1
        + 0.32 * units[12]
        + 0.28 * units[20]
        - 0.12 * units[23]
        - 0.06 * units[24]
        - 0.14 * units[27]
        - 0.08 * units[17]
        - 0.05 * units[26]
    )
    corner = shape.mouth_rest - 0.115 * units[12] + 0.085 * units[15] + 0.035 * units[20] + 0.02 * units[16]
    line = (
        shape.mouth_level
        + corner * np.abs(_T) ** 1.7
        + (0.018 * units[12] - 0.035 * units[17] - 0.012 * units[15]) * _ARCH
    )
    gape = mouth_opening(units)
    x = width * _T
    sneer = 0.055 * units[10] + 0.03 * units[9]
    raised = sneer * _ARCH * (0.55 + 0.9 * _T**2)
    inner_upper = line - 0.18 * gape * _ARCH - raised
    follow = 1.0 if gape < 0.01 else 0.35  # a closed lower lip goes along with the upper
    inner_lower = np.maximum(inner_upper, line + 0.82 * gape * _ARCH**0.75 - follow * raised * (0.6 + 0.4 * units[17]))
    bow = 1 - 0.28 * np.exp(-((_T / 0.13) ** 2)) + 0.10 * np.exp(-(((np.abs(_T) - 0.28) / 0.16) ** 2))
    upper = shape.lip_upper * (1 - press) * (1 - 0.25 * units[12] - 0.15 * units[20] - 0.25 * units[10])
    lower = shape.lip_lower * (1 - press) * (1 - 0.18 * units[12] - 0.12 * units[20] + 0.12 * units[17])
    outer_upper = inner_upper - upper * _ARCH**0.6 * bow
    outer_lower = inner_lower + lower * _ARCH**0.65
    lip = mix(mix(shade(person.skin, 0.86), _BLOOD, 0.36), (176, 30, 58), 0.6 * person.makeup)
    pen.fill_face(_between(x, outer_upper, outer_lower), lip, 0.03)
    pen.fill_face(_between(x, outer_upper, inner_upper), shade(lip, 0.86), 0.03)
    if float((inner_lower - inner_upper).max()) > 0.012:
        pen.fill_face(_between(x, inner_upper, inner_lower), _THROAT, 0.02)
        if gape > 0.09:
            tongue = np.maximum(
                inner_upper, inner_lower - 0.45 * gape * _ARCH**0.5 * (1 - 0.25 * np.exp(-((_T / 0.15) ** 2)))
            )
            pen.fill_face(_between(x[3:-3], tongue[3:-3], inner_lower[3:-3]), _TONGUE, 0.02)
        show = 0.020 + 0.045 * units[12] + 0.035 * units[10] + 0.025 * units[20]
        teeth = np.minimum(inner_lower, inner_upper + show * _ARCH**0.3)
        pen.fill_face(_between(x[1:-1], inner_upper[1:-1], teeth[1:-1]), _TEETH, 0.02)
        below = 0.028 * max(units[16], 0.5 * units[20])
        if below > 0.008:
            gum = np.maximum(inner_upper, inner_lower - below * _ARCH**0.4)
            pen.fill_face(_between(x[2:-2], gum[2:-2], inner_lower[2:-2]), shade(_TEETH, 0.93), 0.02)
    else:
        pen.stroke_face(curve(x, inner_upper), mix(shade(lip, 0.5), (60, 20, 20), 0.3), 0.8 + 0.3 * press, 0.03)
    middle = slice(5, 14)
    gloss = curve(x[middle] * 0.8, (inner_lower + 0.42 * lower * _ARCH**0.65)[middle])
    pen.stroke_face(gloss, mix(lip, (255, 225, 215), 0.30), 0.33 + 5 * lower * (1 - press), 0.03)
    for side in (0, -1):
        pen.fill_face(ellipse(float(x[side]), float(line[side]), 0.016, 0.013, points=8), shade(lip, 0.6), 0.03)


def draw_creases(pen: Pen, person: Person, units: Units) -> None:
    """Draw the lines that muscles and years put into skin."""
    shape = person.shape
    years = max(0.0, shape.age - 0.45)
    raised = max(units[1], units[2])
    if (depth := 0.55 * raised + 0.55 * years - 0.12) > _FAINT:
        reach = 0.16 + 0.22 * min(1.0, units[2] + years)
        for level in (0.0, 0.10, 0.20):
            y = shape.eye_level - shape.brow_gap - 0.19 - 0.06 * raised - level + 0.02 * np.cos(3 * _T)
            _crease(pen, person, curve(reach * _T, y), depth)
    for side in (-1, 1):
        if (depth := 0.85 * units[4] + 0.4 * years - 0.12) > _FAINT:
            _crease(pen, person, curve(side * (0.035 + 0.02 * _FALL), shape.eye_level - 0.22 + 0.13 * _FALL), depth)
        if (depth := 0.9 * units[9] - 0.12) > _FAINT:
            for low in (0.0, 0.05):
                _crease(
                    pen,
                    person,
                    curve(side * (0.02 + 0.07 * _FALL), shape.eye_level - 0.02 + low + 0.045 * _FALL),
                    depth,
                )
        if (depth := 0.6 * units[6] + 0.7 * years - 0.15) > _FAINT:
            outer = shape.eye_distance + shape.eye_width + 0.03
            for slope in (-0.05, 0.0, 0.05):
                foot = curve(side * (outer + 0.09 * _FALL), shape.eye_level + 0.01 + 0.6 * slope + slope * _FALL)
                _crease(pen, person, foot, depth)
        if (depth := 0.55 * units[12] + 0.6 * max(units[9], units[10]) + 0.6 * years - 0.12) > _FAINT:
            start = shape.nose_width + 0.03
            reach = shape.mouth_width * (1.10 + 0.36 * units[12]) + 0.05 - start
            x = start + reach * _FALL + 0.03 * np.sin(np.pi * _FALL)
            y = shape.nose_level - 0.05 - 0.03 * units[9] + (shape.mouth_gap + 0.06 - 0.05 * units[12]) * _FALL
            _crease(pen, person, curve(side * x, y), depth)
        if (depth := 0.35 * max(units[6], units[7]) + 0.6 * years - 0.12) > _FAINT:
            x = shape.eye_distance + 0.9 * shape.eye_width * _T[4:15]
            _crease(pen, person, curve(side * x, shape.eye_level + 0.115 + 0.03 * _ARCH[4:15]), depth)
        if (depth := 0.5 * units[15] + 0.6 * years - 0.15) > _FAINT:
            x = shape.mouth_width + 0.05 + 0.02 * _FALL
            _crease(pen, person, curve(side * x, shape.mouth_level + 0.07 + 0.09 * _FALL), depth)


def _crease(pen: Pen, person: Person, line: Points, depth: float) -> None:
    pen.stroke_face(line, shade(person.skin, 1 - 0.42 * min(depth, 0.9)), 0.6 + 0.35 * depth)


def _between(x: Points, upper: Points, lower: Points) -> Points:
    """Return the area between two curves over the same x as one outline."""
    return np.concatenate((curve(x, upper), curve(x[::-1], lower[::-1])))
