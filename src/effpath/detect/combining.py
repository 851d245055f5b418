"""How the surprises of several signs become one suspicion, told sign by sign: the rules, on plain arrays.

A surprise is −log p, in nats, p the conformal p-value of a sign. Every rule grows with every surprise, and what it
says each sign adds sums to the suspicion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Rule = Callable[[FloatArray, FloatArray, int, float], FloatArray]
"""From surprises [n, signs], weights [signs] > 0, a count and a start in nats, to what each adds, [n, signs]."""


def added(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Add all up, Fisher's way; what signs have in common is in the weights, see `decorrelated`."""
    return surprises * weights


def truncated(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Add up what lies beyond the start: usual signs add nothing (Zaykin et al. 2002, in excess of the start)."""
    beyond: FloatArray = np.maximum(surprises - start, 0) * weights
    return beyond


def strongest(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Add up the so many strongest (Dudbridge and Koeleman 2003); of equal ones the first."""
    parts = surprises * weights
    order = np.argsort(-parts, axis=1, kind="stable")[:, :count]
    kept = np.zeros(parts.shape, bool)
    np.put_along_axis(kept, order, True, axis=1)
    return np.where(kept, parts, 0)


def bonferroni(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Take the strongest, less the price of having had a choice, −log of its share of the weights."""
    priced = surprises + _prices(weights)
    parts = np.zeros(priced.shape)
    at = priced.argmax(1)[:, None]
    np.put_along_axis(parts, at, np.take_along_axis(priced, at, axis=1), axis=1)
    return parts


def simes(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Take the r strongest, all counting as the weakest of them, less a price that falls with r; the best r."""
    priced = surprises + _prices(weights)
    order = np.argsort(-priced, axis=1, kind="stable")
    ranks = np.arange(1, priced.shape[1] + 1)
    levels = np.take_along_axis(priced, order, axis=1) + np.log(ranks)
    best = levels.argmax(1)[:, None]
    each = np.where(ranks - 1 <= best, np.take_along_axis(levels, best, axis=1) / (best + 1), 0)
    parts = np.zeros(priced.shape)
    np.put_along_axis(parts, order, each, axis=1)
    return parts


def harmonic(surprises: FloatArray, weights: FloatArray, count: int, start: float) -> FloatArray:
    """Take −log of the weighted harmonic mean of p (Wilson 2019): a soft maximum that bears dependence."""
    priced = surprises + _prices(weights)
    top = priced.max(1, keepdims=True)
    shares = np.exp(priced - top)
    total = shares.sum(1, keepdims=True)
    parts: FloatArray = shares / total * (top + np.log(total))
    return parts


RULES: dict[str, Rule] = {
    "fisher": added,
    "truncated": truncated,
    "strongest": strongest,
    "bonferroni": bonferroni,
    "simes": simes,
    "harmonic": harmonic,
}


def _prices(weights: FloatArray) -> FloatArray:
    """Return log of the share of each weight, ≤ 0."""
    prices: FloatArray = np.log(weights / weights.sum())
    return prices
