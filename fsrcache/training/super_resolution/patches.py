"""The patches of one step, and the pictures that they are cut from: faces, or tiles of a folder's pictures."""

from fractions import Fraction
from hashlib import sha256
from os import PathLike
from typing import NamedTuple

import numpy as np
from PIL import Image

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.decode import PICTURE_SUFFIXES, PictureError, Pictures, decode
from fsrcache.faces.degrade import Degradation, coarse_pictures
from fsrcache.files import as_path
from fsrcache.models.super_resolution.presets import SuperResolutionConfig
from fsrcache.progress import ProgressCallback, counted


class TrainingPictures(NamedTuple):
    """What a super-resolver is trained on.

    Attributes
    ----------
    pictures
        uint8 ``[n, S, S, C]``.
    digest
        Hexadecimal SHA-256 of them, or of the data that they come from.
    """

    pictures: Pictures
    digest: str


def draw_patches(
    pictures: Pictures,
    config: SuperResolutionConfig,
    scale: Fraction,
    *,
    degradation: Degradation,
    random: np.random.Generator,
) -> tuple[Pictures, Pictures]:
    """Return small patches uint8 ``[B, s, s, C]`` and the patches ``[B, S, S, C]`` that they were made from.

    Every patch is cut, mirrored and turned by quarters at random; of a smaller picture it is all.

    Parameters
    ----------
    pictures
        uint8 ``[n, S', S', C]``.
    config
        Number and side of the patches.
    scale, degradation
        How they are made coarse.
    random
        Source of the choices.
    """
    whole = pictures.shape[1]
    side = min(whole, int(config.patch * scale))
    chosen = random.integers(len(pictures), size=config.batch)
    corners = random.integers(whole - side, size=(config.batch, 2), endpoint=True)
    turns, mirrored = random.integers(4, size=config.batch), random.integers(2, size=config.batch)
    large = np.stack(
        [
            np.rot90(pictures[one, top : top + side, left : left + side][:, :: 1 - 2 * mirror], turn)
            for one, (top, left), turn, mirror in zip(chosen, corners, turns, mirrored, strict=True)
        ]
    )
    return coarse_pictures(large, float(scale), degradation), large


def read_tiles(
    folder: str | PathLike[str], *, side: int, channels: int, on_progress: ProgressCallback
) -> TrainingPictures:
    """Return the pictures below a folder in tiles that do not overlap, in the order of their paths.

    Parameters
    ----------
    folder
        The folder; pictures smaller than a tile are left out.
    side, channels
        Side S of the tiles in pixels, and their channels C: grey or RGB, whatever the pictures are.
    on_progress
        Called every second.

    Raises
    ------
    RequestError
        If there is no such folder, or nothing in it is large enough.
    FsrcacheError
        If a picture cannot be read.
    """
    folder = as_path(folder, name="pictures")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    tiles: list[Pictures] = []
    for path in counted(paths, "reading pictures", "pictures", on_progress):
        try:
            picture = Image.fromarray(decode(path)).convert("L" if channels == 1 else "RGB")
        except PictureError as error:
            raise FsrcacheError(f"{path} cannot be used: {error}.", "Remove it, or name another folder.") from None
        tiles.append(_tiles(np.atleast_3d(np.asarray(picture)), side))
    if not sum(map(len, tiles)):
        raise RequestError(
            f"There is no picture of {side} x {side} pixels or more in {folder}.", "Name a folder of larger pictures."
        )
    whole = np.concatenate(tiles)
    return TrainingPictures(whole, sha256(whole.tobytes()).hexdigest())


def _tiles(picture: Pictures, side: int) -> Pictures:
    """Return the tiles [n, S, S, C] of a picture [H, W, C], from its upper left corner."""
    height, width, channels = picture.shape
    down, across = height // side, width // side
    cut = picture[: down * side, : across * side].reshape(down, side, across, side, channels)
    return cut.swapaxes(1, 2).reshape(down * across, side, side, channels)
