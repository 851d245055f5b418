"""Images of pages, as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
SIDE = 320  # pixels of a picture on a page of images
SMALL = 64  # pixels a side, up to which each is shown as a square


def picture(pixels: NDArray[np.floating[Any]], side: int = 128, kind: str = "PNG") -> str:
    """Return an image [C, H, W] in [0, 1] as a data URI; larger ones are scaled down to ``side`` pixels.

    Of images with other than three channels the mean of the channels is shown. ``kind`` is PNG or JPEG.
    """
    from PIL import Image

    rows = np.round(255 * rgb(pixels)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(rows))
    image.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, quality=88)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()


def rgb(pixels: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return an image [C, H, W] as [H, W, 3] in [0, 1]; of other than three channels the mean is shown."""
    shown = pixels if len(pixels) == 3 else np.broadcast_to(pixels.mean(0), (3, *pixels.shape[1:]))
    return np.clip(shown, 0, 1).transpose(1, 2, 0)


def large(image: Pixels) -> bool:
    """Tell whether an image [C, H, W] is a photograph rather than a few pixels to count."""
    return bool(min(image.shape[1:]) > SMALL)


def shot(image: Pixels) -> str:
    """Return an image [C, H, W] as a data URI for a page of images: every pixel of a small one."""
    return picture(image, SIDE, "JPEG" if large(image) else "PNG")


PREDICTED, RUNNER_UP, BOTH = (0.91, 0.40, 0.0), (0.0, 0.50, 0.80), (0.0, 0.65, 0.45)
"""Colours of paths over an image, red, green and blue."""


def overlay(image: Pixels, heat: Pixels, colour: Sequence[float]) -> Pixels:
    """Return an image [C, H, W] in grey with a map, [H, W] in [0, 1], in a colour over it: [3, H, W]."""
    return _tinted(image, np.sqrt(heat), np.asarray(colour, np.float32)[:, None, None])


def two_paths(image: Pixels, parts: Pixels) -> Pixels:
    """Return an image [C, H, W] in grey with two pixel paths over it: what either has alone, and what both have.

    Args:
        image: [C, H, W] in [0, 1].
        parts: [3, H, W], as `effpath.views.pixels.parted_heat` gives them.
    """
    total = parts.sum(0)
    colours = np.asarray([PREDICTED, RUNNER_UP, BOTH], np.float32)
    mixed = np.einsum("phw,pc->chw", parts, colours) / np.maximum(total, 1e-12)
    return _tinted(image, np.sqrt(np.minimum(total, 1)), mixed)


def _tinted(image: Pixels, strength: Pixels, colour: Pixels) -> Pixels:
    grey = 0.1 + 0.75 * np.clip(image.mean(0), 0, 1)
    alpha = 0.9 * strength
    mixed: Pixels = ((1 - alpha) * grey + alpha * colour).astype(np.float32)
    return mixed
