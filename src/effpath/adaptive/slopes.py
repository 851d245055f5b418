"""The gradients that an attacker follows: of misclassification, and of a detector's suspicion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional

from effpath.adaptive.soft import SoftFeatures
from effpath.adaptive.soft_counterparts import check_soft
from effpath.adaptive.soft_signs import SoftSigns
from effpath.detect import CleanSimilarity, CombinedSurprise, Detector, JointSurprise
from effpath.detect.classifiers import check_fitted
from effpath.detect.scoring import CleanScore, CombinedScore, SurpriseScore
from effpath.errors import OptionError

BANDWIDTH = 0.25  # of a smooth tail, in standard deviations of the clean values
NEAR = 0.05  # share of the clean rows about a row, as far as which it is smoothed
SHARPNESS = 4.0  # of the start of truncated sums, per nat


class Gradients(NamedTuple):
    """What an attacker follows at a batch of images.

    Attributes:
        margin: of how far the strongest other logit lies above the label's, [N, C, H, W]; it grows towards
            misclassification, and is 0 where that is reached with the required confidence.
        suspicion: of the surrogate's suspicion, [N, C, H, W].
        fooled: whether the image is misclassified with the required confidence, bool [N].
    """

    margin: Tensor
    suspicion: Tensor
    fooled: Tensor


class Slopes:
    """Gradients of misclassification and of suspicion at images.

    Paths start from the strongest class that is not the label, and from the strongest beside that: from the
    predicted class and the runner-up as soon as the image is misclassified.
    """

    def __init__(
        self, detector: Detector, *, layers: int | None, temperature: float, confidence: float, refresh: int
    ) -> None:
        """Follow this detector.

        Args:
            detector: linear, clean, surprise, or one that combines signs.
            layers, temperature: of `SoftFeatures`.
            confidence: logits by which the other class must lead.
            refresh: steps between two exact walks; in between their choices are held.
        """
        self.suspicion, self.confidence, self.refresh = Suspicion(detector), confidence, refresh
        how: Any = {"layers": layers, "temperature": temperature}
        known = detector.graph, detector.class_paths, detector.path_likelihood
        self.soft: Any = SoftSigns(detector, **how) if detector.reader else SoftFeatures(*known, **how)
        self._look: Any = None

    def at(self, pixels: Tensor, labels: Tensor, step: int = 0) -> Gradients:
        """Return the gradients at pixels [N, C, H, W] with labels [N]; walks anew at every ``refresh``-th step."""
        graph = self.soft.graph
        pixels = graph.check_images(pixels).detach().requires_grad_()
        with torch.enable_grad():
            values = self.soft.run(pixels)
            logits = values[graph.logits]
            logit = logits.gather(1, labels[:, None])[:, 0]
            others = logits.scatter(1, labels[:, None], -torch.inf)
            lead = others.amax(1) - logit
            if step % self.refresh == 0 or self._look is None:
                first = others.argmax(1)
                second = logits.scatter(1, first[:, None], -torch.inf).argmax(1)
                self._look = self.soft.look(pixels, values, [first, second][: self.soft.ranks])
            suspicion = self.suspicion(self.soft.columns(values, self._look))
            (margin,) = torch.autograd.grad(lead.clamp(max=self.confidence).sum(), pixels, retain_graph=True)
            (slope,) = torch.autograd.grad(suspicion.sum(), pixels)
        return Gradients(margin, slope, (lead >= self.confidence).detach())


class Suspicion:
    """The suspicion of a detector that is linear, ``clean``, ``surprise`` or combines signs, up to a constant.

    It is a differentiable function of the columns that the detector reads. Where the detector counts how many
    clean rows are beyond a value, the count is smooth.
    """

    def __init__(self, detector: Detector) -> None:
        """Read the fitted classifier.

        Raises:
            OptionError: its suspicion, or one of its signs, has no gradient.
        """
        *before, last = _steps(detector.classifier)
        refused = OptionError(
            "expected a fitted detector whose suspicion has a gradient, linear, clean, surprise, fast, standard "
            f"or paired, got one of kind {detector.name!r}; give surrogate=Detector(graph, class_paths, "
            "kind='linear').fit(…), fitted on the same features"
        )
        is_known = all(isinstance(step, (SimpleImputer, StandardScaler)) for step in before)
        if not is_known or getattr(last, "further", False):
            raise refused
        check_fitted(detector.classifier)
        if detector.reader:
            check_soft(detector.reader.profile)
        self._fill = next((step.statistics_ for step in before if isinstance(step, SimpleImputer)), None)
        self._suspicion: Callable[[Tensor], Tensor]
        if type(last) is CleanSimilarity:
            self._suspicion = partial(_unusual, last.as_score())
        elif type(last) is JointSurprise:
            self._suspicion = partial(_surprise, last.as_score())
        elif type(last) is CombinedSurprise:
            self._suspicion = partial(combined, last.as_score())
        elif hasattr(last, "coef_"):
            divide: Any = next((step.scale_ for step in before if isinstance(step, StandardScaler)), 1.0)
            self._suspicion = partial(_linear, np.ravel(last.coef_) / divide)
        else:
            raise refused

    def __call__(self, columns: Tensor) -> Tensor:
        """Return the suspicion [N] of what the detector reads, [N, columns]; NaN is filled in as it does."""
        if self._fill is not None:
            columns = torch.where(columns.isnan(), _like(self._fill, columns), columns)
        return self._suspicion(columns)


def _steps(classifier: Any) -> list[Any]:
    """Return what a classifier does, one step after the other; pipelines may be nested."""
    if not isinstance(classifier, Pipeline):
        return [classifier]
    return [step for _, part in classifier.steps for step in _steps(part)]


def _like(numbers: Any, columns: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(numbers, np.float64)).to(columns)


def _linear(weights: Any, columns: Tensor) -> Tensor:
    return columns @ _like(weights, columns)


def _below(values: Tensor, clean: Tensor) -> Tensor:
    """Return how many clean rows [rows, columns] lie below values [N, columns], smoothly: [N, columns]."""
    width = (BANDWIDTH * clean.std(0)).clamp(min=1e-4)
    return torch.sigmoid((values[:, None] - clean) / width).sum(1)


def _unusual(score: CleanScore, columns: Tensor) -> Tensor:
    """Return Σ log((1 − p) ÷ p) over columns, p the share of clean rows that are as suspicious."""
    clean = _like(score.reference, columns)
    less = _below(columns * _like(score.directions, columns), clean)
    return ((less + 0.5) / (len(clean) - less + 0.5)).log().sum(1)


def _surprise(score: SurpriseScore, columns: Tensor) -> Tensor:
    """Return Σ −w log p over the four signs; p is a smooth share of clean rows before the edge, exact beyond."""
    sets, sure = len(score.similarity.coef), columns[:, -1]
    outside = columns[:, :sets] @ _like(score.similarity.coef, columns) + score.similarity.intercept
    elsewhere = columns[:, sets:-1] @ _like(score.margin.coef, columns) + score.margin.intercept
    signs = torch.stack([outside, elsewhere, -sure, sure], 1)
    clean = _like(score.clean, columns)
    beyond = (signs - _like(score.edge, columns)) / _like(score.excess, columns)
    usual = -((len(clean) - _below(signs, clean) + 0.5) / (len(clean) + 1)).log()
    surprises = torch.where(beyond > 0, beyond - float(np.log(score.tail)), usual)
    return (surprises * _like(score.weights, columns)).sum(1)


def combined(score: CombinedScore, columns: Tensor, smooth: float = 1.0) -> Tensor:
    """Return the combined surprise; p is a smooth share of clean rows, 1 ÷ (1 + excess) beyond the strongest.

    A clean row is smoothed as far as some rows about it reach, so that no end of its column is. With ``smooth``
    towards 0 the sum becomes the exact one.
    """
    clean, weights = _like(score.clean, columns), _like(score.weights, columns)
    rows, reach = len(clean), max(1, round(NEAR * len(clean)))
    at = torch.arange(rows, device=clean.device)
    width = clean[(at + reach).clamp(max=rows - 1)] - clean[(at - reach).clamp(min=0)]
    width = torch.maximum(width / 2, 1e-3 * clean.std(0)).clamp(min=1e-6) * smooth
    below = torch.sigmoid((columns[:, None] - clean) / width).sum(1)
    beyond = (columns - clean[-1]).clamp(min=0) / _like(score.excess, columns)
    surprises = float(np.log(rows + 1)) - (1 + rows - below).log() + beyond.log1p()
    if score.rule == "truncated":  # no corner at the start, so that a sign just below it is not let go
        beyond = smooth / SHARPNESS * functional.softplus((surprises - score.start) * SHARPNESS / smooth)
        return score.scale * (beyond * weights).sum(1)
    return score.scale * _RULES[score.rule](surprises, weights, score.count)


def _priced(surprises: Tensor, weights: Tensor) -> Tensor:
    return surprises + (weights / weights.sum()).log()


def _simes(surprises: Tensor, weights: Tensor, count: int) -> Tensor:
    ranked = _priced(surprises, weights).sort(dim=1, descending=True).values
    return (ranked + torch.arange(1, ranked.shape[1] + 1, device=ranked.device).log()).amax(1)


def _strongest(surprises: Tensor, weights: Tensor, count: int) -> Tensor:
    return (surprises * weights).topk(min(count, surprises.shape[1]), dim=1).values.sum(1)


_RULES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "fisher": lambda surprises, weights, _: (surprises * weights).sum(1),
    "strongest": _strongest,
    "bonferroni": lambda surprises, weights, _: _priced(surprises, weights).amax(1),
    "simes": _simes,
    "harmonic": lambda surprises, weights, _: _priced(surprises, weights).logsumexp(1),
}
"""The sums of `effpath.detect.combining.RULES`, by name; ``truncated`` is in `combined`."""
