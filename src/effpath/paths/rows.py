"""Sorted ids of each image of a batch, however they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from effpath.paths.compact import CompactNeurons, CompactSynapses
from effpath.paths.forms import Ids


class IdRows(Protocol):
    """Sorted ids of each image of a batch, however they are kept."""

    @property
    def values(self) -> Ids:
        """All ids, image after image."""

    @property
    def offsets(self) -> Ids:
        """Where each image's begin, [B + 1]."""

    @property
    def lengths(self) -> Ids:
        """Number of ids of each image."""

    def __getitem__(self, index: int) -> Ids:
        """Ids of one image."""

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Ids of several images, concatenated."""


@dataclass(frozen=True, eq=False)
class Ragged:
    """Sorted ids of each image of a batch, concatenated: image i has values[offsets[i]:offsets[i+1]]."""

    values: Ids
    offsets: Ids

    @classmethod
    def of(cls, image: NDArray[np.int64], ids: Ids, images: int) -> Ragged:
        """Make it of ids sorted by image."""
        return cls(ids, np.searchsorted(image, np.arange(images + 1)).astype(np.int64))

    @classmethod
    def join(cls, parts: Sequence[IdRows]) -> Ragged:
        """Concatenate several batches."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), np.concatenate([[0], lengths.cumsum()]))

    def __getitem__(self, index: int) -> Ids:
        """Ids of one image."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Ids of several images, concatenated."""
        return np.concatenate([self[row] for row in rows]) if len(rows) else self.values[:0]

    def select(self, rows: NDArray[np.int64]) -> Ragged:
        """Return the sets of some images."""
        return Ragged(self.take(rows), np.concatenate([[0], self.lengths[rows].cumsum()]).astype(np.int64))

    @property
    def lengths(self) -> Ids:
        """Number of ids of each image."""
        return np.diff(self.offsets)


def join_rows(synapses: Sequence[IdRows], neurons: Sequence[IdRows]) -> tuple[IdRows, IdRows]:
    """Concatenate the sets of one layer of several batches."""
    compact = [rows for rows in synapses if isinstance(rows, CompactSynapses)]
    if len(compact) == len(synapses):
        joined = CompactSynapses.join(compact)
        return joined, CompactNeurons(joined)
    return Ragged.join(synapses), Ragged.join(neurons)


def select_rows(synapses: IdRows, neurons: IdRows, rows: NDArray[np.int64]) -> tuple[IdRows, IdRows]:
    """Return the sets of one layer of some images of a batch."""
    if isinstance(synapses, CompactSynapses) and isinstance(neurons, CompactNeurons):
        chosen = synapses.select(rows)
        return chosen, CompactNeurons(chosen)
    return Ragged.join([synapses]).select(rows), Ragged.join([neurons]).select(rows)
