"""Permutation tests of how alike classes are: the classes of a matrix are exchanged at random.

A p-value is the share of the orders drawn, and of the order found, that give a statistic at least as large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import rankdata

from sources import Row

DRAWS = 9999
ROUNDING = 1e-12  # statistics that differ by no more are equal


def grouped(matrix: np.ndarray, groups: Sequence[str], seed: int = 0) -> Row:
    """Test whether pairs of one group are more alike than pairs of two groups.

    Args:
        matrix: how alike each two classes are, symmetric, [N, N].
        groups: of the classes, [N]; their names are exchanged.
        seed: of the orders.

    Returns:
        The means inside groups and between them, how many pairs are inside, and p of the difference.
    """
    rows, columns = np.triu_indices(len(matrix), 1)
    values, codes = matrix[rows, columns], np.unique(groups, return_inverse=True)[1]

    def means(order: np.ndarray) -> tuple[float, float]:
        same = codes[order][rows] == codes[order][columns]
        return float(values[same].mean()), float(values[~same].mean())

    inside, between = means(np.arange(len(matrix)))
    drawn = _drawn(lambda order: np.subtract(*means(order)), len(matrix), seed)
    return {
        "inside": round(inside, 4),
        "between": round(between, 4),
        "pairs_inside": int((codes[rows] == codes[columns]).sum()),
        **_tested(inside - between, drawn),
    }


def correlated(one: np.ndarray, other: np.ndarray, seed: int = 0) -> Row:
    """Test whether two symmetric matrices [N, N] order the pairs of classes alike (Mantel's test).

    Returns:
        Spearman's correlation over the pairs, None where all pairs of one matrix are equal, and its p.
    """
    rows, columns = np.triu_indices(len(one), 1)
    ranks = [rankdata(matrix[rows, columns]) for matrix in (one, other)]
    if not all(np.ptp(own) for own in ranks):
        return {"spearman": None, "p": 1.0, "permutations": DRAWS}
    first, second = ((own - own.mean()) / own.std() for own in ranks)
    square = np.zeros(one.shape)
    square[rows, columns] = square[columns, rows] = second

    def correlation(order: np.ndarray) -> float:
        return float(first @ square[order[rows], order[columns]]) / len(first)

    found = correlation(np.arange(len(one)))
    return {"spearman": round(found, 4), **_tested(found, _drawn(correlation, len(one), seed))}


def _drawn(statistic: Callable[[np.ndarray], float], size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([statistic(rng.permutation(size)) for _ in range(DRAWS)])


def _tested(found: float, drawn: np.ndarray) -> Row:
    more = int((drawn >= found - ROUNDING).sum())
    return {"p": float(f"{(1 + more) / (1 + len(drawn)):.4g}"), "permutations": len(drawn)}
