"""Resamples of source images, the same ones wherever they are drawn, and what is measured in each of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from effpath.detect.metrics import weighted_auc

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


def resampled_auc(
    clean: np.ndarray, attacked: np.ndarray, clean_draws: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return the AUC of attacked images beside clean ones in each resample, [1 + resamples]; ties count half."""
    y = np.repeat([0, 1], [len(clean), len(attacked)])
    return weighted_auc(y, np.concatenate([clean, attacked]), np.concatenate([clean_draws, draws]).T)


def interval(values: np.ndarray) -> list[float]:
    """Return the value of the sample and the 95 % interval of the resamples behind it."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return [round(float(v), 4) for v in (values[0], low, high)]


def intervals(found: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    return {name: interval(values) for name, values in found.items()}
