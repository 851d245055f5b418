"""What the compiled walk found, as it found it: two bytes a synapse, unsorted; ids are made when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.paths.forms import Ids


@dataclass(frozen=True, eq=False)
class CompactSynapses:
    """Chosen synapses of one layer over a batch; read like `effpath.paths.rows.Ragged`.

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
        first = parts[0]
        ends = np.cumsum([0, *(len(part.neurons) for part in parts)])
        return cls(
            np.concatenate([part.neurons for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.concatenate([part.candidates for part in parts]),
            np.concatenate([part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)] + [ends[-1:]]),
            first.inputs,
            first.channels,
            first.positions,
        )

    def select(self, rows: NDArray[np.int64]) -> CompactSynapses:
        """Return the synapses of some images."""
        neurons = [slice(self.starts[row], self.starts[row + 1]) for row in rows]
        synapses = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return CompactSynapses(
            np.concatenate([self.neurons[:0], *(self.neurons[each] for each in neurons)]),
            np.concatenate([self.counts[:0], *(self.counts[each] for each in neurons)]),
            np.concatenate([self.candidates[:0], *(self.candidates[each] for each in synapses)]),
            np.concatenate([[0], np.diff(self.starts)[rows].cumsum()]).astype(np.int64),
            self.inputs,
            self.channels,
            self.positions,
        )

    @cached_property
    def offsets(self) -> Ids:
        """Where the synapses of each image begin, int64 [B + 1]."""
        return np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])[self.starts]

    @property
    def lengths(self) -> Ids:
        """Number of synapses of each image."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.neurons.nbytes + self.counts.nbytes + self.candidates.nbytes + self.starts.nbytes

    @cached_property
    def values(self) -> Ids:
        """Sorted slots of all images, concatenated."""
        return self.take(np.arange(len(self.starts) - 1))

    def __getitem__(self, index: int) -> Ids:
        """Sorted slots of one image, int64."""
        if "values" in vars(self):  # sorted already
            return self.values[self.offsets[index] : self.offsets[index + 1]]
        rows = slice(self.starts[index], self.starts[index + 1])
        ids = self.neuron_ids(index) * self.inputs
        slots = np.repeat(ids, self.counts[rows])
        slots += self.candidates[self.offsets[index] : self.offsets[index + 1]]
        slots.sort()
        return slots

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Sorted slots of several images, concatenated."""
        return np.concatenate([self[row] for row in rows]) if len(rows) else np.empty(0, np.int64)

    def neuron_ids(self, index: int) -> Ids:
        """Ids of an image's active outputs, int64, in the order they are stored in."""
        stored = self.neurons[self.starts[index] : self.starts[index + 1]].astype(np.int64)
        if self.channels == 1 or self.positions == 1:
            return stored
        return stored % self.channels * self.positions + stored // self.channels


@dataclass(frozen=True, eq=False)
class CompactNeurons:
    """Active outputs of one layer over a batch; read like `effpath.paths.rows.Ragged`."""

    of: CompactSynapses

    @property
    def offsets(self) -> Ids:
        """Where the neurons of each image begin, int64 [B + 1]."""
        return self.of.starts

    @property
    def lengths(self) -> Ids:
        """Number of neurons of each image."""
        return np.diff(self.of.starts)

    @cached_property
    def values(self) -> Ids:
        """Sorted ids of all images, concatenated."""
        return self.take(np.arange(len(self.of.starts) - 1))

    def __getitem__(self, index: int) -> Ids:
        """Sorted ids of one image, int64."""
        return np.sort(self.of.neuron_ids(index))

    def take(self, rows: NDArray[np.int64]) -> Ids:
        """Sorted ids of several images, concatenated."""
        return np.concatenate([self[row] for row in rows]) if len(rows) else np.empty(0, np.int64)
