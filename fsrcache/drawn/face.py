"""Built-in faces: a parametric face for any seed and index, with an expression, an identity and a camera.

Shapes are drawn flat at three times the size, then lit by a relief of the face that is computed per pixel, then put
before a background, blurred, and noise is added. Face `index` of `seed` depends on these two numbers alone.
"""

from numbers import Real

import numpy as np
from numpy.typing import NDArray

from fsrcache.drawn.action_units import Units, expression_units
from fsrcache.drawn.features import draw_brows, draw_creases, draw_eyes, draw_mouth, draw_nose, mouth_opening
from fsrcache.drawn.hair import draw_behind, draw_front_hair, draw_head
from fsrcache.drawn.head import SIDE, Head, Pen
from fsrcache.drawn.person import Person, Scene, draw_person, draw_scene
from fsrcache.drawn.relief import backdrop, relief, times
from fsrcache.drawn.wear import draw_glasses, draw_occlusion
from fsrcache.errors import RequestError
from fsrcache.faces.expressions import EXPRESSIONS

_APART = 30  # pixels between the colour channels in one field of noise: far enough to look independent


def drawn_expression(seed: int, index: int) -> int:
    """Return the index in ``EXPRESSIONS`` of a face: any 7 k faces in a row hold k of each."""
    return (int(seed) + int(index)) % len(EXPRESSIONS)


def draw_face(
    seed: int, index: int, *, expression: str | None = None, intensity: float | None = None
) -> NDArray[np.uint8]:
    """Draw face `index` of `seed`, uint8 [100, 100, 3].

    Parameters
    ----------
    seed, index
        Whole numbers of at least 0; the face depends on them alone.
    expression
        One of ``EXPRESSIONS`` instead of the face's own; person, pose, light and noise stay.
    intensity
        Strength of the expression, 0 (at rest) to 1, instead of the face's own.

    Returns
    -------
    numpy.ndarray
        uint8 ``[100, 100, 3]``.

    Raises
    ------
    RequestError
        If an argument is not as above.
    """
    for what, value in (("seed", seed), ("index", index)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
            raise RequestError(
                f"The {what} of a drawn face is {value!r}.", "It should be a whole number of at least 0."
            )
    if expression is not None and (not isinstance(expression, str) or expression not in EXPRESSIONS):
        raise RequestError(f"The expression is {expression!r}.", f"It should be one of {', '.join(EXPRESSIONS)}.")
    strength: object = intensity
    if strength is not None and not (isinstance(strength, Real) and 0 <= float(strength) <= 1):
        raise RequestError(f"The intensity is {intensity!r}.", "It should be a number from 0 to 1.")
    person, scene, rng = _person_and_scene(seed, index)
    name = EXPRESSIONS[drawn_expression(seed, index)] if expression is None else expression
    units = expression_units(rng, name, intensity=intensity)
    return _photograph(paint_face(person, scene, units, rng), scene, rng)


def _person_and_scene(seed: int, index: int) -> tuple[Person, Scene, np.random.Generator]:
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    return draw_person(rng), draw_scene(rng), rng


def paint_face(person: Person, scene: Scene, units: Units, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the light of a scene before lens and sensor, float32 [100, 100, 3] around 0..255."""
    head = Head(person, scene)
    pen = Pen(head)
    drop = 0.55 * mouth_opening(units)
    draw_behind(pen, person, drop=drop)
    draw_head(pen, person, drop=drop)
    draw_creases(pen, person, units)
    draw_mouth(pen, person, units)
    draw_nose(pen, person, units)
    draw_eyes(pen, person, scene, units)
    draw_brows(pen, person, units)
    draw_front_hair(pen, person)
    draw_glasses(pen, person)
    draw_occlusion(pen, person, scene)
    colours, cover = pen.finish()
    colours *= relief(head, units, drop=drop)
    behind = backdrop(scene, rng)
    behind *= 1 - cover
    behind += colours
    return behind


def _photograph(light: NDArray[np.float32], scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, add noise and round to uint8."""
    if scene.blur > 0:
        distance = np.arange(SIDE, dtype=np.float32)
        weights = np.exp(np.float32(-0.5 / scene.blur**2) * (distance[:, None] - distance) ** 2)
        weights /= weights.sum(0)  # [from, to]
        across = times(light.transpose(2, 0, 1), weights)  # [3, 100, 100]
        light = times(across.transpose(0, 2, 1), weights).transpose(2, 1, 0)
    grain = rng.standard_normal((SIDE, SIDE + 2 * _APART), np.float32) * np.float32(scene.noise)
    noisy = np.stack([light[..., c] + grain[:, c * _APART :][:, :SIDE] for c in range(3)], -1)
    noisy += np.float32(0.5)
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
