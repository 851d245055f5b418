"""Resize and pad: does the answer survive a smaller image on black? (Xie et al., ICLR 2018, repair by it)"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from torch import Tensor
from torch.nn import functional

from effpath.detect.signs.disagreement import ChangedImage
from effpath.detect.signs.passes import Change


class ResizeAndPad(ChangedImage):
    """Disagreement about smaller images on black; a forward pass for each."""

    def __init__(self, ways: int = 1) -> None:
        """Make one image, of nine tenths of the size and in the middle; or so many, as `resizes` draws them."""
        says = "changes its mind when resized" + f" in {ways} ways" * (ways > 1)
        one: Change = partial(resize_and_pad, side=0.9, top=0.5, left=0.5)
        super().__init__("resize and pad", says, (one,) if ways == 1 else resizes(0, ways))


def resize_and_pad(images: Tensor, side: float, top: float, left: float) -> Tensor:
    """Shrink images [N, C, H, W] to a share ``side`` of their size; put them on black, at shares of the room."""
    height, width = images.shape[2:]
    small = max(1, round(height * side)), max(1, round(width * side))
    resized = functional.interpolate(images, small, mode="bilinear", align_corners=False, antialias=True)
    above, before = round((height - small[0]) * top), round((width - small[1]) * left)
    return functional.pad(resized, (before, width - small[1] - before, above, height - small[0] - above))


def resizes(seed: int, draws: int = 10) -> Sequence[Change]:
    """Draw sides of 0.85 to 1; Xie et al. enlarge, by up to 1.11, but our graph takes images of one size."""
    drawn = np.random.default_rng(seed).uniform((0.85, 0, 0), 1, size=(draws, 3))
    return [partial(resize_and_pad, side=side, top=top, left=left) for side, top, left in drawn]
