"""Deep k-nearest neighbours (Papernot, McDaniel, 2018): do the training images nearby, layer by layer, agree?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from effpath.errors import InputError
from effpath.graph import Graph
from rivals.activations import Floats, Output, layer_batches, layer_values, logits, rows, spread_outputs


@dataclass(frozen=True, eq=False)
class DeepNeighbours:
    """Columns [N, 2], growing with suspicion: minus the credibility, minus the p-value of the network's class.

    The nonconformity of an image with a class is the number of its k nearest training images, over the weighted
    layers of `spread_outputs`, that have another label; the p-value of a class is the share of held-out training
    images whose nonconformity with their own label is at least as large. Credibility is the largest p-value of
    any class, as in the paper; the second column is stricter where network and neighbours disagree. Distances are
    cosines, as in the paper, and exact, where the paper hashes; k is its 75, or a tenth of the images searched
    where that is fewer. At most 10 000 training images, drawn by the seed, are searched.

    Attributes:
        labels: int64 [reference], of the training images searched.
        held_out: [calibration], ascending: nonconformity of the others with their own label.
    """

    graph: Graph
    layers: tuple[Output, ...]
    nearest: tuple[NearestNeighbors, ...]
    labels: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @classmethod
    def fit(
        cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, k: int = 75, most: int = 10_000
    ) -> DeepNeighbours:
        count = min(most, len(images)) // 10  # of held-out ones
        order = np.random.default_rng(seed).permutation(len(images))
        held_out, reference = np.sort(order[:count]), np.sort(order[count : count + most])
        k = min(k, len(reference) // 10)
        if count < 1 or k < 1:
            raise InputError(f"expected at least 12 training images, got {len(images)}")
        layers = spread_outputs(graph)
        values = layer_values(graph, images[reference], layers, rows)
        nearest = tuple(NearestNeighbors(n_neighbors=k, metric="cosine").fit(layer) for layer in values)
        whole = cls(graph, tuple(layers), nearest, labels.numpy()[reference], np.empty(0, np.int64))
        apart = whole.nonconformity(images[held_out])
        scores = apart[np.arange(count), labels.numpy()[held_out]]
        return cls(graph, whole.layers, nearest, whole.labels, np.sort(scores))

    def nonconformity(self, images: Tensor) -> NDArray[np.int64]:
        """Return how many neighbours over all layers have another label, int64 [N, classes]."""
        found = []
        for values in layer_batches(self.graph, images, self.layers, rows):
            nearby = [
                self.labels[nearest.kneighbors(layer, return_distance=False)]
                for nearest, layer in zip(self.nearest, values, strict=True)
            ]  # [n, k] each
            labels = np.concatenate(nearby, axis=1)
            found.append((labels[:, :, None] != np.arange(self.graph.classes)).sum(1))
        return np.concatenate(found)

    def measure(self, images: Tensor) -> Floats:
        apart = self.nonconformity(images)
        below = np.searchsorted(self.held_out, apart, side="left")
        p_values = 1 - below / len(self.held_out)  # [N, classes]
        predicted = logits(self.graph, images).argmax(1)
        return -np.stack([p_values.max(1), p_values[np.arange(len(apart)), predicted]], axis=1)
