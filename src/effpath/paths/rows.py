"""Sorted ids of each image of a batch: concatenated, or as the compiled walk found them until somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.paths.idset import Ids


class IdRows:
    """Sorted ids of each image of a batch, however they are kept."""

    @cached_property
    def offsets(self) -> Ids:
        """Where the ids of each image begin, int64 [B + 1]."""
        raise NotImplementedError

    @cached_property
    def values(self) -> Ids:
        """Sorted ids of each image, concatenated."""
        return self.take(np.arange(len(self.offsets) - 1))

    @property
    def lengths(self) -> Ids:
        """Number of ids of each image, int64 [B]."""
        return np.diff(self.offsets)

    def __getitem__(self, index: int) -> Ids:
        """Sorted ids of one image, int64."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Return the sorted ids of each of some images, concatenated."""
        return np.concatenate([self[row] for row in rows]) if len(rows) else np.empty(0, np.int64)


class Ragged(IdRows):
    """Sorted ids, concatenated: image i has values[offsets[i]:offsets[i+1]]."""

    def __init__(self, values: Ids, offsets: Ids) -> None:
        """Hold the ids and where those of each image begin."""
        self.values, self.offsets = values, offsets

    @classmethod
    def of(cls, image: NDArray[np.int64], ids: Ids, images: int) -> Ragged:
        """Return the rows of ids that are sorted by image."""
        return cls(ids, np.searchsorted(image, np.arange(images + 1)).astype(np.int64))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Ragged:
        """Return the ids that are marked in each row of a mask, bool [B, size]."""
        found = np.flatnonzero(mask)
        first = np.arange(len(mask) + 1) * mask.shape[1]
        offsets = np.searchsorted(found, first)
        return cls(found - np.repeat(first[:-1], np.diff(offsets)), offsets.astype(np.int64))

    @classmethod
    def join(cls, parts: Sequence[IdRows]) -> Ragged:
        """Concatenate several batches."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), np.concatenate([[0], lengths.cumsum()]))

    def select(self, rows: NDArray[np.int64]) -> Ragged:
        """Return the sets of some images."""
        return Ragged(self.take(rows), np.concatenate([[0], self.lengths[rows].cumsum()]).astype(np.int64))


@dataclass(frozen=True, eq=False)
class CompactSynapses(IdRows):
    """Chosen synapses of one layer as the walk found them: two bytes per synapse, unsorted.

    Attributes:
        neurons: int32 [N], active outputs of the images, concatenated, in the order they are stored in.
        counts: int32 [N], chosen candidates of each.
        candidates: uint16 or int32 [Σ counts].
        starts: int64 [B + 1], where the neurons of each image begin.
        inputs: candidates that an output has, K.
        channels, positions: stored output position · channels + channel has the id channel · positions + position.
    """

    neurons: NDArray[np.int32]
    counts: NDArray[np.int32]
    candidates: NDArray[Any]
    starts: Ids
    inputs: int
    channels: int
    positions: int

    @classmethod
    def join(cls, parts: Sequence[CompactSynapses]) -> CompactSynapses:
        """Concatenate several batches of one layer."""
        ends = np.cumsum([0, *(len(part.neurons) for part in parts)])
        starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
        return replace(
            parts[0],
            neurons=np.concatenate([part.neurons for part in parts]),
            counts=np.concatenate([part.counts for part in parts]),
            candidates=np.concatenate([part.candidates for part in parts]),
            starts=np.concatenate([*starts, ends[-1:]]),
        )

    def select(self, rows: NDArray[np.int64]) -> CompactSynapses:
        """Return the synapses of some images."""
        neurons = [slice(self.starts[row], self.starts[row + 1]) for row in rows]
        synapses = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return replace(
            self,
            neurons=np.concatenate([self.neurons[:0], *(self.neurons[each] for each in neurons)]),
            counts=np.concatenate([self.counts[:0], *(self.counts[each] for each in neurons)]),
            candidates=np.concatenate([self.candidates[:0], *(self.candidates[each] for each in synapses)]),
            starts=np.concatenate([[0], np.diff(self.starts)[rows].cumsum()]).astype(np.int64),
        )

    @cached_property
    def offsets(self) -> Ids:
        """Where the synapses of each image begin, int64 [B + 1]."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])[self.starts]

    def __getitem__(self, index: int) -> Ids:
        """Sorted slots of one image, int64."""
        if "values" in vars(self):  # sorted already
            return super().__getitem__(index)
        ids = self.neuron_ids(index) * self.inputs
        slots = np.repeat(ids, self.counts[self.starts[index] : self.starts[index + 1]])
        slots += self.candidates[self.offsets[index] : self.offsets[index + 1]]
        slots.sort()
        return slots

    def neuron_ids(self, index: int) -> Ids:
        """Return the ids of an image's active outputs, int64, in the order they are stored in."""
        stored = self.neurons[self.starts[index] : self.starts[index + 1]].astype(np.int64)
        if self.channels == 1 or self.positions == 1:
            return stored
        return stored % self.channels * self.positions + stored // self.channels


@dataclass(frozen=True, eq=False)
class CompactNeurons(IdRows):
    """The active outputs that belong to compact synapses."""

    of: CompactSynapses

    @cached_property
    def offsets(self) -> Ids:
        """Where the neurons of each image begin, int64 [B + 1]."""
        return self.of.starts

    def __getitem__(self, index: int) -> Ids:
        """Sorted ids of one image, int64."""
        return np.sort(self.of.neuron_ids(index))


def join_rows(synapses: Sequence[IdRows], neurons: Sequence[IdRows]) -> tuple[IdRows, IdRows]:
    """Concatenate the sets of one layer of several batches."""
    compact = [rows for rows in synapses if isinstance(rows, CompactSynapses)]
    if len(compact) == len(synapses):
        joined = CompactSynapses.join(compact)
        return joined, CompactNeurons(joined)
    return Ragged.join(synapses), Ragged.join(neurons)


def select_rows(synapses: IdRows, neurons: IdRows, rows: NDArray[np.int64]) -> tuple[IdRows, IdRows]:
    """Return the sets of one layer of some images of a batch."""
    if isinstance(synapses, CompactSynapses):
        chosen = synapses.select(rows)
        return chosen, CompactNeurons(chosen)
    return Ragged.join([synapses]).select(rows), Ragged.join([neurons]).select(rows)
