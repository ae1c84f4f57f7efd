"""Every kind of picture file people have: read right, or the reason why not."""

import os

import numpy as np
import pytest
from PIL import Image

import fsrcache.faces.decode as decoding
from fsrcache.faces.decode import PictureError, decode

RNG = np.random.default_rng(0)
COLOUR = np.kron(RNG.integers(0, 256, (5, 4, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
GREY = COLOUR[..., 0]


def save(path, picture, **options):
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_colour(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    assert np.array_equal(decode(save(tmp_path / f"a.{suffix}", COLOUR, **options)), COLOUR)


def test_grey_stored_as_colour_is_grey(tmp_path):
    assert np.array_equal(decode(save(tmp_path / "a.png", GREY)), GREY)
    assert np.array_equal(decode(save(tmp_path / "b.png", np.stack([GREY] * 3, axis=2))), GREY)


def test_jpeg_and_cmyk(tmp_path):
    plain = decode(save(tmp_path / "a.jpg", COLOUR, quality=95, subsampling=0)).astype(int)
    assert np.abs(plain - COLOUR).mean() < 3
    cmyk = decode(save(tmp_path / "b.jpg", Image.fromarray(COLOUR).convert("CMYK"), quality=95)).astype(int)
    assert np.abs(cmyk - COLOUR).mean() < 4


def test_sixteen_bits_are_scaled(tmp_path):
    wide = GREY.astype(np.uint16) * 257
    assert np.array_equal(decode(save(tmp_path / "a.png", wide)), GREY)
    assert np.array_equal(decode(save(tmp_path / "a.tif", wide)), GREY)
    for more, rise in ((128, 0), (129, 1)):  # to the nearest
        nearly = np.minimum(wide.astype(int) + more, 65535).astype(np.uint16)
        assert np.array_equal(decode(save(tmp_path / "b.png", nearly)), GREY + rise * (GREY < 255))


def test_palette_one_bit_and_alpha(tmp_path):
    palette = Image.fromarray(COLOUR).quantize(256)
    assert np.array_equal(decode(save(tmp_path / "a.png", palette)), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray((GREY > 128).astype(np.uint8) * 255).convert("1")
    assert np.array_equal(decode(save(tmp_path / "b.png", bits)), (GREY > 128) * np.uint8(255))
    alpha = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    assert np.array_equal(decode(save(tmp_path / "c.png", alpha)), COLOUR)
    alpha[:8, :, 3] = 0
    assert (decode(save(tmp_path / "d.png", alpha))[:8] == 255).all()
    transparent = Image.fromarray(GREY // 16).convert("P")
    transparent.putpalette([v for i in range(256) for v in (i, 0, 0)])
    read = decode(save(tmp_path / "e.png", transparent, transparency=int(GREY[0, 0] // 16)))
    assert (read[GREY[0, 0] // 16 == GREY // 16] == 255).all()
    assert (read[..., 1][GREY[0, 0] // 16 != GREY // 16] == 0).all()


@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, np.rot90(GREY, 2)), (6, np.rot90(GREY, -1)), (8, np.rot90(GREY))]
)
def test_exif_rotation(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(save(tmp_path / "a.png", GREY, exif=exif)), turned)


def test_one_pixel_and_animation(tmp_path):
    assert decode(save(tmp_path / "a.png", GREY[:1, :1])).shape == (1, 1)
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    assert np.array_equal(decode(save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])), GREY)


def test_unreadable(tmp_path):
    whole = save(tmp_path / "a.jpg", RNG.integers(0, 256, (80, 80, 3), np.uint8)).read_bytes()
    cases = {
        "empty file": b"",
        "not a picture": b"hello " * 100,
        "broken picture: image file is truncated": whole[: len(whole) // 2],
        "broken picture: Truncated": whole[:200],
    }
    for reason, content in cases.items():
        (tmp_path / "b.jpg").write_bytes(content)
        with pytest.raises(PictureError, match=reason):
            decode(tmp_path / "b.jpg")
    with pytest.raises(PictureError, match="missing file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(PictureError, match="not a regular file"):
        decode(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="not a regular file"):
        decode(tmp_path / "pipe.jpg")
    with pytest.raises(PictureError, match="floating-point"):
        decode(save(tmp_path / "f.tif", GREY.astype(np.float32)))
    with pytest.raises(PictureError, match="32-bit"):
        decode(save(tmp_path / "i.tif", GREY.astype(np.int32) * 100_000))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_enormous(tmp_path, monkeypatch):
    for side in (9000, 14000):  # beyond our limit, beyond Pillow's
        save(tmp_path / "a.png", Image.new("1", (side, side)))
        with pytest.raises(PictureError, match="enormous"):
            decode(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", GREY.size - 1)
    with pytest.raises(PictureError, match="enormous: 32 x 40"):
        decode(save(tmp_path / "b.png", GREY))


def test_programs_are_never_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(PictureError, match="not a picture"):
        decode(tmp_path / "a.png")
