"""Mahalanobis distance to the nearest class, layer by layer (Lee, Lee, Lee, Shin, NeurIPS 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from effpath.graph import Graph
from rivals.activations import (
    Floats,
    Output,
    activations_with_gradient,
    as_array,
    channel_means,
    layer_values,
    over_batches,
    spread_outputs,
)


@dataclass(frozen=True, eq=False)
class Gaussians:
    """A normal distribution per class with one covariance Σ, of one layer.

    Attributes:
        whitening: [d, r] with whitening · whiteningᵀ = Σ⁺, the pseudo-inverse.
        means: [classes, r], of the classes, whitened.
    """

    whitening: Tensor
    means: Tensor

    def distance(self, values: Tensor) -> Tensor:
        """Return min over classes of (v − μ)ᵀ Σ⁺ (v − μ), [N], of values [N, d]."""
        apart = (values.double().cpu() @ self.whitening)[:, None] - self.means  # [N, classes, r]
        return apart.square().sum(2).amin(1)


def fit_gaussians(values: Floats, labels: np.ndarray) -> Gaussians:
    """Fit means and the tied covariance; directions that never vary have no part in the distance."""
    present, at = np.unique(labels, return_inverse=True)
    means = np.stack([values[at == k].mean(0) for k in range(len(present))])
    _, spread, directions = np.linalg.svd(values - means[at], full_matrices=False)
    variance = spread**2 / len(values)
    varies = variance > variance.max() * values.shape[1] * np.finfo(np.float64).eps
    whitening = directions[varies].T / np.sqrt(variance[varies])
    return Gaussians(torch.from_numpy(whitening), torch.from_numpy(means @ whitening))


@dataclass(frozen=True, eq=False)
class Mahalanobis:
    """Columns [N, layers]: squared distance of each layer's channel means to its nearest class.

    The layers are those of `spread_outputs`. As in the paper the image is first moved by ε in
    the direction that lowers the distance, layer by layer. The paper chooses ε for each network and attack; here
    it is one value from the middle of its grid, so that unseen attacks stay unseen. pytorch-ood has the distance
    in one layer (``Mahalanobis``).
    """

    graph: Graph
    layers: tuple[Output, ...]
    gaussians: tuple[Gaussians, ...]
    epsilon: float

    @classmethod
    def fit(
        cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, epsilon: float = 0.002
    ) -> Mahalanobis:
        layers = spread_outputs(graph)
        values = layer_values(graph, images, layers, channel_means)
        return cls(graph, tuple(layers), tuple(fit_gaussians(layer, labels.numpy()) for layer in values), epsilon)

    def measure(self, images: Tensor) -> Floats:
        return over_batches(self.graph, images, self._distances)

    def _distances(self, batch: Tensor) -> Floats:
        """Return the distances [n, layers] of a batch; all layers' slopes are of one forward pass."""
        columns = []
        for (output, gaussians), moved in zip(self._at, self._moved(batch), strict=True):
            found = self.graph.run(moved, [output.node])[output.node]
            columns.append(as_array(gaussians.distance(channel_means(found, output))))
        return np.stack(columns, axis=1)

    def _moved(self, batch: Tensor) -> Iterator[Tensor]:
        """Yield the batch moved by ε for each layer."""
        if not self.epsilon:
            yield from repeat(batch, len(self.layers))
            return
        with torch.enable_grad():
            pixels = batch.clone().requires_grad_()
            values = activations_with_gradient(self.graph, pixels, [output.node for output in self.layers])
            totals = [gaussians.distance(channel_means(values[o.node], o)).sum() for o, gaussians in self._at]
        for total in totals:
            (slope,) = torch.autograd.grad(total, pixels, retain_graph=True)
            yield batch - self.epsilon * slope.sign()

    @property
    def _at(self) -> list[tuple[Output, Gaussians]]:
        return list(zip(self.layers, self.gaussians, strict=True))
