"""What images a network expects: their size, how pictures are cropped to it, and the range of their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from effpath.errors import InputError

PixelRange = tuple[float, float]
LONGEST = 64
"""Only the middle is used of a picture more than this many times as long as it is wide."""


@dataclass(frozen=True)
class PictureFormat:
    """The format of a network's images.

    Attributes:
        channels, height, width: of one image.
        resize: the short side of a picture is scaled to this many pixels before the centre is cropped; None
            scales it so that it just covers height and width.
        interpolation: ``nearest``, ``bilinear``, ``bicubic`` or ``lanczos``.
        squash: scale both sides independently: the picture loses its aspect ratio, not its border.
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
    """Return the format that a model states by its ``picture_format`` or ``input_size`` (C, H, W), if any."""
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
    """Return the range of the pixels that a model takes: (0, 1), or None if its ``pixel_range`` is None.

    Raises:
        InputError: the model states another range, in which pictures are not read.
    """
    named = getattr(model, "pixel_range", (0, 1))
    if named is None:
        return None
    if not isinstance(named, Sequence) or tuple(named) != (0, 1):
        raise InputError(
            f"expected the model's pixel_range to be (0, 1), or None for a network that takes arrays of other "
            f"numbers, got {named!r}; let the model convert [0, 1] to its range"
        )
    return 0.0, 1.0


def resized(stated: PictureFormat | None, size: tuple[int, int, int] | None) -> PictureFormat | None:
    """Return the format for another size (C, H, W), if given; the share of a picture that is cropped stays."""
    if size is None or stated is None:
        return stated if size is None else PictureFormat(*size)
    resize = None if stated.resize is None else stated.resize * min(size[1:]) // min(stated.height, stated.width)
    return replace(stated, channels=size[0], height=size[1], width=size[2], resize=resize)


def unknown_size(source: object) -> str:
    """Return the error message for pictures whose format is not known."""
    return (
        f"the size of {source} for the network is not known; give --input-size C,H,W, or an "
        "input_size attribute to the model"
    )


def middle(rows: int, columns: int, target: PictureFormat) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of the part of an image that is used: all, or the middle of a strip.

    It contains the centre that is cropped later, and the work does not grow with the length of a strip.
    """
    if target.squash:
        return 0, 0, rows, columns
    ratio = -(-max(target.height, target.width) // min(target.height, target.width))
    most = LONGEST * ratio * min(rows, columns)
    top, left = max(0, rows - most) // 2, max(0, columns - most) // 2
    return top, left, rows - top, columns - left


def scaled(rows: int, columns: int, target: PictureFormat) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size (rows, columns) to scale to, and the corner (top, left) of the centre to crop then."""
    if target.squash:
        side = min(target.height, target.width)
        enlarged = target.resize or side
        size = target.height * enlarged // side, target.width * enlarged // side
    elif target.resize is None:
        scale = max(target.height / rows, target.width / columns)
        size = max(target.height, round(rows * scale)), max(target.width, round(columns * scale))
    else:
        short = min(rows, columns)
        size = target.resize * rows // short, target.resize * columns // short
        size = max(target.height, size[0]), max(target.width, size[1])
    return size, (round((size[0] - target.height) / 2), round((size[1] - target.width) / 2))
