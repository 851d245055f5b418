"""Counting how often each id was used: one counter per id or, for large universes, counted rows of used ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effpath.errors import OptionError
from effpath.paths.idset import Ids, Lows, check_range, chunks_of, flat, loops

Counts = NDArray[np.uint32]
ONCE: Counts = np.empty(0, dtype=np.uint32)  # no weights: each id counts once
WAITING = 1 << 20  # ids, at least, that are gathered before they are merged


class Tally:
    """How many images used each id of one set."""

    def __init__(self, size: int, *, dense: bool) -> None:
        """Start empty; ``dense`` keeps one counter per id of the universe."""
        self.size = size
        self._dense: Counts | None = np.zeros(size, dtype=np.uint32) if dense else None
        self._starts: Ids = np.zeros(chunks_of(size) + 1, dtype=np.int64)
        self._lows: Lows = np.empty(0, dtype=np.uint16)
        self._counts: Counts = np.empty(0, dtype=np.uint32)
        self._waiting: list[tuple[Ids, Counts]] = []  # either all with weights or all without
        self._weighted = False
        self._waiting_length = 0

    def add(self, ids: Ids, counts: Counts | None = None) -> None:
        """Count each id once for each time it appears (or as often as ``counts`` says).

        Raises:
            OptionError: an id is outside [0, size), or there is not one count per id.
        """
        array = flat(ids)
        check_range(array, self.size)
        weights = ONCE if counts is None else np.ascontiguousarray(counts, dtype=np.uint32)
        if counts is not None and len(weights) != len(array):
            raise OptionError(f"expected one count for each of {len(array)} ids, got {len(weights)}")
        if self._dense is not None:
            loops().count_dense(self._dense, array, weights)
            return
        if self._weighted != (counts is not None):
            self._merge_waiting()
            self._weighted = counts is not None
        self._waiting.append((array, weights))
        self._waiting_length += len(array)
        if self._waiting_length > max(len(self._lows), WAITING):  # so that all merges together are linear
            self._merge_waiting()

    def _merge_waiting(self) -> None:
        if self._waiting:
            ids, weights = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting, self._waiting_length = [], 0
            rows = loops().group(ids, weights, chunks_of(self.size))
            held = self._starts, self._lows, self._counts
            self._starts, self._lows, self._counts = loops().count_rows(*held, *rows)

    def result(self) -> tuple[Ids, Counts]:
        """Return the sorted ids that were used, and how often."""
        if self._dense is not None:
            ids = np.flatnonzero(self._dense).astype(np.int64)
            return ids, self._dense[ids]
        self._merge_waiting()
        return loops().ids_of_rows(self._starts, self._lows), self._counts
