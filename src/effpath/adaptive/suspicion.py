"""The suspicion of a fitted detector as a differentiable function of the columns that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from effpath.detect import Detector
from effpath.detect.classifiers import check_fitted
from effpath.detect.clean import CleanSimilarity
from effpath.detect.scoring import suspicion_directions
from effpath.detect.surprise import JointSurprise
from effpath.errors import OptionError

BANDWIDTH = 0.25  # of a smooth tail, in standard deviations of the clean values


class Suspicion:
    """The suspicion of a detector that is linear, of kind ``clean`` or of kind ``surprise``, up to a constant.

    Where the detector counts how many clean rows are beyond a value, the count is smooth.
    """

    def __init__(self, detector: Detector) -> None:
        """Read the fitted classifier.

        Raises:
            OptionError: its suspicion has no gradient.
        """
        *before, self._last = _steps(detector.classifier)
        is_smooth = type(self._last) in _SMOOTH and not getattr(self._last, "further", 0)
        is_known = all(isinstance(step, (SimpleImputer, StandardScaler)) for step in before)
        if not is_known or (type(self._last) in _SMOOTH and not is_smooth):
            self._refuse(detector)
        check_fitted(detector.classifier)
        if not is_smooth and not hasattr(self._last, "coef_"):
            self._refuse(detector)
        self._suspicion = _SMOOTH[type(self._last)] if is_smooth else self._linear
        self._fill = next((step.statistics_ for step in before if isinstance(step, SimpleImputer)), None)
        self._divide: Any = next((step.scale_ for step in before if isinstance(step, StandardScaler)), 1.0)

    @staticmethod
    def _refuse(detector: Detector) -> None:
        raise OptionError(
            "expected a fitted detector whose suspicion has a gradient, linear, clean or surprise, got "
            f"one of kind {detector.name!r}; give surrogate=Detector(graph, class_paths, kind='linear').fit(…), "
            "fitted on the same features"
        )

    def __call__(self, columns: Tensor) -> Tensor:
        """Suspicion [N] of what the detector reads, [N, columns]; NaN is filled in as the detector does."""
        if self._fill is not None:
            columns = torch.where(columns.isnan(), _like(self._fill, columns), columns)
        return self._suspicion(self._last, columns)

    def _linear(self, fitted: Any, columns: Tensor) -> Tensor:
        return columns @ _like(np.ravel(fitted.coef_) / self._divide, columns)


def _steps(classifier: Any) -> list[Any]:
    """What a classifier does, one after the other; pipelines may be nested."""
    if not isinstance(classifier, Pipeline):
        return [classifier]
    return [step for _, part in classifier.steps for step in _steps(part)]


def _like(numbers: Any, columns: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(numbers, np.float64)).to(columns)


def _below(values: Tensor, clean: Tensor) -> Tensor:
    """How many clean rows [rows, columns] lie below values [N, columns], smoothly: [N, columns]."""
    width = (BANDWIDTH * clean.std(0)).clamp(min=1e-4)
    return torch.sigmoid((values[:, None] - clean) / width).sum(1)


def _unusual(fitted: CleanSimilarity, columns: Tensor) -> Tensor:
    """Σ log((1 − p) ÷ p) over columns, p the share of clean rows that are as suspicious."""
    clean = _like(fitted.reference_, columns)
    less = _below(columns * _like(suspicion_directions(fitted.n_features_in_, fitted.rank_1), columns), clean)
    return ((less + 0.5) / (len(clean) - less + 0.5)).log().sum(1)


def _surprise(fitted: JointSurprise, columns: Tensor) -> Tensor:
    """Σ −w log p over the four signs; beyond the edge exactly, and before it p is a smooth share of clean rows."""
    sets = fitted.n_features_in_ // 2
    outside = columns[:, :sets] @ _like(fitted.similarity_.coef_, columns) + fitted.similarity_.intercept_
    elsewhere = columns[:, sets:-1] @ _like(fitted.margin_.coef_, columns) + fitted.margin_.intercept_
    signs = torch.stack([outside, elsewhere, -columns[:, -1], columns[:, -1]], 1)
    clean = _like(fitted.clean_, columns)
    beyond = (signs - _like(fitted.edge_, columns)) / _like(fitted.excess_, columns)
    usual = -((len(clean) - _below(signs, clean) + 0.5) / (len(clean) + 1)).log()
    surprises = torch.where(beyond > 0, beyond - float(np.log(fitted.tail)), usual)
    return (surprises * _like(fitted.weights_, columns)).sum(1)


_SMOOTH: dict[type, Callable[[Any, Tensor], Tensor]] = {CleanSimilarity: _unusual, JointSurprise: _surprise}
