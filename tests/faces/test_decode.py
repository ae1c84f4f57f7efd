"""Every kind of picture file people have: read right, or the reason why not."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

import fsrcache.faces.decode as decoding
from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import CLEAR, FRAMES, NARROW, WIDE, PictureError, decode, decode_noted, picture_of
from fsrcache.faces.survey import picture_hash

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


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (PermissionError(13, "Permission denied", "a.png"), "cannot be read: Permission denied"),
        (OSError("unrecognized data stream"), "broken picture: unrecognized data stream"),
        (EOFError(), "broken picture: EOFError"),
    ],
)
def test_a_reason_is_never_empty(tmp_path, monkeypatch, raised, reason):
    def fail(*_, **__):
        raise raised

    path = save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", fail)
    for function, picture in ((decode, path), (picture_of, Image.fromarray(GREY))):
        with pytest.raises(PictureError) as caught:
            function(picture)
        assert str(caught.value) == reason


def test_too_little_memory_is_no_fault_of_the_picture(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    path = save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(decoding.ImageOps, "exif_transpose", fail)
    with pytest.raises(FsrcacheError, match=r"memory does not hold the picture .*a\.png"):
        decode(path)


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


KINDS = (0, 2, 4, 6)  # PNG's kinds of colour: grey, colour, each with alpha


def png(path, samples, *, depth, kind, transparent=()):
    """Write a PNG of any depth, which Pillow does not."""
    height, width = samples.shape[:2]
    bits = np.unpackbits(samples.astype(">u2").reshape(height, -1, 1).view(np.uint8), axis=2)[..., 16 - depth :]
    rows = np.packbits(bits.reshape(height, -1), axis=1)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        + (chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
        + chunk(b"IEND", b"")
    )
    return path


def tiff(path, samples, *, order="<", photometric=2, kind=1):
    """Write a TIFF of 8- or 16-bit samples [H, W, C], which Pillow does not."""
    height, width, channels = samples.shape
    content = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    depth = samples.dtype.itemsize * 8
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, depth), (259, 3, 1, 1), (262, 3, 1, photometric),
        (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(content)), (339, 3, channels, kind),
    ]  # fmt: skip
    start = 8 + len(content)
    more = start + 2 + 12 * len(tags) + 4
    lists, entries = b"", struct.pack(order + "H", len(tags))
    for tag, size, count, value in tags:
        entries += struct.pack(order + "HHI", tag, size, count)
        if count == 1:
            entries += struct.pack(order + "I", value) if size == 4 else struct.pack(order + "HH", value, 0)
        else:
            entries += struct.pack(order + "I", more + len(lists))
            lists += struct.pack(order + f"{count}H", *[value] * count)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    path.write_bytes(mark + struct.pack(order + "I", start) + content + entries + bytes(4) + lists)
    return path


def grey_samples(kind, values, white):
    """Return grey values as a PNG's samples, opaque."""
    colours = [values] * (3 if kind in (2, 6) else 1)
    return np.stack([*colours, np.full_like(values, white)] if kind in (4, 6) else colours, axis=2)


WIDE_GREY = RNG.integers(0, 65536, GREY.shape).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("values", "expected", "note"),
    [
        (GREY.astype(np.int64) * 257, GREY, WIDE),
        (GREY.astype(np.int64) * 256, GREY, WIDE),
        (GREY // 16 * np.int64(257), GREY // 16, WIDE),  # dark, and plainly of 8 bits
        (WIDE_GREY, (WIDE_GREY + 128) // 257, WIDE),
        (GREY.astype(np.int64), GREY, NARROW),
        (np.zeros(GREY.shape, np.int64), 0 * GREY, WIDE),
    ],
)
def test_sixteen_bits_are_one_picture_however_stored(tmp_path, kind, values, expected, note):
    white = 255 if note == NARROW else 65535
    read, notes = decode_noted(png(tmp_path / "a.png", grey_samples(kind, values, white), depth=16, kind=kind))
    assert np.array_equal(read, expected)
    assert notes == (note,)
    assert picture_hash(read) == picture_hash(expected.astype(np.uint8))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("factor", "note"), [(257, WIDE), (1, NARROW)])
def test_sixteen_bit_colours(tmp_path, order, factor, note):
    wide = COLOUR.astype(np.uint16) * factor
    for path in (tiff(tmp_path / "a.tif", wide, order=order), png(tmp_path / "a.png", wide, depth=16, kind=2)):
        read, notes = decode_noted(path)
        assert np.array_equal(read, COLOUR)
        assert notes == (note,)


def test_wide_values_whose_bits_are_not_plain_are_refused(tmp_path):
    for depth, kind in ((16, 0), (16, 2)):
        dark = grey_samples(kind, GREY.astype(np.int64) * 16, 65535)  # 12 bits
        with pytest.raises(PictureError, match=r"no value above \d+ in 16 bits"):
            decode(png(tmp_path / "a.png", dark + 15, depth=depth, kind=kind))
    with pytest.raises(PictureError, match="16-bit values of the kind CMYK;16L"):
        decode(tiff(tmp_path / "a.tif", np.zeros((9, 9, 4), np.uint16), photometric=5))
    with pytest.raises(PictureError, match="signed values"):
        decode(tiff(tmp_path / "a.tif", GREY[..., None], photometric=1, kind=2))
    with pytest.raises(PictureError, match="32-bit values from -1 to"):
        decode(save(tmp_path / "a.tif", GREY.astype(np.int32) - GREY.min() - 1))


@pytest.mark.parametrize(("factor", "note"), [(1, NARROW), (257, WIDE)])
def test_thirty_two_bits(tmp_path, factor, note):
    read, notes = decode_noted(save(tmp_path / "a.tif", GREY.astype(np.int32) * factor))
    assert np.array_equal(read, GREY)
    assert notes == (note,)


@pytest.mark.parametrize("values", [GREY[..., None], GREY[..., None].astype(np.uint16) * 257])
def test_white_is_zero(tmp_path, values):
    assert np.array_equal(decode(tiff(tmp_path / "a.tif", values, photometric=0)), 255 - GREY)


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize(("depth", "factor"), [(8, 1), (16, 1), (16, 257)])
def test_a_transparent_colour_is_white(tmp_path, kind, depth, factor):
    clear = int(GREY[0, 0]) * factor
    samples = grey_samples(kind, GREY.astype(np.int64) * factor, 0)
    path = png(tmp_path / "a.png", samples, depth=depth, kind=kind, transparent=(clear,) * samples.shape[2])
    read, notes = decode_noted(path)
    assert np.array_equal(read, np.where(GREY[0, 0] == GREY, 255, GREY))
    assert CLEAR in notes


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_transparent_grey_of_few_bits_is_white(tmp_path, depth):
    values = (GREY >> (8 - depth)).astype(np.int64)
    path = png(tmp_path / "a.png", values[..., None], depth=depth, kind=0, transparent=(int(values[0, 0]),))
    assert np.array_equal(decode(path), np.where(values == values[0, 0], 255, values * (255 // (2**depth - 1))))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", [4, 6])
def test_half_transparent(tmp_path, depth, kind):
    samples = grey_samples(kind, GREY.astype(np.int64), 100) * (257 if depth == 16 else 1)
    read, notes = decode_noted(png(tmp_path / "a.png", samples, depth=depth, kind=kind))
    assert np.abs(read - (255 - (255.0 - GREY) * 100 / 255)).max() <= 1
    assert CLEAR in notes


def test_a_picture_that_is_transparent_everywhere_is_refused(tmp_path):
    with pytest.raises(PictureError, match="transparent everywhere"):
        decode(save(tmp_path / "a.png", np.dstack([COLOUR, np.zeros_like(GREY)])))


def test_one_picture_stored_in_many_ways_has_one_hash(tmp_path):
    picture = Image.fromarray(GREY)
    palette = picture.convert("P")
    ways = {
        "grey.png": GREY, "grey.bmp": GREY, "grey.tif": GREY, "grey.pgm": GREY, "grey.gif": GREY,
        "colour.png": np.stack([GREY] * 3, axis=2), "colour.tif": np.stack([GREY] * 3, axis=2),
        "colour.webp": np.stack([GREY] * 3, axis=2), "palette.png": palette, "palette.gif": palette,
        "alpha.png": np.dstack([*[GREY] * 3, np.full_like(GREY, 255)]), "la.png": picture.convert("LA"),
        "wide.png": GREY.astype(np.uint16) * 257, "wide.tif": GREY.astype(np.uint16) * 257,
        "long.tif": GREY.astype(np.int32),
    }  # fmt: skip
    for name, way in ways.items():
        options = {"lossless": True} if name.endswith("webp") else {}
        assert picture_hash(decode(save(tmp_path / name, way, **options))) == picture_hash(GREY), name


@pytest.mark.parametrize("suffix", ["gif", "png", "tif", "webp"])
def test_the_first_of_several_frames_is_told(tmp_path, suffix):
    frames = [Image.fromarray(np.stack([way] * 3, axis=2)) for way in (GREY, 255 - GREY)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    read, notes = decode_noted(path)
    assert np.array_equal(read, GREY)
    assert notes == (FRAMES,)
    assert decode_noted(save(tmp_path / f"b.{suffix}", frames[0], **options))[1] == ()


def odd_files(folder):
    """Yield files that Pillow warns of."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\x7f\0\0\0\0"  # longer than it is
    yield save(folder / "a.jpg", GREY, exif=exif)
    yield save(folder / "b.png", Image.new("1", (9600, 9600)))  # beyond Pillow's first limit
    content = save(folder / "c.png", GREY).read_bytes()
    chunk = b"acTL" + bytes(8)
    apng = content[:33] + struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    (folder / "c.png").write_bytes(apng)
    yield folder / "c.png"


def test_warnings_of_pillow_stay_within(tmp_path):
    for path in odd_files(tmp_path):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Image.open(path) as image:
                image.getexif()
        assert caught, path
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            before = list(warnings.filters)
            if path.name == "b.png":
                with pytest.raises(PictureError, match="enormous"):
                    decode(path)
            else:
                assert decode(path).shape == GREY.shape
            assert warnings.filters == before
        assert not caught, path


def test_a_file_of_gigabytes_is_not_opened(tmp_path):
    with (tmp_path / "a.webp").open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(PictureError, match="enormous: 1,073,741,825 bytes"):
        decode(tmp_path / "a.webp")
