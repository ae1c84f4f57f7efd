"""Draws the answer into the picture: a box and a label a face, which can be read whatever the picture's size."""

from collections.abc import Callable, Iterable
from pathlib import Path, PurePath

from PIL import Image, ImageDraw, ImageFont

from fsrcache.errors import RequestError
from fsrcache.files import whole_file
from fsrcache.prediction.answers import FacePrediction, PicturePredictions
from fsrcache.prediction.sources import STANDARD_INPUT, folder_read

_READABLE = 48  # pixels that a face's side is drawn with at least, so that labels lie apart
_MOST_ZOOM, _MOST_PIXELS = 6, 1 << 24  # of a picture that is enlarged
_LETTERS = 14, 120  # pixels of letters at least, and the part of the picture's longer side that they are
_SURE, _UNSURE, _PAPER = (255, 214, 10), (190, 190, 190), (20, 20, 20)


def annotated(picture: PicturePredictions) -> Image.Image:
    """Return a picture with boxes and labels, grey where a face is unsure; small ones are enlarged a whole number."""
    height, width = picture.pixels.shape[:2]
    image = Image.fromarray(picture.pixels).convert("RGB")
    zoom = _zoom(picture, width, height)
    image = image.resize((width * zoom, height * zoom), Image.Resampling.BICUBIC) if zoom > 1 else image
    letters = max(_LETTERS[0], max(image.size) // _LETTERS[1])
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(letters)
    for face in picture.faces:
        _draw(draw, font, face, zoom, image.size)
    return image


def _zoom(picture: PicturePredictions, width: int, height: int) -> int:
    """Return how much a picture is enlarged, so that its smallest face has room for a label."""
    smallest = min((min(face.box.width, face.box.height) for face in picture.faces), default=_READABLE)
    wanted = min(_MOST_ZOOM, -(-_READABLE // smallest))
    return next((zoom for zoom in range(wanted, 1, -1) if width * height * zoom**2 <= _MOST_PIXELS), 1)


def _draw(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    face: FacePrediction,
    zoom: int,
    size: tuple[int, int],
) -> None:
    colour, box = _UNSURE if face.unsure else _SURE, face.box
    left, top = box.x * zoom, box.y * zoom
    right, bottom = (box.x + box.width) * zoom - 1, (box.y + box.height) * zoom - 1
    draw.rectangle((left, top, right, bottom), outline=colour, width=max(2, max(size) // 600))
    text = f"{face.label} {face.confidence:.0%}" + "?" * face.unsure
    _, _, wide, high = draw.textbbox((0, 0), text, font=font)
    x = min(max(0, left), max(0, size[0] - wide))
    y = top - high if top >= high else min(bottom + 1, size[1] - high)  # above the box, or else below it
    draw.rectangle((x, y, x + wide, y + high), fill=_PAPER)
    draw.text((x, y), text, fill=colour, font=font)


def refuse_own_pictures(folder: Path, paths: Iterable[str]) -> None:
    """Refuse a folder whose annotated pictures the same paths would mean the next time.

    Raises
    ------
    RequestError
        If they would.
    """
    for path in paths:
        if (read := folder_read(path)) is None:
            continue
        target, source = (folder / _within(PurePath(read[0]))).resolve(), Path(read[0]).resolve()
        if target == source or (read[1] and target.is_relative_to(source)):
            raise RequestError(
                f"Pictures annotated in {folder} would lie in {source}, where {path} reads pictures.",
                "Name a folder beside it.",
            )


def _within(folder: PurePath) -> PurePath:
    """Return where the pictures of a folder lie among annotated ones."""
    return PurePath(*(part for part in folder.parts if part not in (folder.anchor, "..")))


def annotator(folder: Path) -> Callable[[PicturePredictions], Path]:
    """Return a function that writes an annotated picture as a PNG into a folder, and returns its path.

    It lies as the picture does, without its root and what leads up: ``../party/a.jpg`` becomes ``party/a.jpg.png``.
    Where a second folder would become ``party`` too, its pictures are numbered: ``party/a.jpg-2.png``.

    The function raises FsrcacheError if a picture cannot be written.
    """
    sources: dict[PurePath, list[PurePath]] = {}  # folder of annotated pictures -> folders of their pictures

    def write(picture: PicturePredictions) -> Path:
        source = PurePath("standard input" if picture.path == STANDARD_INPUT else picture.path)
        above = source.parent
        within = _within(above)
        same = sources.setdefault(within, [])
        if above not in same:
            same.append(above)
        number = same.index(above) + 1
        path = folder / within / f"{source.name}{f'-{number}' * (number > 1)}.png"
        with whole_file(path) as partial:
            annotated(picture).save(partial, "PNG")
        return path

    return write
