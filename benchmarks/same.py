"""Whether two class paths are the same: nothing is reported of those that are not."""

from __future__ import annotations

import numpy as np

import effpath


def same_class_paths(one: effpath.ClassPaths, other: effpath.ClassPaths) -> bool:
    """Tell whether two class paths have the same sets, use counts and numbers of images."""
    if set(one) != set(other) or one.seen != other.seen or one.counts.keys() != other.counts.keys():
        return False
    for label in one:
        if one[label] != other[label] or one[label].images != other[label].images:
            return False
        for level, sets in one.counts[label].items() if label in one.counts else ():
            for key, counts in sets.items():
                if not np.array_equal(counts, other.counts[label][level][key]):
                    return False
    return True
