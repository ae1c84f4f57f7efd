"""Drawn faces: what a seed and an index fix, what each action unit moves, and what an expression leaves alone."""

import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from fsrcache.drawn.action_units import NAMES, NEIGHBOURS, VARIANTS, expression_units
from fsrcache.drawn.face import draw_face, drawn_expression, paint_face
from fsrcache.drawn.head import Head
from fsrcache.drawn.person import Person, Scene, draw_person, draw_scene
from fsrcache.errors import RequestError
from fsrcache.faces.expressions import EXPRESSIONS

REST = dict.fromkeys(NAMES, 0.0)
SITTERS = 8
PIXELS = np.arange(100) + 0.5


def sitter(number: int, *, yaw: float = 0.0) -> tuple[Person, Scene]:
    """Return a bare young face, fair with dark brows, looking at us in even light."""
    rng = np.random.default_rng(number)
    person, scene = draw_person(rng), draw_scene(rng)
    bare = replace(person, shape=replace(person.shape, age=0.2), style="bald", beard="", glasses="", makeup=0.0)
    bare = replace(bare, skin=(215.0, 170.0, 140.0), brow=(40.0, 30.0, 26.0), iris=(60.0, 40.0, 26.0))
    return bare, replace(
        scene,
        roll=0.0,
        yaw=yaw,
        pitch=0.0,
        gaze=(0.0, 0.0),
        occlusion="",
        light=(0.0, -0.3, 0.95),
        shift=(0.0, 0.0),
        light_colour=(1.0, 1.0, 1.0),
        ambient=0.6,
        exposure=1.0,
    )


def painted(person: Person, scene: Scene, units: dict[int, float]) -> np.ndarray:
    return paint_face(person, scene, REST | units, np.random.default_rng(0))


def box(person: Person, scene: Scene, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    """Return the pixels [100, 100] between two corners in head coordinates."""
    corners = Head(person, scene).on_face(np.array([(x[0], y[0]), (x[1], y[1])]))
    across = (corners[0, 0] <= PIXELS) & (corners[1, 0] >= PIXELS)
    down = (corners[0, 1] <= PIXELS) & (corners[1, 1] >= PIXELS)
    return down[:, None] & across


def height_of_dark(picture: np.ndarray, where: np.ndarray) -> float:
    """Return the row of the centre of what is darker than the skin around it."""
    grey = picture.mean(-1)
    weight = np.where(where, np.maximum(0, 0.8 * np.median(grey[where]) - grey), 0)
    return float((weight.sum(1) * PIXELS).sum() / weight.sum())


# --- what a seed and an index fix


def test_a_face_depends_on_seed_and_index_alone() -> None:
    asked = [(3, 11), (0, 0), (3, 4), (2**31, 10**6)]
    here = {pair: zlib.crc32(draw_face(*pair).tobytes()) for pair in asked}
    code = f"""
import zlib
from fsrcache.drawn.face import draw_face
print([zlib.crc32(draw_face(*pair).tobytes()) for pair in {asked[::-1]}])
"""
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str([here[pair] for pair in asked[::-1]])
    assert len(set(here.values())) == len(asked)


def test_a_face_is_a_small_colour_picture() -> None:
    face = draw_face(0, 5)
    assert face.dtype == np.uint8
    assert face.shape == (100, 100, 3)
    assert face.flags.c_contiguous
    assert face.flags.writeable


@pytest.mark.parametrize("seed", [0, 1, 6, 7, 2**40])
@pytest.mark.parametrize("start", [0, 1, 20])
def test_any_seven_k_faces_hold_k_of_each_expression(seed: int, start: int) -> None:
    counts = np.bincount([drawn_expression(seed, i) for i in range(start, start + 21)], minlength=len(EXPRESSIONS))
    assert counts.tolist() == [3] * len(EXPRESSIONS)


def test_numbers_of_numpy_are_the_same_face() -> None:
    assert drawn_expression(np.uint8(200), np.uint8(100)) == drawn_expression(200, 100)


def test_a_face_shows_its_own_expression() -> None:
    for index in range(7):
        own = EXPRESSIONS[drawn_expression(4, index)]
        other = EXPRESSIONS[drawn_expression(4, index + 1)]
        np.testing.assert_array_equal(draw_face(4, index), draw_face(4, index, expression=own))
        assert (draw_face(4, index) != draw_face(4, index, expression=other)).any()


def test_seeds_and_indices_draw_other_people() -> None:
    faces = np.stack([draw_face(seed, index)[::2, ::2] for seed in (0, 1, 2) for index in range(8)]).astype(int)
    apart = np.abs(faces[:, None] - faces[None]).mean((2, 3, 4)) + 255 * np.eye(len(faces))
    assert apart.min() > 8  # grey levels: a noisy picture of the same thing is 1 to 6 apart


def test_pictures_are_exposed_like_photographs() -> None:
    faces = np.stack([draw_face(8, i) for i in range(210)]).astype(float)
    means, contrasts = faces.mean((1, 2, 3)), faces.mean(-1).std((1, 2))
    clipped = ((faces == 0) | (faces == 255)).mean((1, 2, 3))
    assert 90 < means.mean() < 150
    assert means.min() > 35
    assert means.max() < 220
    assert means.std() > 15  # light, skin and background vary
    assert np.quantile(contrasts, 0.05) > 20
    assert clipped.mean() < 0.01
    assert clipped.max() < 0.15


# --- what an expression leaves alone


def test_an_expression_changes_the_face_and_nothing_else() -> None:
    for index in range(6):
        faces = np.stack([draw_face(2, index, expression=name, intensity=1.0) for name in EXPRESSIONS]).astype(int)
        np.testing.assert_array_equal(faces[:, :8, :8], np.broadcast_to(faces[:1, :8, :8], faces[:, :8, :8].shape))
        within = np.abs(faces - faces.mean(0)).mean()
        other = np.abs(faces[0] - draw_face(2, index + 7, expression=EXPRESSIONS[0], intensity=1.0)).mean()
        assert within < other / 3


def test_at_intensity_zero_every_expression_is_the_same_face() -> None:
    faces = [draw_face(2, 3, expression=name, intensity=0.0) for name in EXPRESSIONS]
    assert all((face == faces[0]).all() for face in faces)


def test_intensity_moves_a_face_away_from_rest() -> None:
    for name in EXPRESSIONS[:6]:
        steps = []
        for intensity in (0.0, 0.3, 0.6, 1.0):
            faces = [draw_face(1, i, expression=name, intensity=intensity).astype(int) for i in range(12)]
            steps.append(np.stack(faces))
        away = [np.abs(step - steps[0]).mean() for step in steps]
        assert away == sorted(away), name
        assert away[3] > 1.5 * away[1], name


def test_a_generator_is_left_in_the_same_state_by_every_expression() -> None:
    after = set()
    for name in EXPRESSIONS:
        for intensity in (None, 0.5):
            rng = np.random.default_rng(5)
            units = expression_units(rng, name, intensity=intensity)
            assert set(units) == set(NAMES)
            assert 0 <= min(units.values()) <= max(units.values()) <= 1
            after.add(rng.random())
    assert len(after) == 1


def test_every_expression_is_made_of_known_action_units() -> None:
    assert set(VARIANTS) == set(NEIGHBOURS) == set(EXPRESSIONS)
    assert {unit for variants in VARIANTS.values() for variant in variants for unit in variant} == set(NAMES)
    assert len({len(variants) for variants in VARIANTS.values()}) == 1
    assert all(neighbour in EXPRESSIONS and neighbour != name for name, neighbour in NEIGHBOURS.items())


# --- what each action unit moves

UPPER, EYES, NOSE, MOUTH, LOWER = "upper", "eyes", "nose", "mouth", "lower"
PLACES = {
    1: UPPER,
    2: UPPER,
    4: UPPER,
    5: EYES,
    6: EYES,
    7: EYES,
    9: NOSE,
    10: MOUTH,
    12: LOWER,
    15: MOUTH,
    16: MOUTH,
    17: MOUTH,
    20: MOUTH,
    23: MOUTH,
    24: MOUTH,
    25: MOUTH,
    26: MOUTH,
    27: MOUTH,
    43: EYES,
}


def place(person: Person, scene: Scene, name: str) -> np.ndarray:
    shape = person.shape
    brow = shape.eye_level - shape.brow_gap
    rows = {
        UPPER: (-0.85, shape.eye_level + 0.03),
        EYES: (brow - 0.06, 0.45),
        NOSE: (brow - 0.06, shape.mouth_level + 0.08),
        LOWER: (shape.eye_level + 0.04, 1.19),
        MOUTH: (shape.nose_level - 0.12, 1.19),
    }
    return box(person, scene, (-0.66, 0.66), rows[name])


@pytest.mark.parametrize("unit", NAMES)
def test_an_action_unit_moves_its_part_of_the_face(unit: int) -> None:
    inside = everywhere = 0.0
    for number in range(SITTERS):
        person, scene = sitter(number)
        moved = np.abs(painted(person, scene, {unit: 1.0}) - painted(person, scene, {})).mean(-1)
        where = place(person, scene, PLACES[unit])
        inside += moved[where].sum()
        everywhere += moved.sum()
    assert everywhere / SITTERS > 150  # grey levels: at least 30 pixels by 5
    assert inside > 0.85 * everywhere


@pytest.mark.parametrize(
    ("unit", "part", "way"),
    [(1, "inner brow", -1), (2, "outer brow", -1), (4, "inner brow", 1), (12, "corner", -1), (15, "corner", 1)],
)
def test_brows_and_lip_corners_go_up_and_down(unit: int, part: str, way: int) -> None:
    for number in range(SITTERS):
        person, scene = sitter(number)
        shape = person.shape
        if part == "corner":
            x = (0.70 * shape.mouth_width, 1.05 * shape.mouth_width)
            y = (shape.mouth_level - 0.14, shape.mouth_level + 0.14)
        else:
            start = shape.eye_distance - 1.1 * shape.eye_width
            x = (start, start + 0.12) if part == "inner brow" else (start + 0.20, start + 0.32)
            brow = shape.eye_level - shape.brow_gap
            y = (brow - 0.24, brow + 0.11)
        where = box(person, scene, x, y)
        rest, moved = (height_of_dark(painted(person, scene, units), where) for units in ({}, {unit: 1.0}))
        assert way * (moved - rest) > 1.0, number  # pixels


@pytest.mark.parametrize(("unit", "way"), [(5, 1), (7, -1), (43, -1), (6, -1)])
def test_eyes_open_and_close(unit: int, way: int) -> None:
    for number in range(SITTERS):
        person, scene = sitter(number)
        shape = person.shape
        where = box(
            person,
            scene,
            (shape.eye_distance - shape.eye_width, shape.eye_distance + shape.eye_width),
            (shape.eye_level - 0.14, shape.eye_level + 0.10),
        )
        white = [blueness(painted(person, scene, units), where) for units in ({}, {unit: 1.0})]
        assert way * (white[1] - white[0]) > 0, number


def blueness(picture: np.ndarray, where: np.ndarray) -> float:
    """Return how much of a place is white rather than skin: only the white of the eye has much blue."""
    return float((picture[where][:, 2] > 0.88 * picture[where][:, 0]).sum())


def test_a_dropped_jaw_opens_the_mouth_and_lowers_the_chin() -> None:
    for number in range(SITTERS):
        person, scene = sitter(number)
        scene = replace(scene, scale=36.0)
        shape = person.shape
        throat = box(person, scene, (-0.06, 0.06), (shape.mouth_level + 0.04, shape.mouth_level + 0.12))
        closed, open_ = painted(person, scene, {}), painted(person, scene, {25: 1.0, 27: 1.0})
        assert open_[throat].mean() < 0.75 * closed[throat].mean()
        low = [Head(person, scene).outline(drop=drop)[:, 1].max() for drop in (0.0, 0.15)]
        assert low[1] - low[0] == pytest.approx(0.15 * scene.scale, rel=0.05)


def test_a_turning_head_moves_its_nose_more_than_its_outline() -> None:
    person, scene = sitter(0)
    turned = replace(scene, yaw=0.4)
    front, side = Head(person, scene), Head(person, turned)
    centre = np.array([[0.0, person.shape.nose_level]])
    nose = side.on_face(centre, 0.1)[0, 0] - front.on_face(centre, 0.1)[0, 0]
    middle = [head.outline().min(0)[0] / 2 + head.outline().max(0)[0] / 2 for head in (front, side)]
    assert nose - (middle[1] - middle[0]) > 8  # pixels
    left, right = (side.on_face(np.array([[x, 0.0]]))[0, 0] for x in (-0.4, 0.4))
    middle_x = side.on_face(np.array([[0.0, 0.0]]))[0, 0]
    assert right - middle_x < 0.75 * (middle_x - left)  # the far half is foreshortened


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((-1, 0), {}, "seed of a drawn face is -1"),
        ((0, -1), {}, "index of a drawn face is -1"),
        ((0, 1.5), {}, r"index of a drawn face is 1\.5"),
        (("0", 0), {}, "seed of a drawn face is '0'"),
        ((0, None), {}, "index of a drawn face is None"),
        ((0, 0), {"expression": "bored"}, "expression is 'bored'"),
        ((0, 0), {"expression": ["fear"]}, "expression is"),
        ((0, 0), {"intensity": 1.5}, r"intensity is 1\.5"),
        ((0, 0), {"intensity": float("nan")}, "intensity is nan"),
        ((0, 0), {"intensity": "1"}, "intensity is '1'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, options, message):
    with pytest.raises(RequestError, match=message):
        draw_face(*arguments, **options)


def test_numbers_of_numpy_are_numbers():
    assert np.array_equal(draw_face(np.int64(0), np.uint8(3)), draw_face(0, 3))
