"""ViM: how much of the features lies outside their usual space, as one more logit (Wang et al., CVPR 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from effpath.errors import InputError
from effpath.graph import Graph
from effpath.graph.node import Ref
from rivals.activations import Floats, as_array, logits, over_batches


@dataclass(frozen=True, eq=False)
class VirtualLogit:
    """Suspicion [N]: α · (length of the features outside their principal space) − log Σ exp of the logits.

    The features are what the last linear layer reads, less the point where all of its logits are 0. The principal
    space has, as in the paper, 1000 dimensions of 2048 features or more, 512 of 768 or more, half of fewer, but no
    more than half as many as there are training images. α makes the virtual logit on average as large as the
    largest of the others.
    """

    graph: Graph
    origin: Floats  # [features]
    outside: Floats  # [features, rest], the directions that vary least
    scale: float

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> VirtualLogit:
        node = graph.by_name[graph.logits]
        if node.op != "linear" or not isinstance(node["weight"], Ref):
            raise InputError(f"ViM reads the last linear layer; the logits come from {node.op!r}")
        weight = as_array(graph.constants[node["weight"].name])  # [classes, features]
        bias = node.args.get("bias")
        shift = as_array(graph.constants[bias.name]) if isinstance(bias, Ref) else np.zeros(graph.classes)
        origin = -np.linalg.pinv(weight.T if node.args.get("transposed") else weight) @ shift
        values = features(graph, images) - origin
        width = values.shape[1]
        usual = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
        _, directions = np.linalg.eigh(values.T @ values)  # ascending
        outside = directions[:, : width - min(usual, len(values) // 2)]
        lengths = np.linalg.norm(values @ outside, axis=1)
        return cls(graph, origin, outside, logits(graph, images).max(1).mean() / max(lengths.mean(), 1e-12))

    def measure(self, images: Tensor) -> Floats:
        lengths = np.linalg.norm((features(self.graph, images) - self.origin) @ self.outside, axis=1)
        return self.scale * lengths - logsumexp(logits(self.graph, images), axis=1)


def features(graph: Graph, images: Tensor) -> Floats:
    """Return what the layer of the logits reads, [N, features]."""
    name = graph.by_name[graph.logits]["input"].name
    return over_batches(graph, images, lambda batch: as_array(graph.run(batch, [name])[name].flatten(1)))
