"""Resamples of source images, the same ones wherever they are drawn, and what is measured in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

RESAMPLES = 1000


def row_draws(source: np.ndarray, count: int) -> np.ndarray:
    """Return how often each row is in the sample itself (once) and in each resample, [rows, 1 + resamples].

    Args:
        source: int64 [rows], the image behind each; rows of one image are drawn together, a row without (−1) on
            its own.
        count: of the images.
    """
    drawn = _sources_drawn(count)[np.maximum(source, 0)]
    alone = np.flatnonzero(source < 0)
    if len(alone):
        drawn[alone] = _sources_drawn(len(alone))
    return drawn


@cache
def _sources_drawn(count: int) -> np.ndarray:
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((count, 1)), drawn.T], axis=1)


def share(hits: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share of the drawn rows that are hits, [1 + resamples]; NaN where none is drawn."""
    with np.errstate(invalid="ignore"):
        return (hits @ draws) / draws.sum(0)


@dataclass(frozen=True, eq=False)
class CleanScores:
    """The scores of clean images, ranked once for the AUC of many attacks.

    Attributes:
        ranked: [rows], ascending.
        below: how many of the drawn rows come before each place of the ranking, [rows + 1, 1 + resamples].
    """

    ranked: np.ndarray
    below: np.ndarray

    @classmethod
    def rank(cls, scores: np.ndarray, draws: np.ndarray) -> CleanScores:
        order = np.argsort(scores)
        below = np.zeros((len(scores) + 1, draws.shape[1]))
        np.cumsum(draws[order], axis=0, out=below[1:])
        return cls(scores[order], below)

    def auc(self, scores: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return the AUC of attacked images in each resample, [1 + resamples]; ties count half."""
        lower = self.below[np.searchsorted(self.ranked, scores, side="left")]
        lower += self.below[np.searchsorted(self.ranked, scores, side="right")]
        with np.errstate(invalid="ignore"):
            return np.einsum("rb,rb->b", draws, lower) / 2 / (self.below[-1] * draws.sum(0))


def interval(values: np.ndarray) -> list[float]:
    """Return the value of the sample and the 95 % interval of the resamples behind it."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return [round(float(v), 4) for v in (values[0], low, high)]
