"""A small network on an intermediate activation (Metzen, Genewein, Fischer, Bischoff, ICLR 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from torch import Tensor, nn
from torch.nn import functional

from effpath.errors import InputError
from effpath.graph import Graph
from rivals.activations import Floats, Output, layer_values, outputs

LARGEST = 1 << 14  # values of the activation: every image's is kept


@dataclass(frozen=True, eq=False)
class Activation:
    """Images as an intermediate activation [N, C, H, W], that of the middle one of the convolutions."""

    graph: Graph
    layer: Output

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> Activation:
        spatial = [output for output in outputs(graph) if len(graph.shape(output.node)) == 4]
        if not spatial:
            raise InputError("Metzen's detector reads the output of a 2d convolution; the network has none")
        layer = spatial[len(spatial) // 2]
        if graph.size(layer.node) > LARGEST:
            raise InputError(
                f"Metzen's detector is for activations up to {LARGEST} values, got {graph.size(layer.node)} in "
                f"{layer.layer}"
            )
        return cls(graph, layer)

    def measure(self, images: Tensor) -> Floats:
        (values,) = layer_values(self.graph, images, [self.layer], lambda activation, _: activation)
        return values


class ActivationDetector(ClassifierMixin, BaseEstimator):
    """Two convolutions, one of 1×1, and the mean over places; X [n, C, H, W], labels 1 = adversarial.

    Trained on the detector's training part alone, as every rival here; the paper's is trained on attacked
    versions of the network's whole training set, with adversaries made again as it learns.

    Parameters
    ----------
    steps : of Adam, on 64 images each, as many clean as adversarial.
    seed : of weights and batches.
    """

    def __init__(self, steps: int = 500, seed: int = 0) -> None:
        self.steps = steps
        self.seed = seed

    def fit(self, X: Any, y: Any) -> ActivationDetector:
        values, labels = torch.as_tensor(X).float(), np.asarray(y)
        self.classes_ = np.unique(labels)
        self.scale_ = float(values.std()) or 1.0
        parts = [torch.from_numpy(np.flatnonzero(labels == label)) for label in self.classes_]
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(self.seed)
            self.network_ = nn.Sequential(
                nn.Conv2d(values.shape[1], 32, 3, padding=1), nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
                nn.Conv2d(64, 1, 1),
            )  # fmt: skip
            optimizer = torch.optim.Adam(self.network_.parameters(), lr=1e-3)
            truth = torch.arange(2.0).repeat_interleave(32)
            for _ in range(self.steps):
                drawn = torch.cat([part[torch.randint(len(part), (32,))] for part in parts])
                loss = functional.binary_cross_entropy_with_logits(self._logit(values[drawn]), truth)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    def decision_function(self, X: Any) -> Floats:
        """Return the suspicion [n]: above 0 = adversarial."""
        with torch.no_grad():
            parts = [self._logit(part) for part in torch.as_tensor(X).float().split(256)]
        return torch.cat(parts).double().numpy()

    def predict(self, X: Any) -> Any:
        """Return the class [n] of each row."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]

    def _logit(self, values: Tensor) -> Tensor:
        return self.network_(values / self.scale_).mean((1, 2, 3))
