"""How sure the network is, on one side or on both: what a detector has to beat that costs one forward pass.

Rejection by a threshold on the maximum softmax is the oldest detector (Hendrycks, Gimpel, ICLR 2017). Attacks that
stop at the border leave the network unsure, those that go on make it surer than any clean image, so that one side
alone misses one or the other. Log odds say the same as the softmax and do not saturate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor

from effpath.detect.signs.log_odds import log_odds
from effpath.graph import Graph
from rivals.activations import Floats, logits

USUAL = 0.05  # share of clean images beyond the width of each side


@dataclass(frozen=True, eq=False)
class LogOdds:
    """A column [N, 1]: the log odds of the predicted class. Nothing is learned from the images."""

    graph: Graph

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> LogOdds:
        return cls(graph)

    def measure(self, images: Tensor) -> Floats:
        return log_odds(logits(self.graph, images))[:, None]


class BothSides(OutlierMixin, BaseEstimator):
    """How far a value is from the median of clean ones, each side measured in its own width.

    The width of a side is the distance from the median to the value that `USUAL` of the clean ones lie beyond. So
    what is beyond every clean value still differs.
    """

    def fit(self, X: Any, y: Any = None) -> BothSides:
        low, self.middle_, high = np.quantile(np.asarray(X)[:, 0], [USUAL, 0.5, 1 - USUAL])
        self.widths_ = np.maximum([self.middle_ - low, high - self.middle_], 1e-12)
        return self

    def score_samples(self, X: Any) -> Floats:
        apart = np.asarray(X)[:, 0] - self.middle_
        return -np.where(apart < 0, -apart / self.widths_[0], apart / self.widths_[1])


class BestSide(ClassifierMixin, BaseEstimator):
    """A single threshold on a value, on the side where the attacks of the training are, where it tells most.

    The side is the one of the higher AUC, the threshold the one of the highest balanced accuracy.
    """

    def fit(self, X: Any, y: Any) -> BestSide:
        values, labels = np.asarray(X)[:, 0], np.asarray(y)
        self.classes_ = np.unique(labels)
        self.side_ = 1.0 if roc_auc_score(labels, values) >= 0.5 else -1.0
        ranked = np.unique(self.side_ * values)
        cuts = (ranked[1:] + ranked[:-1]) / 2 if len(ranked) > 1 else ranked
        found = [balanced_accuracy_score(labels, self.side_ * values > cut) for cut in cuts]
        self.threshold_ = float(cuts[int(np.argmax(found))])
        return self

    def decision_function(self, X: Any) -> Floats:
        """Return the suspicion [n]: above 0 = adversarial."""
        return self.side_ * np.asarray(X)[:, 0] - self.threshold_

    def predict(self, X: Any) -> Any:
        return self.classes_[(self.decision_function(X) > 0).astype(int)]
