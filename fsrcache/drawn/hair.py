"""The parts of a head that do not move: hair, ears, neck, beard."""

import numpy as np

from fsrcache.drawn.head import Pen, Points, curve, ellipse
from fsrcache.drawn.person import Person, mix, shade

_ACROSS = np.linspace(-1, 1, 17)
_LOCK, _PART = np.divmod(np.linspace(1.2, len(_ACROSS) - 2.2, 24)[:, None], 1)
_LOCK = _LOCK[:, 0].astype(int)
_SHORTEST = 5.0  # pixels: shorter locks, at the far side of a turned head, only crowd
# style: how far hair stands off the skull, how far back hair falls (y; None for none), how low the temples are covered
_CUTS: dict[str, tuple[float, float | None, float]] = {
    "short": (1.10, None, -0.02),
    "fringe": (1.12, None, 0.05),
    "parted": (1.12, None, -0.05),
    "long": (1.12, 1.55, 0.10),
    "bob": (1.14, 0.78, 0.12),
    "curly": (1.17, 0.55, 0.10),
    "afro": (1.30, 0.40, 0.05),
    "bun": (1.05, None, -0.05),
    "buzz": (1.02, None, -0.10),
    "receding": (1.05, None, -0.02),
}


def draw_behind(pen: Pen, person: Person, *, drop: float) -> None:
    """Draw the parts behind the face: back hair, shoulders, neck and ears."""
    shape = person.shape
    head = pen.head
    centre = head.centre
    cut = _CUTS.get(person.style)
    dark = shade(person.hair, 0.72)
    if cut and cut[1] is not None:
        wide, fall = shape.head_width * cut[0] * 1.04, cut[1]
        turn = np.linspace(0, np.pi, 15)
        crown = curve(wide * np.cos(turn), -cut[0] * 0.98 * np.sin(turn))
        sway = 1 + 0.06 * np.array(person.strands[:4])
        sides = np.array(
            [
                [-wide * sway[0], fall * 0.5],
                [-wide * 1.02 * sway[1], fall],
                [wide * 1.02 * sway[2], fall],
                [wide * sway[3], fall * 0.5],
            ]
        )
        points = np.concatenate((crown, sides))
        pen.fill(head.project(np.column_stack((points, np.full(len(points), -0.25)))), dark)
    if person.style == "bun":
        pen.fill(head.project(np.array([[0.0, -1.0, -0.3]])) + ellipse(0, -5, 11, 10), dark)
    if person.style == "headscarf":
        pen.fill(head.outline(drop=drop, swell=1.18), shade(person.cloth, 0.8))
    jaw = head.project(np.array([[0.0, 0.85, 0.1]]))[0]
    half = head.scale * 0.36
    foot = centre[0] + 0.3 * (jaw[0] - centre[0])
    collar = 108.0 + 0.2 * (centre[1] - 50)
    pen.fill(
        np.array(
            [
                [jaw[0] - half, jaw[1] - 12],
                [foot - half * 1.12, 101],
                [foot + half * 1.12, 101],
                [jaw[0] + half, jaw[1] - 12],
            ]
        ),
        person.skin,
    )
    slant = np.array(
        [
            [foot - 75, 102],
            [foot - 70, collar - 6],
            [foot - half * 1.2, collar - 17],
            [foot, collar - 5.0],
            [foot + half * 1.2, collar - 17],
            [foot + 70, collar - 6],
            [foot + 75, 102],
        ]
    )
    pen.fill(slant, person.cloth)
    pen.stroke(slant[2:5], shade(person.cloth, 0.75), 1.0)
    if person.style not in ("long", "bob", "headscarf"):
        _ears(pen, person)


def draw_head(pen: Pen, person: Person, *, drop: float) -> None:
    """Draw the bare head, and stubble or beard on the jaw."""
    pen.fill(pen.head.outline(drop=drop), person.skin)
    if person.beard:
        _beard(pen, person, drop)


def draw_front_hair(pen: Pen, person: Person) -> None:
    """Draw the hair, scarf or cap that frames the face."""
    shape = person.shape
    if person.style == "headscarf":
        _frame(pen, person, person.cloth, swell=1.12, hairline=-0.62, temple=1.0)
    elif person.style == "beanie":
        _frame(pen, person, person.cloth, swell=1.10, hairline=-0.52, temple=-0.35)
        edge = pen.head.visible(_hairline(person, -0.52, -0.35))
        pen.stroke_face(edge, shade(person.cloth, 0.75), 2.2)
    elif person.style in _CUTS:
        swell, _, temple = _CUTS[person.style]
        colour = mix(person.hair, person.skin, 0.35) if person.style == "buzz" else person.hair
        _frame(pen, person, colour, swell=swell, hairline=shape.hairline, temple=temple)


def _ears(pen: Pen, person: Person) -> None:
    shape = person.shape
    for side in (-1, 1):
        points = ellipse(side * (shape.head_width + 0.015), shape.eye_level + 0.16, 0.075, 0.165, angle=0.12 * side)
        lobe = np.column_stack((points, np.full(len(points), -0.05)))
        pen.fill(pen.head.project(lobe), shade(person.skin, 0.92))
        inner = ellipse(
            side * (shape.head_width + 0.025), shape.eye_level + 0.15, 0.04, 0.10, angle=0.12 * side, points=12
        )
        pen.fill(
            pen.head.project(np.column_stack((inner, np.full(len(inner), -0.05)))),
            mix(shade(person.skin, 0.72), (150, 50, 50), 0.15),
        )


def _hairline(person: Person, level: float, temple: float) -> Points:
    """Return the edge of the hair on the forehead [17, 2], from the left temple to the right."""
    shape = person.shape
    x = shape.head_width * 0.985 * _ACROSS
    rise = np.abs(_ACROSS) ** 3.2
    y = level + (temple - level) * rise
    if person.style == "fringe":
        y = np.where(
            rise < 0.55, shape.eye_level - shape.brow_gap - 0.06 - 0.04 * np.cos(7 * _ACROSS + person.parting), y
        )
    elif person.style in ("parted", "long", "bob"):
        y = (
            y
            - 0.10 * np.exp(-(((_ACROSS - 0.6 * person.parting) / 0.22) ** 2))
            + 0.10 * np.abs(_ACROSS - 0.6 * person.parting)
        )
    elif person.style == "receding":
        y = y - 0.20 * np.exp(-(((np.abs(_ACROSS) - 0.5) / 0.25) ** 2)) - 0.03
    elif person.style in ("curly", "afro", "short"):
        y = y + 0.03 * np.array(person.strands[:17]) * (1 - rise)
    return curve(x, y)


def _frame(
    pen: Pen, person: Person, colour: tuple[float, float, float], *, swell: float, hairline: float, temple: float
) -> None:
    """Fill between the top of a swollen skull and the hairline, with a few locks lighter and darker."""
    shape = person.shape
    head = pen.head
    turn = np.pi * (1 - (_ACROSS + 1) / 2)  # from left to right over the crown
    wobble = 1 + (0.05 if person.style in ("curly", "afro") else 0.012) * np.array(person.strands[:17]) * np.sin(turn)
    reach = shape.head_width * (1 + (swell - 1) * np.sqrt(np.sin(turn).clip(0)))
    crown = np.zeros((len(turn), 3))
    crown[:, 0] = reach * np.sign(_ACROSS) * np.abs(np.cos(turn)) ** 0.8 * wobble
    crown[:, 1] = 0.05 - 1.06 * swell * np.sin(turn) * wobble
    crown[[0, -1], 1] = temple
    yaw = head.scene.yaw
    crown[:, 0] *= np.hypot(np.cos(yaw), 1.12 * np.sin(yaw)) / np.cos(yaw)  # the skull is deeper than wide
    top = head.project(crown)
    edge = head.on_face(head.visible(_hairline(person, hairline, temple)), 0.02)
    pen.fill(np.concatenate((top, edge[::-1])), colour)
    if person.style in ("buzz", "beanie", "headscarf"):
        return
    locks = top[_LOCK] * (1 - _PART) + top[_LOCK + 1] * _PART, edge[_LOCK] * (1 - _PART) + edge[_LOCK + 1] * _PART
    bend = (locks[0] + locks[1]) / 2 + (2.5 * person.parting, -0.5)
    lines = np.stack((0.88 * locks[0] + 0.12 * locks[1], bend, locks[1]), 1)  # [24, 3, 2]
    for line, tone in zip(lines, person.strands, strict=True):
        if np.abs(line[0] - line[2]).max() > _SHORTEST:
            pen.stroke(line, shade(colour, 1 + 0.20 * tone), 1.0)


def _beard(pen: Pen, person: Person, drop: float) -> None:
    """Draw hair on the jaw and above the lip, in layers that grow denser inwards."""
    shape = person.shape
    thick = 0.22 if person.beard == "stubble" else 0.85
    head, lip, wide = pen.head, shape.mouth_level, shape.mouth_width * 1.12
    for inset, cover in ((0.0, 0.4), (0.03, 0.7), (0.06, 1.0)):
        colour = mix(person.skin, shade(person.hair, 0.9), thick * cover)
        if person.beard in ("stubble", "full"):
            jaw = head.outline(drop=drop)[2:21]  # right cheek, chin, left cheek
            cheeks = 0.36 + 0.13 * np.cos(0.5 * np.pi * _ACROSS) ** 2 - 0.10 * np.abs(_ACROSS) ** 3 + inset
            edge = head.on_face(head.visible(curve(shape.head_width * 0.84 * _ACROSS, cheeks)))
            pen.fill(np.concatenate((jaw, edge)), colour)
        elif person.beard == "goatee":
            pen.fill_face(ellipse(0, lip + 0.21 + drop, wide * 0.72 - inset, 0.19 - inset, points=16), colour, 0.02)
        upper = curve(
            (wide - inset) * _ACROSS, lip + 0.07 * np.abs(_ACROSS) - 0.11 * np.sqrt(1 - _ACROSS**2) - 0.02 + 0.5 * inset
        )
        lower = curve((wide - inset) * _ACROSS[::-1], lip + 0.08 * np.abs(_ACROSS))
        pen.fill_face(np.concatenate((upper, lower)), colour, 0.04)
