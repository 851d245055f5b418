"""Kernel density of the last hidden layer, class by class (Feinman, Curtin, Shintre, Gardner, 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from torch import Tensor

from effpath.errors import InputError
from effpath.graph import Graph
from rivals.activations import Floats, Output, channel_means, hidden_outputs, layer_values, logits

GRID = tuple(np.logspace(-1.5, 0.5, 9))  # bandwidths to choose from, in standard deviations of the layer


@dataclass(frozen=True, eq=False)
class ClassDensity:
    """Suspicion [N]: −log density of the last hidden layer among the predicted class's training images.

    Gaussian kernels of one bandwidth; where none is given, the one of highest likelihood in a three-fold
    cross-validation over at most 1000 training images. Their second feature, the spread of predictions under
    dropout, needs a network trained with it, and is left out.
    """

    graph: Graph
    layer: Output
    densities: tuple[KernelDensity, ...]

    @classmethod
    def fit(
        cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, bandwidth: float | None = None
    ) -> ClassDensity:
        missing = sorted(set(range(graph.classes)) - set(labels.tolist()))
        if missing:
            raise InputError(f"expected training images of every class, got none of {missing[:8]}")
        layer = hidden_outputs(graph)[-1]
        (values,) = layer_values(graph, images, [layer], channel_means)
        if bandwidth is None:
            bandwidth = choose_bandwidth(values, labels.numpy(), seed)
        by_class = (values[labels.numpy() == label] for label in range(graph.classes))
        return cls(graph, layer, tuple(KernelDensity(bandwidth=bandwidth).fit(rows) for rows in by_class))

    def measure(self, images: Tensor) -> Floats:
        (values,) = layer_values(self.graph, images, [self.layer], channel_means)
        predicted = logits(self.graph, images).argmax(1)
        suspicion = np.empty(len(values))
        for label in np.unique(predicted):
            members = predicted == label
            suspicion[members] = -self.densities[label].score_samples(values[members])
        return suspicion


def choose_bandwidth(values: Floats, labels: np.ndarray, seed: int) -> float:
    """Return the bandwidth of highest likelihood for values less their class's mean."""
    means = np.stack([values[labels == label].mean(0) for label in range(labels.max() + 1)])
    drawn = np.random.default_rng(seed).permutation(len(values))[:1000]
    centred = (values - means[labels])[drawn]
    scale = float(centred.std()) or 1.0
    search = GridSearchCV(KernelDensity(), {"bandwidth": [scale * step for step in GRID]}, cv=3)
    return float(search.fit(centred).best_params_["bandwidth"])
