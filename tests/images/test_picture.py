"""Pictures of every mode, depth and format, turned upright, of any length: the right values in [0, 1]."""

from __future__ import annotations

import struct
import time
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from benchmarks.machine import forget_peak, memory
from effpath.data import from_torch
from effpath.errors import InputError
from effpath.images import PictureFormat, pixels_of, read_picture

ROWS, COLUMNS = 6, 8
GREY = 100  # of 255
COLOUR = (40, 100, 160)
ENDINGS = (
    "png", "tif", "jpg", "webp", "avif", "bmp", "gif", "ppm", "pgm", "pbm", "pfm", "jp2", "ico", "pcx", "qoi",
    "sgi", "tga", "dds", "msp", "xbm",
)  # fmt: skip
LOSSY = {"jpg", "webp", "avif", "jp2"}


def of_one_colour(mode):
    """A picture of one colour in a mode, and the grey or RGB that it shows, 0 … 1."""
    size = COLUMNS, ROWS
    grey, colour = (GREY / 255,), tuple(value / 255 for value in COLOUR)
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        convert = ImageCms.buildTransform(*profiles, "RGB", "LAB")
        return ImageCms.applyTransform(Image.new("RGB", size, COLOUR), convert), colour
    if mode.startswith("I;16"):
        order = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, size, np.full((ROWS, COLUMNS), GREY * 257, order).tobytes()), grey
    if mode in ("P", "PA"):
        picture = Image.new("P", size, 3)
        picture.putpalette([0] * 9 + list(COLOUR) + [255] * 9)
        return picture.convert(mode), colour
    opacity = {"LA": (GREY, 7), "RGBA": (*COLOUR, 7), "La": (GREY, 255), "RGBa": (*COLOUR, 255)}
    if mode in opacity:  # transparency is left out
        return Image.new(mode.upper(), size, opacity[mode]).convert(mode), grey if len(mode) == 2 else colour
    if mode == "F":
        return Image.new("F", size, GREY / 255), grey
    if mode in ("1", "L"):
        return Image.new(mode, size, 255 if mode == "1" else GREY), (1.0,) if mode == "1" else grey
    if mode == "CMYK":
        return Image.new(mode, size, (*(255 - value for value in COLOUR), 0)), colour
    return Image.new("RGB", size, COLOUR).convert(mode), colour


MODES = (
    "1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "F", "RGBX", "RGBa", "La", "I;16",
    "I;16L", "I;16B",
)  # fmt: skip


def assert_shows(pixels, wanted, tolerance):
    wanted = torch.tensor(wanted if len(pixels) == len(wanted) else wanted * 3, dtype=torch.float32).reshape(
        -1, 1, 1
    )
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, wanted.expand_as(pixels), atol=tolerance, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_an_opened_picture_of_every_mode_has_the_values_that_it_shows(mode):
    picture, wanted = of_one_colour(mode)
    tolerance = 6 / 255 if mode in ("LAB", "HSV", "YCbCr") else 1e-6
    assert_shows(pixels_of(picture), wanted, tolerance)
    assert_shows(from_torch([(picture, 0)]).images[:][0], wanted, tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_every_mode_has_these_values_in_every_format_that_holds_it(tmp_path, mode):
    picture, wanted = of_one_colour(mode)
    held = []
    for ending in ENDINGS:
        file = tmp_path / f"a.{ending}"
        try:
            picture.save(file)
        except (OSError, ValueError, KeyError):
            continue  # the format has no such mode
        with Image.open(file) as again:
            deep = again.mode[0] in "IF"
        if (mode[0] in "IF" and not deep) or (mode, ending) == ("I;16B", "jp2"):
            continue  # Pillow wrote another picture
        tolerance = 1e-6 if ending not in LOSSY and mode not in ("LAB", "YCbCr") else 6 / 255
        assert_shows(read_picture(file, PictureFormat(3, ROWS, COLUMNS)), wanted, tolerance)
        luma = np.dot(wanted, (0.299, 0.587, 0.114)) if len(wanted) == 3 else wanted[0]
        assert_shows(read_picture(file, PictureFormat(1, ROWS, COLUMNS)), (luma,), tolerance + 1 / 255)
        scaled = read_picture(file, PictureFormat(3, 4, 5, resize=7, interpolation="bicubic"))
        assert_shows(scaled, wanted, tolerance + 1 / 255)
        held.append(ending)
    assert len(held) >= (0 if mode in ("HSV", "RGBa", "La") else 1), held


def write_png(file, bits, kind, values):
    """Write a PNG of packed rows of samples, row by row."""
    rows = b"".join(
        b"\0" + int("".join(f"{v:0{bits}b}" for v in row), 2).to_bytes(len(row) * bits // 8) for row in values
    )
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", COLUMNS, ROWS, bits, kind, 0, 0, 0))]
    if kind == 3:
        chunks.append((b"PLTE", bytes(value for i in range(2**bits) for value in (i, 2 * i % 256, 255 - i))))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_grey_png_of_every_depth_goes_from_black_to_white(tmp_path, bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (ROWS, COLUMNS))
    write_png(tmp_path / "a.png", bits, 0, values.tolist())
    pixels = read_picture(tmp_path / "a.png", PictureFormat(1, ROWS, COLUMNS))
    np.testing.assert_allclose(pixels[0].numpy(), values / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_of_every_depth_gives_its_colours(tmp_path, bits):
    values = np.random.default_rng(bits).integers(0, 2**bits, (ROWS, COLUMNS))
    write_png(tmp_path / "a.png", bits, 3, values.tolist())
    pixels = read_picture(tmp_path / "a.png", PictureFormat(3, ROWS, COLUMNS))
    wanted = np.stack([values, 2 * values % 256, 255 - values]) / 255
    np.testing.assert_allclose(pixels.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_colours_of_16_bits_are_read_to_8_bits_as_pillow_reads_them(tmp_path, kind, channels):
    values = np.random.default_rng(kind).integers(0, 2**16, (ROWS, COLUMNS, channels))
    write_png(tmp_path / "a.png", 16, kind, values.reshape(ROWS, -1).tolist())
    pixels = read_picture(tmp_path / "a.png", PictureFormat(3, ROWS, COLUMNS)).permute(1, 2, 0).numpy()
    shown = values[..., :3] if channels > 2 else values[..., :1].repeat(3, axis=2)
    np.testing.assert_allclose(pixels, shown / 65535, atol=1 / 255)


@pytest.mark.parametrize("most", [1, 3, 15, 100, 255, 1023, 4095, 65535])
def test_a_grey_map_is_measured_by_its_own_largest_value(tmp_path, most):
    values = np.random.default_rng(most).integers(0, most + 1, (ROWS, COLUMNS))
    pixels = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
    (tmp_path / "a.pgm").write_bytes(f"P5 {COLUMNS} {ROWS} {most}\n".encode() + pixels)
    read = read_picture(tmp_path / "a.pgm", PictureFormat(1, ROWS, COLUMNS))[0].numpy()
    np.testing.assert_allclose(read, values / most, atol=0.5 / 255 if most < 256 else 1e-5)


def write_tiff(file, values, bits, kind, *, big=False, white_is_zero=False):
    """Write one uncompressed strip of grey samples: unsigned (kind 1), signed (2) or floats (3)."""
    order = ">" if big else "<"
    if bits == 12:
        data = b"".join(int("".join(f"{v:012b}" for v in row), 2).to_bytes(len(row) * 12 // 8) for row in values)
    else:
        data = np.asarray(values).astype(f"{order}{'uif'[kind - 1]}{bits // 8}").tobytes()
    tags = [(256, COLUMNS), (257, ROWS), (258, bits), (259, 1), (262, 0 if white_is_zero else 1), (273, 8)]
    tags += [(277, 1), (278, ROWS), (279, len(data)), (339, kind)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    start = 8 + len(data)
    head = (b"MM" if big else b"II") + struct.pack(f"{order}HI", 42, start)
    file.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + b"\0\0\0\0")


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("bits", "kind"), [(8, 1), (12, 1), (16, 1), (32, 1), (32, 3), (64, 3), (16, 2), (32, 2)])
def test_a_grey_tiff_of_every_depth_is_right_or_refused(tmp_path, bits, kind, big, white_is_zero):
    most = 1 if kind == 3 else 2**bits - 1
    values = np.linspace(0, most if kind != 2 else 100, ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    values = values if kind == 3 else np.floor(values).astype(np.int64)
    write_tiff(tmp_path / "a.tif", values, bits, kind, big=big, white_is_zero=white_is_zero)
    try:
        with Image.open(tmp_path / "a.tif") as opened:
            opened.load()
    except OSError:
        with pytest.raises(InputError, match=r"a\.tif"):  # Pillow knows no such TIFF
            read_picture(tmp_path / "a.tif", PictureFormat(1, ROWS, COLUMNS))
        return
    if kind == 2:
        with pytest.raises(InputError, match=r"a\.tif: expected unsigned numbers.*with a sign, 0 to 100"):
            read_picture(tmp_path / "a.tif", PictureFormat(1, ROWS, COLUMNS))
        return
    shown = 1 - values / most if white_is_zero else values / most
    read = read_picture(tmp_path / "a.tif", PictureFormat(1, ROWS, COLUMNS))[0].numpy()
    np.testing.assert_allclose(read, shown, atol=1e-6)


def test_a_16_bit_grey_png_at_half_intensity_is_a_half(tmp_path):
    Image.fromarray(np.full((ROWS, COLUMNS), 32768, np.uint16)).save(tmp_path / "a.png")
    for channels in (1, 3):
        pixels = read_picture(tmp_path / "a.png", PictureFormat(channels, 4, 4, interpolation="lanczos"))
        torch.testing.assert_close(pixels, torch.full((channels, 4, 4), 0.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("value", [-0.1, 1.5, 128.0, float("nan"), float("inf")])
def test_floats_beyond_zero_to_one_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0.5, value]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: expected floats in \[0, 1\]"):
        read_picture(tmp_path / "a.tif", PictureFormat(1, 1, 2))
    with pytest.raises(InputError, match=r"item 0 .*expected floats in \[0, 1\]"):
        from_torch([(Image.new("F", (2, 2), value), 0)]).images[:]


def test_whole_numbers_that_do_not_say_what_white_is_are_refused():
    with pytest.raises(InputError, match=r"item 0 .*of 32 bits or with a sign, 7 to 7"):
        from_torch([(Image.new("I", (2, 2), 7), 0)]).images[:]


def test_scaling_of_deep_pictures_does_not_leave_zero_to_one(tmp_path):
    Image.fromarray(np.repeat(np.array([[0, 65535]], np.uint16), 4, axis=1).repeat(8, axis=0)).save(
        tmp_path / "a.png"
    )
    read = read_picture(tmp_path / "a.png", PictureFormat(1, 21, 21, interpolation="lanczos"))
    assert read.min() >= 0
    assert read.max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_upright(tmp_path, orientation, ending, bits, channels):
    if bits == 16 and ending in ("jpg", "webp"):
        return
    upright = np.zeros((16, 24), np.uint8)
    upright[:8, :8] = 250  # the bright corner is at the top left
    upright[:8, 16:] = 120
    stored = {  # how a camera that was held otherwise stores the same scene
        2: np.fliplr(upright), 3: np.rot90(upright, 2), 4: np.flipud(upright), 5: upright.T, 6: np.rot90(upright),
        7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }.get(orientation, upright)  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    picture = Image.fromarray(stored.astype(np.uint16) * 257 if bits == 16 else stored)
    picture.save(tmp_path / f"a.{ending}", exif=exif, quality=100)
    wanted = torch.from_numpy(upright / 255).float().expand(channels, -1, -1)
    read = read_picture(tmp_path / f"a.{ending}", PictureFormat(channels, 16, 24))
    torch.testing.assert_close(read, wanted, atol=0.05, rtol=0)
    with Image.open(tmp_path / f"a.{ending}") as opened:
        item = from_torch([(opened, 0)]).images[:][0]
    torch.testing.assert_close(item[:1], wanted[:1], atol=0.05, rtol=0)


def test_damaged_exif_data_leave_the_pixels_as_they_are(tmp_path):
    Image.new("RGB", (4, 4), COLOUR).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert_shows(read_picture(tmp_path / "a.png", PictureFormat(3, 4, 4)), tuple(v / 255 for v in COLOUR), 1e-6)


@pytest.mark.parametrize("size", [(200_000, 1), (1, 200_000), (100_000, 3)])
@pytest.mark.parametrize("resize", [None, 256])
def test_the_work_does_not_grow_with_the_length_of_a_strip(tmp_path, size, resize):
    strip = Image.new("L", size, 9)
    middle = tuple(n // 2 for n in size)
    strip.paste(200, tuple(max(0, m - 40) for m in middle) + tuple(m + 40 for m in middle))
    strip.save(tmp_path / "a.png")
    started = time.process_time()
    read = read_picture(tmp_path / "a.png", PictureFormat(3, 224, 224, resize))
    assert time.process_time() - started < 2
    torch.testing.assert_close(read, torch.full((3, 224, 224), 200 / 255))


def test_the_memory_does_not_grow_with_the_length_of_a_strip(tmp_path):
    Image.new("L", (200_000, 1), 9).save(tmp_path / "a.png")
    read_picture(tmp_path / "a.png", PictureFormat(3, 224, 224))  # what the first one loads is held from now on
    forget_peak()
    held = memory("VmRSS")
    read_picture(tmp_path / "a.png", PictureFormat(3, 224, 224))
    assert memory("VmHWM") - held < 1 << 25


@pytest.mark.parametrize("size", [(64, 1), (1, 64), (640, 10), (7, 100), (33, 20)])
@pytest.mark.parametrize("resize", [None, 9])
def test_pictures_up_to_64_times_as_long_as_wide_are_scaled_whole(tmp_path, size, resize):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    scale = max(8 / min(size), 0) if resize is None else 9 / min(size)
    whole = Image.fromarray(pixels).resize(
        (round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR
    )
    left, top = round((whole.width - 8) / 2), round((whole.height - 8) / 2)
    wanted = np.asarray(whole.crop((left, top, left + 8, top + 8)), np.float32) / 255
    if resize is None or not any(9 * n % min(size) for n in size):
        assert np.array_equal(read_picture(tmp_path / "a.png", PictureFormat(1, 8, 8, resize))[0].numpy(), wanted)


def test_too_many_pixels_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 100000 100000 255\n")
    with pytest.raises(InputError, match=r"a\.ppm: Image size .* exceeds limit.*scale it down, or leave it out"):
        read_picture(tmp_path / "a.ppm", PictureFormat(3, 4, 4))


def test_a_format_that_runs_another_program_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match=r"cannot read the picture .*a\.png: cannot identify"):
        read_picture(tmp_path / "a.png", PictureFormat(3, 4, 4))
