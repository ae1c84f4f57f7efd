"""Objects between the viewer and the face: glasses, at times a hand, a scarf, a lock of hair, a mask or a cup."""

import numpy as np

from fsrcache.drawn.head import Pen, curve, ellipse
from fsrcache.drawn.person import Person, Scene, mix, shade

_LOOSE = ("fringe", "parted", "long", "bob", "curly", "bun")  # cuts of which a lock can fall over the face
_T = np.linspace(-1, 1, 11)


def draw_glasses(pen: Pen, person: Person) -> None:
    """Draw the glasses a person wears."""
    shape = person.shape
    if not person.glasses:
        return
    head = pen.head
    frame = (24.0, 22.0, 24.0) if person.glasses != "round" else (96.0, 74.0, 48.0)
    power = 0.5 if person.glasses == "round" else 0.28  # a superellipse: round to square
    turn = np.linspace(0, 2 * np.pi, 25)
    across, down = np.cos(turn), np.sin(turn)
    size = shape.eye_distance * 0.72
    depth = 0.88 * head.axes[2] + 0.07
    ends = []
    for side in (-1, 1):
        x = side * shape.eye_distance + size * np.sign(across) * np.abs(across) ** (2 * power)
        y = shape.eye_level + 0.035 + 0.82 * size * np.sign(down) * np.abs(down) ** (2 * power)
        lens = head.project(np.column_stack((x, y, np.full(len(x), depth))))
        if person.glasses == "dark":
            pen.fill(lens, (30.0, 30.0, 36.0))
        pen.stroke(lens, frame, 1.2 if person.glasses == "square" else 0.8)
        outer = np.array([side * (shape.eye_distance + size), shape.eye_level, depth])
        ear = np.array([side * shape.head_width * 1.02, shape.eye_level + 0.02, 0.0])
        pen.stroke(head.project(np.stack((outer, ear))), frame, 0.9)
        ends.append([side * (shape.eye_distance - size), shape.eye_level, depth + 0.03])
    pen.stroke(head.project(np.array(ends)), frame, 0.9)


def draw_occlusion(pen: Pen, person: Person, scene: Scene) -> None:
    """Draw the occlusion of a scene, if there is one."""
    if scene.occlusion == "hand":
        _hand(pen, person, scene.side)
    elif scene.occlusion == "scarf":
        _scarf(pen, person)
    elif scene.occlusion == "lock" and person.style in _LOOSE:
        _lock(pen, person, scene.side)
    elif scene.occlusion == "mask":
        _mask(pen, person)
    elif scene.occlusion == "cup":
        _cup(pen, person, scene.side)


def _hand(pen: Pen, person: Person, side: float) -> None:
    """Draw four fingers on a cheek, coming from below."""
    root = pen.head.project(np.array([[side * 0.62, 0.98, 0.5]]))[0]
    tint, line = shade(person.skin, 0.95), shade(person.skin, 0.6)
    pen.fill(root + ellipse(side * 4, 14, 15, 17), tint)
    for k in range(4):
        lean = side * (0.05 + 0.16 * k) - side * 0.30
        tip = root + np.array([side * (-7.5 + 6.2 * k), -26 + 3.0 * (k - 1) ** 2])
        base = root + np.array([side * (-8 + 7.0 * k), 8])
        normal = np.array([2.9, 2.9 * lean])
        finger = np.concatenate(
            (
                np.stack((base - normal, tip - normal)),
                tip + ellipse(0, 0, 3.0, 3.2, points=12)[6:],
                np.stack((tip + normal, base + normal)),
            )
        )
        pen.fill(finger, tint)
        pen.stroke(np.stack((base + normal, tip + normal)), line, 0.7)
        pen.fill(tip + ellipse(0, -0.8, 1.6, 1.9, points=10), mix(person.skin, (255, 220, 215), 0.4))


def _scarf(pen: Pen, person: Person) -> None:
    """Draw a scarf drawn up over chin and lower lip."""
    shape = person.shape
    colour = mix(person.cloth, (200, 60, 60), 0.3)
    head = pen.head
    edge = curve(
        shape.head_width * 1.05 * _T,
        shape.mouth_level + 0.06 + 0.10 * np.array(person.strands[:11]) * 0.5 - 0.06 * _T**2,
    )
    top = head.on_face(edge, 0.05)
    pen.fill(np.concatenate((top, [[110, 104], [-10, 104]])), colour)
    for k in (3.0, 8.0, 13.0):
        pen.stroke(top + np.array([0, k]), shade(colour, 0.75), 1.2)


def _lock(pen: Pen, person: Person, side: float) -> None:
    """Draw a lock of hair across one eye."""
    fall = np.linspace(0, 1, 8)
    near = curve(side * (0.10 + 0.28 * fall), -0.72 + 1.05 * fall)
    far = curve(side * (0.40 + 0.20 * fall[::-1]), -0.68 + 0.95 * fall[::-1])
    pen.fill_face(np.concatenate((near, far)), person.hair, 0.04)
    pen.stroke_face(near * 0.6 + far[::-1] * 0.4, shade(person.hair, 1.3), 0.8, 0.04)


def _mask(pen: Pen, person: Person) -> None:
    """Draw a medical mask, worn under the nose."""
    shape = person.shape
    colour = (168.0, 204.0, 214.0)
    edge = curve(shape.head_width * 0.86 * _T, shape.nose_level + 0.07 - 0.05 * (1 - _T**2))
    foot = curve(shape.head_width * 0.70 * _T[::-1], 0.80 + 0.22 * (1 - _T**2))
    pen.fill_face(np.concatenate((edge, foot)), colour, 0.05)
    for k in (0.10, 0.20, 0.30):
        pen.stroke_face(edge * (0.97, 1.0) + (0, k), shade(colour, 0.82), 0.7, 0.06)


def _cup(pen: Pen, person: Person, side: float) -> None:
    """Draw a cup lifted before the chin."""
    shape = person.shape
    rim = pen.head.project(np.array([[side * 0.16, shape.mouth_level + 0.10, 0.7]]))[0]
    colour = mix(person.cloth, (240, 240, 240), 0.6)
    pen.stroke(rim + ellipse(side * 15, 15, 6, 8), shade(colour, 0.85), 2.2)
    pen.fill(rim + np.array([[-14, 0], [14, 0], [12, 45], [-12, 45]]), colour)
    pen.fill(rim + ellipse(0, 0, 14, 3.0), shade(colour, 0.8))
