"""Bit depth: does the answer survive fewer bits per pixel? (Xu et al., NDSS 2018; Guo et al., ICLR 2018)"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from effpath.detect.signs.disagreement import ChangedImage


class BitDepth(ChangedImage):
    """Disagreement about the image with fewer bits per pixel; one forward pass."""

    def __init__(self, bits: int = 3) -> None:
        """Keep so many bits; Guo et al. keep 3."""
        says = f"changes its mind with {bits} bits per pixel"
        super().__init__("bit depth", says, (partial(reduce_bits, bits=bits),))


def reduce_bits(images: Tensor, bits: int) -> Tensor:
    """Round pixels in [0, 1] to 2^bits equal steps."""
    steps = 2**bits - 1
    rounded: Tensor = (images * steps).round() / steps
    return rounded
