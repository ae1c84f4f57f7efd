"""Light on the skin: a relief of soft bumps on an ellipsoid, moved by the action units, lit per pixel."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fsrcache.drawn.action_units import Units
from fsrcache.drawn.head import SIDE, Head
from fsrcache.drawn.person import Scene, Shape

# x, y, width, height, angle of a Gaussian bump in head coordinates; its height; its tint of red, green, blue.
Bump = tuple[float, ...]

_GRID = 40  # the relief is computed at this side and enlarged: all of it is soft
_BLOCK = 400  # pixels at a time: all bumps' values of them stay in the second-level cache, three times as fast
_COARSE = 7  # the background is drawn at this side
_FAR = -60.0  # the exponent where a bump ends: below, products would be subnormal, which is slow
_STRIPS = 4  # of 25 rows: 25 * 100 * 100 multiplications is below OpenBLAS's 262,144 for a second thread
_SHINE = 0.22
_SHADOW = np.array([0.88, 1.04, 1.12], np.float32)  # light passes through skin: its shadows are red


def relief(head: Head, units: Units, *, drop: float) -> NDArray[np.float32]:
    """Return the light on the head, a factor of its colours, [100, 100, 3]."""
    scene = head.scene
    points = _surface_points(head)  # [3, 1600]
    slope_x, slope_y, tint = _relief_of(np.array(_bumps(head.person.shape, units, drop), np.float32), points)
    normal = points / (head.axes**2).astype(np.float32)[:, None]
    normal /= np.sqrt(np.maximum((normal * normal).sum(0), 1e-9))
    normal[0] -= slope_x
    normal[1] -= slope_y
    normal /= np.sqrt((normal * normal).sum(0))
    lamp = (head.rotation.T @ scene.light).astype(np.float32)
    facing = lamp @ normal  # [1600]
    half = head.rotation.T @ np.add(scene.light, (0.0, 0.0, 1.0))
    shine = np.maximum((half / np.linalg.norm(half)).astype(np.float32) @ normal, 0) ** 14
    lit = scene.ambient + (1 - scene.ambient) * np.maximum(0.25 + 0.95 * facing, 0.03)
    light = np.power(lit[None], _SHADOW[:, None]) * tint * np.array(scene.light_colour, np.float32)[:, None]
    bright = ((light + _SHINE * shine) * scene.exposure).astype(np.float32)
    return _enlarge(bright.reshape(-1, _GRID, _GRID))


def _surface_points(head: Head) -> NDArray[np.float32]:
    """Return the point of the ellipsoid that each pixel sees, in head coordinates [3, 1600]; beside it, the nearest."""
    pixels = (np.arange(_GRID) + 0.5) * (SIDE / _GRID)
    x = np.broadcast_to((pixels - head.centre[0]) / head.scale, (_GRID, _GRID)).ravel()
    y = np.repeat((pixels - head.centre[1]) / head.scale, _GRID)
    back = head.rotation[:2].T  # a rotation is orthogonal: its transpose is its inverse
    origin = (back @ np.stack((x, y))).astype(np.float32)
    ray = head.rotation[2].astype(np.float32)
    squares = (1 / head.axes**2).astype(np.float32)
    a = float(squares @ (ray * ray))
    b = (squares * ray) @ origin
    c = squares @ (origin * origin) - 1
    t = (np.sqrt(np.maximum(b * b - a * c, 0)) - b) / a
    points: NDArray[np.float32] = origin + ray[:, None] * t
    return points


def _relief_of(
    bumps: NDArray[np.float32], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the slopes [1600] of the summed bumps [K, 9] along x and y, and their tint [3, 1600]."""
    x, y, width, height, angle, rise = bumps[:, :6].T
    cosine, sine = np.cos(angle), np.sin(angle)
    along = np.stack((cosine / width, sine / width, -(x * cosine + y * sine) / width), 1)  # [K, 3]: the bump's own axes
    across = np.stack((-sine / height, cosine / height, (x * sine - y * cosine) / height), 1)
    flat = np.concatenate((points[:2], np.ones((1, points.shape[1]), np.float32)))
    slopes, tint = np.empty_like(points[:2]), np.empty_like(points)
    for start in range(0, points.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        u, v = along @ flat[:, block], across @ flat[:, block]  # [K, block], in the bump's own widths
        bell = u * u
        bell += v * v
        bell *= -0.5
        np.exp(np.maximum(bell, _FAR, out=bell), out=bell)
        u *= bell
        v *= bell
        slopes[:, block] = -(along[:, :2].T * rise) @ u - (across[:, :2].T * rise) @ v
        tint[:, block] = 1 + bumps[:, 6:].T @ bell
    return slopes[0], slopes[1], np.clip(tint, 0.25, 1.5)


def _bumps(shape: Shape, units: Units, drop: float) -> list[Bump]:
    """Return the bumps of a face whose jaw is lowered by `drop`."""
    eye, nose, mouth = shape.eye_level, shape.nose_level, shape.mouth_level
    apart, wing = shape.eye_distance, shape.nose_width
    raised, smile = max(units[6], 0.8 * units[12]), units[12]
    sneer = max(units[9], 0.8 * units[10])
    corner = shape.mouth_width * (1 + 0.3 * smile + 0.25 * units[20])
    lean = np.arctan2(corner + 0.07 - wing, mouth + 0.06 - nose)
    fold = 0.012 + 0.03 * shape.age + 0.05 * smile + 0.05 * sneer + 0.015 * units[15]
    brow = eye - shape.brow_gap + 0.05 * units[4] - 0.06 * units[1]
    knit = 0.10 * units[4] + 0.03 * shape.age
    wing_y = nose - 0.03 - 0.03 * units[9]
    single: list[Bump] = [
        (0, eye + 0.10, 0.055, 0.20, 0, shape.nose_bridge, 0.03, 0.03, 0.03),
        (0, nose - 0.07 - 0.02 * units[9], wing * 0.55, 0.075, 0, 0.085, 0.05, -0.02, -0.02),
        (0, nose + 0.05, 0.13, 0.04, 0, 0, -0.15, -0.18, -0.18),
        (0, (nose + mouth) / 2, 0.03, 0.06, 0, -0.016, -0.03, -0.04, -0.04),
        (0, mouth - 0.03, 0.20, 0.04, 0, 0.02, 0, 0, 0),
        (0, mouth + 0.05 + 0.8 * drop, 0.15, 0.045, 0, 0.03, 0.02, 0.02, 0.02),
        (0, mouth + 0.155 + drop, 0.15, 0.04, 0, -0.03, -0.09, -0.11, -0.11),
        (0, 0.87 + drop - 0.03 * units[17], 0.15, 0.10, 0, 0.05 + 0.03 * units[17], 0, -0.01, -0.01),
        (0, 0.84 + drop, 0.10, 0.035, 0, -0.02 * units[17], -0.10 * units[17], -0.12 * units[17], -0.12 * units[17]),
        (0, -0.48, 0.35, 0.22, 0, 0.04, 0.03, 0.03, 0.02),
        (0, brow + 0.01, 0.05, 0.07, 0, -0.015 - 0.02 * units[4], -knit, -1.2 * knit, -1.2 * knit),
        (0, eye + 0.02, 0.10, 0.05, 0, 0.02 * units[9], -0.10 * units[9], -0.13 * units[9], -0.13 * units[9]),
        (0, 1.22 + drop, 0.60, 0.16, 0, 0, -0.42, -0.46, -0.46),
        (0, -0.95, 0.80, 0.16, 0, 0, -0.18, -0.18, -0.18),
    ]
    mirrored: list[Bump] = [
        (apart - 0.02, eye - 0.05, 0.17, 0.10, 0, -0.035, -0.10, -0.15, -0.14),
        (apart * 0.52, eye - 0.02, 0.06, 0.09, 0, -0.02, -0.09, -0.12, -0.12),
        (apart, eye, 0.12, 0.075, 0, 0.035, 0, 0, 0),
        (apart, brow, 0.20, 0.06, 0, 0.030, 0.03, 0.03, 0.02),
        (
            apart,
            eye + 0.14,
            0.13,
            0.03,
            0.1,
            -0.012 - 0.02 * units[7],
            *_dark(0.05 + 0.08 * shape.age + 0.07 * units[7]),
        ),
        (wing * 0.8, wing_y, 0.045, 0.045, 0, 0.045, 0.02, -0.02, -0.02),
        (wing + 0.03, wing_y, 0.035, 0.07, 0, -0.01, *_dark(0.10 + 0.10 * sneer)),
        (0.42, 0.30 - 0.06 * raised, 0.17, 0.14, 0, shape.cheek + 0.06 * raised, 0.05, -0.04 - 0.03 * raised, -0.03),
        (0.54, 0.56, 0.12, 0.18, 0.35, -0.02, *_dark(0.05 + 0.04 * shape.age)),
        ((wing + corner + 0.09) / 2, (nose + mouth) / 2, 0.035, 0.16, -lean, -fold, *_dark(2.4 * fold)),
        (
            (wing + corner) / 2 + 0.14,
            (nose + mouth) / 2 - 0.04,
            0.09,
            0.12,
            -lean,
            0.03 * smile + 0.025 * sneer,
            0,
            0,
            0,
        ),
        (
            corner + 0.03,
            mouth + 0.05 * units[15] - 0.09 * smile,
            0.035,
            0.035,
            0,
            -0.012,
            *_dark(0.10 + 0.10 * units[15]),
        ),
        (corner * 0.95, mouth + 0.16 + drop, 0.04, 0.07, 0.3, -0.012 * units[15], *_dark(0.14 * units[15])),
        (shape.head_width * 0.95, -0.30, 0.14, 0.22, 0, -0.02, *_dark(0.07)),
    ]
    return single + mirrored + [(-x, y, w, h, -a, *rest) for x, y, w, h, a, *rest in mirrored]


def _dark(amount: float) -> tuple[float, float, float]:
    """Return the tint of a crease: it darkens red least."""
    return (-amount, -1.25 * amount, -1.25 * amount)


@cache
def _enlarging(side: int) -> NDArray[np.float32]:
    """Return the matrix [100, side] that interpolates smoothly between pixel centres."""
    position = np.clip((np.arange(SIDE) + 0.5) * (side / SIDE) - 0.5, 0, side - 1)
    distance = position[:, None] - np.arange(side)
    weights = np.exp(-0.5 * (distance / 0.55) ** 2)
    matrix: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


def _enlarge(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Enlarge square planes [C, side, side] to a picture [100, 100, C]."""
    matrix = _enlarging(planes.shape[-1])
    return np.ascontiguousarray(times((matrix @ planes), matrix.T).transpose(1, 2, 0))


def times(planes: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return planes [C, 100, k] @ matrix [k, 100], in products too small for a BLAS to start threads for them.

    Threads cost more than they save here, many times more when the other cores are busy.
    """
    strips = planes.reshape(len(planes), _STRIPS, SIDE // _STRIPS, -1)
    product: NDArray[np.float32] = (strips @ matrix).reshape(len(planes), SIDE, SIDE)
    return product


def backdrop(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a soft, out-of-focus background [100, 100, 3]: a slope between two colours and a few patches of light."""
    ramp = np.linspace(0, 1, _COARSE)[:, None, None]
    field = scene.backdrop[0] * (1 - ramp) + scene.backdrop[1] * ramp
    field = field + rng.normal(0, 11, (_COARSE, _COARSE, 1)) + rng.normal(0, 3, (_COARSE, _COARSE, 3))
    lit = np.clip(field * (scene.exposure * np.array(scene.light_colour)), 0, 255).astype(np.float32)
    return _enlarge(lit.transpose(2, 0, 1))
