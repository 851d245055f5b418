"""What a network wants its images to be: their size, how pictures are cut to it, and the range of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from effpath.errors import InputError

PixelRange = tuple[float, float]
LONGEST = 64
"""Of a picture longer than so many times its width, only the middle is read: no more of it can be seen."""


@dataclass(frozen=True)
class PictureFormat:
    """How a network wants its images.

    Attributes:
        channels, height, width: of one image.
        resize: the short side of a picture is scaled to this many pixels before the centre is cut out; None
            scales it to what just covers height and width.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        squash: scale both sides on their own, so that the picture loses its shape and not its border.
    """

    channels: int
    height: int
    width: int
    resize: int | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


def format_of(model: Any) -> PictureFormat | None:
    """Return the format that a model names by its ``picture_format`` or ``input_size`` (C, H, W), if any."""
    named = getattr(model, "picture_format", None)
    if isinstance(named, PictureFormat):
        return named
    size = getattr(model, "input_size", None)
    if size is None:
        return None
    if not isinstance(size, Sequence) or len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise InputError(f"expected the model's input_size to be (C, H, W), got {size!r}")
    return PictureFormat(*size)


def pixel_range_of(model: Any) -> PixelRange | None:
    """Return the range of the pixels that a model takes: (0, 1); None where its ``pixel_range`` is None.

    Raises:
        InputError: the model names another range, in which pictures are not read.
    """
    named = getattr(model, "pixel_range", (0, 1))
    if named is None:
        return None
    if not isinstance(named, Sequence) or tuple(named) != (0, 1):
        raise InputError(
            f"expected the model's pixel_range to be (0, 1), or None for a network that takes arrays of other "
            f"numbers, got {named!r}; let the model itself bring [0, 1] to its range"
        )
    return 0.0, 1.0


def resized(own: PictureFormat | None, size: tuple[int, int, int] | None) -> PictureFormat | None:
    """Return the format for another size; the share of a picture that is cut off stays."""
    if size is None or own is None:
        return own if size is None else PictureFormat(*size)
    resize = None if own.resize is None else own.resize * min(size[1:]) // min(own.height, own.width)
    return replace(own, channels=size[0], height=size[1], width=size[2], resize=resize)


def unknown_size(source: object) -> str:
    """Return the message for pictures without a format."""
    return (
        f"the size of {source} for the network is not known; give --input-size C,H,W, or an "
        "input_size attribute to the model"
    )


def middle(rows: int, columns: int, wanted: PictureFormat) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of what is read of an image: all of it, or the middle of a strip.

    The centre that is cut out later lies in it, and the work no longer grows with the length of a strip.
    """
    if wanted.squash:
        return 0, 0, rows, columns
    ratio = -(-max(wanted.height, wanted.width) // min(wanted.height, wanted.width))
    most = LONGEST * ratio * min(rows, columns)
    top, left = max(0, rows - most) // 2, max(0, columns - most) // 2
    return top, left, rows - top, columns - left


def scaled(rows: int, columns: int, wanted: PictureFormat) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (rows, columns) to scale to, and the corner (top, left) of the centre to cut out of that."""
    if wanted.squash:
        side = min(wanted.height, wanted.width)
        enlarged = wanted.resize or side
        size = wanted.height * enlarged // side, wanted.width * enlarged // side
    elif wanted.resize is None:
        scale = max(wanted.height / rows, wanted.width / columns)
        size = max(wanted.height, round(rows * scale)), max(wanted.width, round(columns * scale))
    else:
        short = min(rows, columns)
        size = wanted.resize * rows // short, wanted.resize * columns // short
        size = max(wanted.height, size[0]), max(wanted.width, size[1])
    return size, (round((size[0] - wanted.height) / 2), round((size[1] - wanted.width) / 2))
