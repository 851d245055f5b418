"""How usual the elements of paths are for each class. Compiled at first use: import this only there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.kernels.sets import CHUNK, CHUNK_BITS, Ids, Lows, compiled

Floats = NDArray[np.float64]


@compiled
def first_from(lows: Lows, low: Any, high: Any, wanted: Any) -> Any:
    """Place of the first of the sorted lows[low:high] that is not below the wanted one; high for none."""
    while low < high:
        middle = (low + high) >> 1
        if lows[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def counts_of(
    starts: Ids, lows: Lows, counts: NDArray[np.uint16], ids: Ids, columns: Ids, found: NDArray[np.int64]
) -> None:
    """Look up how many images of some classes used each id, 0 where none did.

    Args:
        starts, lows: rows of all ids that any class used, as in `effpath.kernels.sets`.
        counts: [ids, classes], images of the class that used the id; uint16 or uint32.
        ids: [n], in any order, below the size of the universe.
        columns: [m], of the classes.
        found: [n, m], written to.
    """
    for k in range(len(ids)):
        chunk, wanted = ids[k] >> CHUNK_BITS, ids[k] & (CHUNK - 1)
        high = starts[chunk + 1]
        at = first_from(lows, starts[chunk], high, wanted)
        known = at < high and lows[at] == wanted
        for column in range(len(columns)):
            found[k, column] = counts[at, columns[column]] if known else 0


@compiled
def add_logs(
    starts: Ids,
    lows: Lows,
    counts: NDArray[np.uint16],
    logs: Floats,
    without: Floats,
    ids: Ids,
    offsets: Ids,
    left_out: Ids,
    sums: Floats,
) -> None:
    """Add to sums [images, classes] the logarithm of each id of each image.

    Args:
        starts, lows: rows of all ids that any class used, as in `effpath.kernels.sets`.
        counts: [ids, classes], images of the class that used the id; uint16 or uint32.
        logs: [classes, highest count + 1], by count.
        without: the same for the class that an image is left out of.
        ids, offsets: image i has ids[offsets[i]:offsets[i + 1]], ascending and below the size of the universe.
        left_out: int64 [images], the place of that class; -1 for none.
        sums: written to.
    """
    classes = len(logs)
    for image in range(len(sums)):
        chunk, low, high = np.int64(-1), np.int64(0), np.int64(0)
        for k in range(offsets[image], offsets[image + 1]):
            if ids[k] >> CHUNK_BITS != chunk:
                chunk = ids[k] >> CHUNK_BITS
                low, high = starts[chunk], starts[chunk + 1]
            wanted = ids[k] & (CHUNK - 1)
            low = first_from(lows, low, high, wanted)  # the next id is higher
            known = low < high and lows[low] == wanted
            for c in range(classes):
                count = counts[low, c] if known else 0
                sums[image, c] += without[c, count] if c == left_out[image] else logs[c, count]
