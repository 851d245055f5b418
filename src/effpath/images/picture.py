"""One picture of any mode, depth and format, as pixels in [0, 1]."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from effpath.errors import InputError
from effpath.images.format import PictureFormat, middle, scaled

FORMATS = (
    "PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "ICO", "PCX", "QOI", "SGI",
    "PSD", "DDS", "TGA", "MSP", "XBM",
)  # fmt: skip
"""The formats of Pillow that are read: none of them runs another program, as PostScript does."""
_GREY = ("1", "L", "LA", "La", "I", "F")
_SINGLE = "I", "F"
_UPRIGHT = {  # the transposition that undoes each EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _ORIENTATION = 258, 262, 339, 274  # tags of TIFF and EXIF
_UNSIGNED, _WHITE_IS_ZERO = 1, 0


@cache
def known_formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that the installed Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def read_picture(file: Path, picture_format: PictureFormat) -> Tensor:
    """Return one picture in a network's format, float32 [C, H, W] in [0, 1].

    It is turned upright according to its EXIF data; transparency is ignored, as by torchvision's and timm's
    readers; of several frames the first is read. Size, crop and rounding are those of torchvision's and timm's
    evaluation transforms; numbers with more than 8 bits are not rounded.

    Raises:
        InputError: the file is damaged or not a picture, or its numbers have no stated range.
    """
    channels, height, width = picture_format.shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture, of transparency in a palette
            with Image.open(file, formats=known_formats()) as opened:
                picture = _levels(opened, grey=channels == 1)
    except InputError as error:
        raise InputError(f"cannot read the picture {file}: {error}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"cannot read the picture {file}: {error}; scale it down, or leave it out") from error
    except Exception as error:  # damaged pictures raise anything
        raise InputError(
            f"cannot read the picture {file}: {error}; it is damaged or not a picture: replace it, or leave it out"
        ) from error
    top, left, bottom, right = middle(picture.height, picture.width, picture_format)
    if (right - left, bottom - top) != picture.size:
        picture = picture.crop((left, top, right, bottom))
    (rows, columns), (top, left) = scaled(picture.height, picture.width, picture_format)
    if (columns, rows) != picture.size:
        picture = picture.resize((columns, rows), Image.Resampling[picture_format.interpolation.upper()])
    pixels = _tensor(picture.crop((left, top, left + width, top + height)))
    return pixels.expand(channels, -1, -1).contiguous()


def pixels_of(picture: Image.Image) -> Tensor:
    """Return an opened picture, turned upright, in its original size: float32 [1 (grey) or 3, H, W] in [0, 1].

    Raises:
        InputError: its numbers have no stated range.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _tensor(_levels(picture, grey=picture.mode.partition(";")[0] in _GREY))


def _tensor(picture: Image.Image) -> Tensor:
    """Return the pixels of a picture with mode L, RGB or F."""
    array = np.asarray(picture, dtype=np.float32)
    pixels = torch.from_numpy(array.reshape(picture.height, picture.width, -1).transpose(2, 0, 1).copy())
    return pixels.clamp(0, 1) if picture.mode == "F" else pixels / 255  # Lanczos scaling overshoots in floats


def _levels(picture: Image.Image, *, grey: bool) -> Image.Image:
    """Return a picture upright, as L or RGB, or as F in [0, 1] if it is grey with more than 8 bits."""
    _load(picture)
    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except Exception:  # damaged EXIF data are ignored: the pixels are whole
        orientation = None
    if picture.mode.partition(";")[0] in _SINGLE:
        found = Image.fromarray(_finer(picture))
    else:
        if picture.mode in ("La", "RGBa"):  # premultiplied alpha
            picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
        if picture.mode in ("LAB", "HSV"):
            picture = picture.convert("RGB")
        found = picture.convert("L" if grey else "RGB")
    return found if orientation not in _UPRIGHT else found.transpose(_UPRIGHT[orientation])


def _load(picture: Image.Image) -> None:
    """Read the pixels; some formats rotate on loading, or state their orientation behind the pixels."""
    if isinstance(picture, ImageFile.ImageFile):
        name, picture.filename = picture.filename, ""  # by name, Pillow 13 maps turned TIFFs with swapped sides
        picture.load()
        picture.filename = name


def _finer(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the numbers of a picture with mode I, I;16 … or F, float32 [H, W] in [0, 1]."""
    tags = getattr(picture, "tag_v2", {})
    numbers = np.asarray(picture)
    if picture.mode == "F":
        if not (numbers.min() >= 0 and numbers.max() <= 1):  # NaN fails too
            raise InputError(
                f"expected floats in [0, 1], got {numbers.min():g} to {numbers.max():g}; divide them by their "
                "largest possible value"
            )
        found = numbers
    else:
        (bits, *_), (kind, *_) = tags.get(_BITS, (16,)), tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        stated = picture.mode != "I" or picture.format in ("PNG", "PPM") or _BITS in tags
        if not stated or kind != _UNSIGNED:
            raise InputError(
                "expected unsigned numbers of 8 or 16 bits, or floats in [0, 1], got "
                f"numbers of 32 bits or with a sign, {numbers.min()} to {numbers.max()}, that do not say what "
                "white is; write it again as floats, or as unsigned 16-bit numbers"
            )
        if bits == 32:
            numbers = numbers.view(np.uint32)
        found = (numbers / (2**bits - 1)).astype(np.float32)
    return np.asarray(1 - found if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else found, dtype=np.float32)
