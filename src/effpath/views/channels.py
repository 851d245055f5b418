"""Which channels of a layer a path uses, and in which of them it leaves the class path."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from effpath.paths.idset import Ids, IdSet
from effpath.rules.plan import Layer

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


def outside_by_channel(layer: Layer, slots: Ids, members: IdSet) -> tuple[Counts, Counts]:
    """Return how many synapses of a path lead to each output channel, and how many of these lie outside a set.

    Args:
        layer: of the network; the channels of a linear layer are its outputs.
        slots: int64 [n], ascending, the path's synapses in the layer.
        members: the synapses of a class path there.

    Returns:
        int64 [channels], twice.
    """
    return by_channel(layer, slots), by_channel(layer, slots, ~members.contains(slots))


def by_channel(layer: Layer, slots: Ids, chosen: Flags | None = None) -> Counts:
    """Return how many synapses lead to each output channel of a layer, int64 [channels].

    Args:
        layer: of the network.
        slots: int64 [n], ascending.
        chosen: bool [n], which of them count; all if not given.
    """
    window = layer.window
    if window.channels_first:  # a channel's slots lie together
        edges = np.searchsorted(slots, np.arange(window.channels + 1) * window.positions * window.candidates)
        if chosen is None:
            return np.diff(edges)
        return np.diff(np.concatenate([[0], np.cumsum(chosen)])[edges])
    outputs = torch.from_numpy(slots if chosen is None else slots[chosen]) // window.candidates
    return np.bincount(window.locate(outputs)[0].numpy(), minlength=window.channels)
