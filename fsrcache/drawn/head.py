"""The head in space and the pen that draws on it: pose, projection, outline, antialiased shapes."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fsrcache.drawn.person import Colour, Person, Scene

SIDE = 100
OVERSAMPLING = 3  # shapes are drawn this much larger, then averaged

Points = NDArray[np.float64]

_SKULL_DEPTH = 1.06  # of its width
_ANCHOR = np.array([0.0, 0.16, 0.72])  # a point of the face that moves little when the head turns
_QUARTER = np.linspace(0, np.pi / 2, 12)


class Head:
    """A posed head: the ellipsoid its features lie on and the way from head coordinates to pixels."""

    def __init__(self, person: Person, scene: Scene) -> None:
        shape = person.shape
        self.person = person
        self.scene = scene
        self.axes = np.array([shape.head_width * 1.06, 1.2, 0.88])
        self.rotation = _rotation(scene.roll, scene.yaw, scene.pitch)  # head -> camera
        self.scale = scene.scale
        self._curvature = 1 / self.axes[:2] ** 2
        drift = self.rotation @ _ANCHOR
        self.centre = np.array(
            [
                50 + scene.shift[0] - 0.75 * scene.scale * drift[0],
                51.5 + scene.shift[1] - 0.75 * scene.scale * (drift[1] - _ANCHOR[1]),
            ]
        )
        self._to_pixels = np.vstack((self.rotation[:2].T * scene.scale, self.centre))  # [4, 2]

    def on_face(self, points: Points, lift: float = 0.0) -> Points:
        """Turn points [n, 2] of the face, lifted off the skin, into pixels [n, 2]."""
        inside = 1 - (points * points) @ self._curvature
        solid = np.ones((len(points), 4))
        solid[:, :2] = points
        solid[:, 2] = self.axes[2] * np.sqrt(np.maximum(inside, 0.0)) + lift
        pixels: Points = solid @ self._to_pixels
        return pixels

    def project(self, points: Points) -> Points:
        """Turn points [n, 3] in head coordinates into pixels [n, 2] of the picture."""
        pixels: Points = points @ self.rotation[:2].T * self.scale + self.centre
        return pixels

    def visible(self, points: Points) -> Points:
        """Move points [n, 2] of the face that a turned head hides to the edge of what is seen."""
        across, deep = self.axes[0] * np.cos(self.scene.yaw), self.axes[2] * np.sin(self.scene.yaw)
        edge = 0.90 * self.axes[0] * across / np.hypot(across, deep) * np.sqrt(1 - (points[:, 1] / self.axes[1]) ** 2)
        x = np.minimum(points[:, 0], edge) if deep > 0 else np.maximum(points[:, 0], -edge)
        return curve(x, points[:, 1])

    def outline(self, *, drop: float = 0.0, swell: float = 1.0) -> Points:
        """Return the silhouette [n, 2] in pixels: clockwise from the right temple over chin, left temple and crown.

        Each level of the head is an ellipse; its tangent points towards the viewer make the silhouette, so a head that
        turns shows its depth. `drop` lowers the chin, `swell` widens skull and jaw (hair, beards).
        """
        shape = self.person.shape
        middle = 0.05
        low_y = middle + (1 - middle) * np.sin(_QUARTER) ** (2 / shape.jaw_square)
        low_w = shape.head_width * np.cos(_QUARTER) ** (2 / shape.chin_round)
        low_y = low_y + drop * np.clip((low_y - 0.3) / 0.6, 0, 1) ** 2
        high_y = middle - (1 + middle) * np.sin(_QUARTER)
        high_w = shape.head_width * np.cos(_QUARTER) ** 0.75
        y = np.concatenate((low_y, low_y[-2::-1], high_y[1:], high_y[-2:0:-1]))
        w = np.concatenate((low_w, -low_w[-2::-1], -high_w[1:], high_w[-2:0:-1])) * swell
        y = np.where(y < middle, middle + (y - middle) * swell, y)
        forward, sideways = np.cos(self.scene.yaw), np.sin(self.scene.yaw)
        extent = np.hypot(forward, _SKULL_DEPTH * sideways)
        x = w * forward / extent
        z = w * _SKULL_DEPTH**2 * sideways / extent
        z = z + 0.28 * np.clip(y, 0, 1) ** 2  # a chin lies before the middle of the skull
        return self.project(np.column_stack((x, y, z)))


class Pen:
    """Draws flat shapes on a large canvas whose fourth channel counts where anything was drawn."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._canvas = Image.new("RGBX", (SIDE * OVERSAMPLING, SIDE * OVERSAMPLING), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._canvas)

    def fill(self, pixels: Points, colour: Colour) -> None:
        """Fill the polygon [n, 2], in pixels."""
        self._draw.polygon((pixels * OVERSAMPLING).ravel().tolist(), fill=_ink(colour))

    def stroke(self, pixels: Points, colour: Colour, width: float) -> None:
        """Draw a line through [n, 2], in pixels."""
        wide = max(1, round(width * OVERSAMPLING))
        self._draw.line((pixels * OVERSAMPLING).ravel().tolist(), fill=_ink(colour), width=wide, joint="curve")

    def fill_face(self, points: Points, colour: Colour, lift: float = 0.0) -> None:
        """Fill the polygon [n, 2], in head coordinates, on the skin."""
        self.fill(self.head.on_face(points, lift), colour)

    def stroke_face(self, points: Points, colour: Colour, width: float, lift: float = 0.0) -> None:
        """Draw a line through [n, 2], in head coordinates, on the skin; the width is in pixels."""
        self.stroke(self.head.on_face(points, lift), colour, width)

    def finish(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return colours [100, 100, 3], already weighted by their cover, and the cover [100, 100, 1] in 0..1."""
        small = np.asarray(self._canvas.reduce(OVERSAMPLING), np.float32)
        return small[..., :3], small[..., 3:] * np.float32(1 / 255)


def ellipse(x: float, y: float, width: float, height: float, *, angle: float = 0.0, points: int = 20) -> Points:
    """Return the outline [points, 2] of an ellipse with these half axes."""
    across, down = _circle(points)
    if angle == 0.0:
        return curve(x + width * across, y + height * down)
    cosine, sine = math.cos(angle), math.sin(angle)
    return curve(
        x + (width * cosine) * across - (height * sine) * down, y + (width * sine) * across + (height * cosine) * down
    )


def curve(x: Points | float, y: Points | float) -> Points:
    """Return points [n, 2] from their coordinates; one of the two may be a single number."""
    points = np.empty((max(np.size(x), np.size(y)), 2))
    points[:, 0] = x
    points[:, 1] = y
    return points


@cache
def _circle(points: int) -> tuple[Points, Points]:
    turn = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.cos(turn), np.sin(turn)


def _rotation(roll: float, yaw: float, pitch: float) -> NDArray[np.float64]:
    """Turn about y (yaw), then x (pitch), then the line of sight (roll)."""
    c, s = np.cos([roll, yaw, pitch]), np.sin([roll, yaw, pitch])
    about_z = np.array([[c[0], -s[0], 0], [s[0], c[0], 0], [0, 0, 1]])
    about_y = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    about_x = np.array([[1, 0, 0], [0, c[2], s[2]], [0, -s[2], c[2]]])
    turned: NDArray[np.float64] = about_z @ about_x @ about_y
    return turned


def _ink(colour: Colour) -> tuple[int, int, int, int]:
    red, green, blue = colour
    return (min(255, int(red)), min(255, int(green)), min(255, int(blue)), 255)
