"""Classes in an order in which neighbours are alike, and the tree that joins them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tree:
    """Classes joined step by step, those with the most similar paths first (average linkage).

    Attributes:
        order: int64 [classes], their places from left to right: of all orders without crossings that in which
            neighbours are most similar.
        merges: float64 [classes − 1, 4], SciPy's linkage matrix: the two that are joined (a class, or classes + a
            row that joined several), their distance, 1 − similarity, and how many classes that makes.
    """

    order: NDArray[np.int64]
    merges: Floats

    def lines(self) -> tuple[Floats, Floats]:
        """Return the tree as one line with gaps, x and height, each [5 · (classes − 1)].

        The class at place k of the order stands at k + ½, at the height 0; NaN is a gap.
        """
        classes = len(self.order)
        middle, height = np.zeros(2 * classes - 1), np.zeros(2 * classes - 1)
        middle[self.order] = np.arange(classes) + 0.5
        x, y = np.full((classes - 1, 5), np.nan), np.full((classes - 1, 5), np.nan)
        for row, (left, right, distance, _) in enumerate(self.merges):
            one, two, joined = int(left), int(right), classes + row
            middle[joined], height[joined] = (middle[one] + middle[two]) / 2, distance
            x[row, :4] = middle[one], middle[one], middle[two], middle[two]
            y[row, :4] = height[one], distance, distance, height[two]
        return x.reshape(-1), y.reshape(-1)


def tree_of(similarity: Floats) -> Tree:
    """Return the tree of classes, at least two, by their similarity [classes, classes]; NaN counts as 0.

    >>> tree_of(np.array([[1, 0.1, 0.9], [0.1, 1, 0.2], [0.9, 0.2, 1]])).order.tolist() in ([0, 2, 1], [1, 2, 0])
    True
    """
    from scipy.cluster.hierarchy import leaves_list, linkage  # takes a third of a second

    classes = len(similarity)
    distance = 1 - np.nan_to_num(similarity, nan=0.0)[np.triu_indices(classes, 1)]
    merges: Floats = linkage(distance, "average", optimal_ordering=classes > 2)
    return Tree(leaves_list(merges).astype(np.int64), merges)
