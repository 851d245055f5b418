"""Which neurons the signs of activity look at: some layers, and some neurons of a large one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.paths.header import Header

LAYERS = 12  # of the early ones, evenly spread
NEURONS = 16_384  # of a layer


@dataclass(frozen=True, eq=False)
class Sample:
    """Neurons of early layers, the same for every image of a network.

    What is known of each neuron is kept for each class, and a photograph has millions of them: a sample bounds
    memory and time, and a network with fewer layers and neurons is looked at whole.

    Attributes:
        ids: by layer, int64 ascending.
        positions: of these neurons, int64, by layer of those that lie in places, see `layers_in_places`.
    """

    ids: dict[str, NDArray[np.int64]]
    positions: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def of(cls, header: Header) -> Sample:
        """Choose of the first half of the layers: `LAYERS` at most, evenly spread, and `NEURONS` of each."""
        ids = {name: drawn(header.universe("neurons", name), NEURONS) for name in sampled_layers(header)}
        located = {
            name: header.layer(name).window.locate(torch.from_numpy(ids[name]))[1].numpy()
            for name in layers_in_places(header)
        }
        return cls(ids, located)

    def size(self, layer: str) -> int:
        """Return how many neurons of a layer are looked at."""
        return len(self.ids[layer])

    def take(self, layer: str, outputs: Tensor) -> Tensor:
        """Return the outputs of a layer's chosen neurons, [B, size], of the layer's outputs [B, …]."""
        ids = torch.from_numpy(self.ids[layer]).to(outputs.device)
        if outputs.dim() > 2 and not outputs.is_contiguous():  # channels last: taken as it lies in memory
            channels, positions = outputs.shape[1], outputs[0, 0].numel()
            ids = ids % positions * channels + ids // positions
            outputs = outputs.flatten(2).transpose(1, 2)
        return outputs.reshape(len(outputs), -1).index_select(1, ids)


def sampled_layers(header: Header) -> tuple[str, ...]:
    """Return the names of the layers that a sample is of, in forward order."""
    early = early_layers(header)
    places = np.linspace(0, len(early) - 1, min(LAYERS, len(early))).round().astype(int)
    return tuple(early[at] for at in places)


def layers_in_places(header: Header) -> tuple[str, ...]:
    """Return those of a sample's layers whose neurons lie in places: channels of several positions each."""
    windows = {name: header.layer(name).window for name in sampled_layers(header)}
    return tuple(name for name, window in windows.items() if window.channels_first and window.positions > 1)


def sides_of(graph: Graph, layer: str, positions: int) -> tuple[int, ...]:
    """Return how many positions a layer has along each side; along one, where its shape does not say."""
    sides = tuple(graph.shape(layer)[2:])
    return sides if np.prod(sides, dtype=int) == positions else (positions,)


def early_layers(header: Header) -> tuple[str, ...]:
    """Return the names of the first half of the layers, rounded up."""
    names = header.keys("synapses")
    return tuple(names[: (len(names) + 1) // 2])


def late_layers(header: Header, share: float) -> tuple[str, ...]:
    """Return the names of the last layers: a share of all, one at least."""
    names = header.keys("synapses")
    return tuple(names[-max(1, round(share * len(names))) :])


def drawn(neurons: int, most: int) -> NDArray[np.int64]:
    """Return the ids of some of so many neurons, ascending: all, or those with the lowest hashes.

    A hash of the id (the finaliser of splitmix64) draws them as if by chance, and alike in every version of NumPy.
    """
    if neurons <= most:
        return np.arange(neurons)
    mixed = np.arange(1, neurons + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return np.sort(np.argpartition(mixed, most - 1)[:most]).astype(np.int64)
