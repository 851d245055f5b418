"""How a union grows with the images in it, told from use counts: nothing is built again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.tally import Counts


def expected_sizes(counts: Counts, images: int, drawn: Sequence[int]) -> NDArray[np.float64]:
    """Return the mean size of the union over so many images, drawn at random without repeats, float64 [drawn].

    An element that k of N images used is missing from the union over n of them with the probability
    C(N − k, n) ÷ C(N, n). At n = N that is 0: the whole union.

    Args:
        counts: of the images that used each element, uint32 [n], 1 … N.
        images: N.
        drawn: numbers of images, each 0 … N.

    Example:
        >>> expected_sizes(np.array([1, 2, 2], np.uint32), 2, [0, 1, 2]).round(9).tolist()
        [0.0, 2.5, 3.0]
    """
    elements = np.bincount(counts, minlength=images + 1)  # by the number of images that used them
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, images + 1)))])
    without = images - np.arange(images + 1)  # images that did not use an element
    sizes = np.zeros(len(drawn))
    for place, number in enumerate(drawn):
        possible = without >= number
        left = without[possible]
        logs = log_factorial[left] - log_factorial[left - number]
        missing = np.zeros(images + 1)
        missing[possible] = np.exp(logs - (log_factorial[images] - log_factorial[images - number]))
        sizes[place] = (elements * (1 - missing)).sum()
    return sizes
