"""Counting how often each id was used, by one dense array or, for large universes, by merging sorted ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effpath.paths.idset import Ids

Counts = NDArray[np.uint32]


class Tally:
    """How many images used each id of one set."""

    def __init__(self, size: int, *, dense: bool) -> None:
        """Start empty; ``dense`` keeps one counter per id of the universe."""
        self.size = size
        self._dense = np.zeros(size, dtype=np.uint32) if dense else None
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._counts: Counts = np.empty(0, dtype=np.uint32)
        self._waiting: list[tuple[Ids, Counts]] = []
        self._waiting_length = 0

    def add(self, ids: Ids, counts: Counts | None = None) -> None:
        """Count each id once for each time it appears (or as often as ``counts`` says)."""
        if self._dense is not None:
            np.add.at(self._dense, ids, np.uint32(1) if counts is None else counts)
            return
        own = np.ones(len(ids), dtype=np.uint32) if counts is None else counts
        self._waiting.append((ids, own))
        self._waiting_length += len(ids)
        if self._waiting_length > max(len(self._ids), 1 << 20):  # so that all merges together cost n·log n
            self._merge()

    def _merge(self) -> None:
        ids = np.concatenate([self._ids, *(ids for ids, _ in self._waiting)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._waiting)])
        self._ids, at = np.unique(ids, return_inverse=True)
        self._counts = np.bincount(at, weights=counts, minlength=len(self._ids)).astype(np.uint32)
        self._waiting, self._waiting_length = [], 0

    def result(self) -> tuple[Ids, Counts]:
        """Return the sorted ids that were used, and how often."""
        if self._dense is not None:
            ids = np.flatnonzero(self._dense).astype(np.int64)
            return ids, self._dense[ids]
        self._merge()
        return self._ids, self._counts
