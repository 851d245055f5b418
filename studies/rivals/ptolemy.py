"""Ptolemy's forward paths (Gan, Qiu, Leng, Guo, Zhu, MICRO 2020): which neurons are important, told on the way.

Its fastest variant, FwAb: no walk backwards, a neuron is important if its value is above an absolute threshold, as
soon as its layer is computed. The path of a class has the important neurons of all training images of it that the
network gets right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor

from effpath.graph import Graph
from rivals.activations import Floats, Output, layer_batches, layer_values, logits, spread_outputs

IMPORTANT = 0.1  # share of a layer's values above its threshold
DRAWN = 32  # training images that the thresholds are taken from


def flat(activation: Tensor, _: Output) -> Tensor:
    return activation.flatten(1)


def forest(seed: int) -> RandomForestClassifier:
    """The paper's classifier: a hundred trees of at most twelve levels."""
    return RandomForestClassifier(n_estimators=100, max_depth=12, random_state=seed)


@dataclass(frozen=True, eq=False)
class ForwardPaths:
    """Columns [N, layers]: the share of an image's important neurons that are in the path of the predicted class.

    1 where none is important. Layers are those of `spread_outputs`. The paper leaves the thresholds to be chosen
    for each network: here a layer's is the value that a tenth of its values on some training images exceed.

    Attributes:
        limits: threshold of each layer.
        paths: bool [classes, values] of each layer.
    """

    graph: Graph
    layers: tuple[Output, ...]
    limits: tuple[float, ...]
    paths: tuple[NDArray[np.bool_], ...]

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> ForwardPaths:
        layers = spread_outputs(graph)
        drawn = np.sort(np.random.default_rng(seed).permutation(len(images))[:DRAWN])
        some = layer_values(graph, images[drawn], layers, flat)
        limits = tuple(float(np.quantile(values, 1 - IMPORTANT)) for values in some)
        paths = tuple(np.zeros((graph.classes, values.shape[1]), bool) for values in some)
        predicted, start = logits(graph, images).argmax(1), 0
        for batch in layer_batches(graph, images, layers, flat):
            rows = np.arange(start, start + len(batch[0]))
            start += len(rows)
            right = predicted[rows] == labels.numpy()[rows]
            for path, values, limit in zip(paths, batch, limits, strict=True):
                for label in np.unique(predicted[rows][right]):
                    path[label] |= (values[right & (predicted[rows] == label)] > limit).any(0)
        return cls(graph, tuple(layers), limits, paths)

    def measure(self, images: Tensor) -> Floats:
        predicted, found = logits(self.graph, images).argmax(1), []
        for batch in layer_batches(self.graph, images, self.layers, flat):
            own = predicted[sum(map(len, found)) :][: len(batch[0])]
            columns = []
            for path, values, limit in zip(self.paths, batch, self.limits, strict=True):
                important = values > limit
                inside = (important & path[own]).sum(1)
                columns.append(np.where(important.any(1), inside / np.maximum(important.sum(1), 1), 1.0))
            found.append(np.stack(columns, axis=1))
        return np.concatenate(found)
