"""Cutting labelled images into shards, each with an id that the same images always give it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.build import Work
from effpath.files.cache import fingerprint


@dataclass(frozen=True, eq=False)
class Assignment:
    """The images of one shard.

    Attributes:
        id: 16 hexadecimal digits, of the identity and the labels of the images.
        places: int64 [n], where they stand among the images of the work, class by class.
    """

    id: str
    places: NDArray[np.int64]

    def classes(self, work: Work) -> int:
        """Return how many classes its images have."""
        return len(np.unique(work.labels.numpy()[self.places]))


def origin_of(work: Work) -> str:
    """Return the identity of the data: its origin, or, where there is none, what it is called."""
    return work.origin or fingerprint("images without an origin", work.empty.data)


def rows_of(work: Work) -> NDArray[np.int64]:
    """Return where each image stands in the data; among the images that were given where that is not known."""
    return work.rows if work.origin else np.arange(len(work.labels), dtype=np.int64)


def cut(work: Work, size: int, known: NDArray[np.int64]) -> list[Assignment]:
    """Cut images into equal shards of at most so many, class by class, so that few classes meet in one.

    Args:
        work: the images.
        size: of a shard.
        known: rows of the images that are in the class paths already.
    """
    origin, rows, labels = origin_of(work), rows_of(work), work.labels.numpy()
    left = np.flatnonzero(~np.isin(rows, known))
    if not len(left):
        return []
    left = left[np.argsort(labels[left], kind="stable")]
    parts = np.array_split(left, -(-len(left) // size))
    return [Assignment(fingerprint(origin, rows[part], labels[part])[:16], part) for part in parts]
