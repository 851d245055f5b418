"""The usual space of pixels: the directions in which clean images vary, and how far an image is outside of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

FloatArray = NDArray[np.float64]
Rows = NDArray[np.float32]

SIDE = 32  # of images that are looked at as a whole; larger ones are made smaller
BLOCK = 8  # side of the squares that an image is cut into
BORNE = 4  # rows per direction of a space at least


@dataclass(frozen=True, eq=False)
class Basis:
    """A principal space of rows of pixels.

    Attributes:
        mean: float32 [d].
        directions: float32 [k, d], orthonormal, of falling variance.
        variances: float32 [k], of the rows along these.
        rows: how many there were.
    """

    mean: Rows
    directions: Rows
    variances: Rows
    rows: int

    @classmethod
    def of(cls, rows: FloatArray, share: float) -> Basis:
        """Return the space of rows [n, d] that holds this share of their variance, if n allows."""
        mean = rows.mean(0)
        _, singular, directions = np.linalg.svd(rows - mean, full_matrices=False)
        return cls._cut(mean, directions, singular**2 / len(rows), len(rows), share)

    @classmethod
    def of_moments(cls, total: FloatArray, products: FloatArray, rows: int, share: float) -> Basis:
        """Return the same of the sum [d] and the summed outer products [d, d] of so many rows."""
        mean = total / rows
        variances, directions = np.linalg.eigh(products / rows - np.outer(mean, mean))
        return cls._cut(mean, directions.T[::-1], np.maximum(variances[::-1], 0), rows, share)

    @classmethod
    def _cut(
        cls, mean: FloatArray, directions: FloatArray, variances: FloatArray, rows: int, share: float
    ) -> Basis:
        held = np.cumsum(variances) / max(variances.sum(), 1e-300)
        kept = max(1, min(int(np.searchsorted(held, share)) + 1, rows // BORNE, len(variances)))
        middle, space, spread = (
            np.ascontiguousarray(array, np.float32) for array in (mean, directions[:kept], variances[:kept])
        )
        return cls(middle, space, spread, rows)

    def outside(self, rows: Rows, *, left_out: bool = False) -> FloatArray:
        """Return the mean squared distance of rows [n, d] from the space, float64 [n].

        ``left_out``: the rows are of those that made the space; the distance is about what it would be without
        the row, distance ÷ (1 − leverage)², as in a regression.
        """
        apart = rows - self.mean
        along = apart @ self.directions.T
        squares = np.square(apart).sum(1, dtype=np.float64) - np.square(along).sum(1, dtype=np.float64)
        distance: FloatArray = np.maximum(squares, 0) / len(self.mean)
        if left_out:
            usual = np.maximum(self.variances, 1e-12) * self.rows
            leverage = (np.square(along, dtype=np.float64) / usual).sum(1) + 1 / self.rows
            distance /= np.square(np.maximum(1 - leverage, 1 / self.rows))
        return distance


def blocks(pixels: Tensor) -> Tensor:
    """Cut images [B, C, H, W] into squares of `BLOCK` pixels, float32 [B · squares, C · values].

    What is left over at the border is passed over; smaller images are one row each.
    """
    side = min(BLOCK, *pixels.shape[2:])
    cut = pixels.unfold(2, side, side).unfold(3, side, side)  # [B, C, rows, columns, side, side]
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2).float()


def small(pixels: Tensor) -> Tensor:
    """Return images [B, C, H, W] as rows, float32 [B, values], of `SIDE` pixels a side at most."""
    height, width = (min(SIDE, side) for side in pixels.shape[2:])
    shrunk = pixels.float()
    if (height, width) != tuple(pixels.shape[2:]):
        shrunk = functional.interpolate(shrunk, (height, width), mode="area")
    return shrunk.flatten(1)
