"""Local intrinsic dimensionality, layer by layer (Ma et al., ICLR 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from effpath.errors import InputError
from effpath.graph import Graph
from rivals.activations import Floats, Output, layer_batches, layer_values, rows, spread_outputs

SMALLEST = 1e-3  # of the mean of −log(rᵢ / r_k): equal distances would make the dimension infinite


def dimension(distances: Floats) -> Floats:
    """Return −(1/k Σᵢ log(rᵢ / r_k))⁻¹, [N], of the distances to the k nearest [N, k], ascending.

    A distance of 0 counts as 1e-12; k equal distances give 1 / `SMALLEST`.
    """
    held = np.maximum(distances, 1e-12)
    return 1 / np.maximum(-np.log(held / held[:, -1:]).mean(1), SMALLEST)


@dataclass(frozen=True, eq=False)
class LocalDimension:
    """Columns [N, layers]: the dimension of each layer's values among the k nearest of a clean minibatch.

    The weighted layers of `spread_outputs`, all their values where memory allows (`rows`). k = 20 of 100, the
    paper's for MNIST. The paper draws a minibatch of clean images for each batch that it measures; here it is
    one of training images, drawn once, so that an image's score depends on no other one. Noisy images among
    the negatives of the classifier are left out.
    """

    graph: Graph
    layers: tuple[Output, ...]
    nearest: tuple[NearestNeighbors, ...]

    @classmethod
    def fit(
        cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, minibatch: int = 100, k: int = 20
    ) -> LocalDimension:
        if len(images) < k:
            raise InputError(f"expected at least k = {k} training images, got {len(images)}")
        drawn = np.sort(np.random.default_rng(seed).permutation(len(images))[:minibatch])
        layers = spread_outputs(graph)
        values = layer_values(graph, images[drawn], layers, rows)
        nearest = tuple(NearestNeighbors(n_neighbors=k, algorithm="brute").fit(layer) for layer in values)
        return cls(graph, tuple(layers), nearest)

    def measure(self, images: Tensor) -> Floats:
        found = []
        for values in layer_batches(self.graph, images, self.layers, rows):
            pairs = zip(self.nearest, values, strict=True)
            found.append(np.stack([dimension(nearest.kneighbors(layer)[0]) for nearest, layer in pairs], axis=1))
        return np.concatenate(found)
