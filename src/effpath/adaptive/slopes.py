"""The suspicion of a fitted detector as a differentiable function, and the gradients that an attacker follows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from effpath.adaptive.soft import SoftSimilarity
from effpath.detect import CleanSimilarity, Detector
from effpath.detect.joint import suspicion_signs
from effpath.errors import OptionError

BANDWIDTH = 0.25  # of the smooth tail of a clean similarity, in its standard deviations


class Suspicion:
    """The suspicion of a linear detector, or of one that learned from clean images alone, up to a constant.

    Only the columns that it is asked about take part: the suspicion of these detectors is a sum over columns.
    """

    def __init__(self, detector: Detector) -> None:
        """Read the fitted classifier.

        Raises:
            OptionError: it is neither linear nor `CleanSimilarity`.
        """
        *before, self._last = _steps(detector.classifier)
        self._fill: Any = None
        self._divide: Any = 1.0
        for step in before:
            if isinstance(step, SimpleImputer):
                self._fill = step.statistics_
            elif isinstance(step, StandardScaler):
                self._divide = step.scale_
            else:
                self._refuse(detector)
        if not isinstance(self._last, CleanSimilarity) and not hasattr(self._last, "coef_"):
            self._refuse(detector)

    @staticmethod
    def _refuse(detector: Detector) -> None:
        raise OptionError(
            f"wanted a fitted detector whose suspicion has a gradient, linear or clean; got one of kind "
            f"{detector.kind!r}; give surrogate=Detector(graph, class_paths).fit(…), fitted on the same features"
        )

    def __call__(self, values: Tensor, columns: list[int]) -> Tensor:
        """Suspicion [N] of similarities [N, len(columns)]; NaN ones are filled in as the detector does."""

        def like(numbers: Any) -> Tensor:
            return torch.as_tensor(np.asarray(numbers, np.float64)[..., columns]).to(values)

        if self._fill is not None:
            values = torch.where(values.isnan(), like(self._fill), values)
        if isinstance(self._last, CleanSimilarity):
            return self._tails(values, self._last, like, columns)
        slope = np.ravel(self._last.coef_) / self._divide
        return values @ like(slope)

    @staticmethod
    def _tails(values: Tensor, fitted: CleanSimilarity, like: Any, columns: list[int]) -> Tensor:
        signed = values * like(suspicion_signs(fitted.n_features_in_, fitted.rank_1))
        clean = like(fitted.reference_)  # [rows, columns]
        width = (BANDWIDTH * clean.std(0)).clamp(min=1e-4)
        less = torch.sigmoid((signed[:, None] - clean) / width).sum(1)
        return ((less + 0.5) / (len(clean) - less + 0.5)).log().sum(1)


def _steps(classifier: Any) -> list[Any]:
    """What a classifier does, one after the other; pipelines may be nested."""
    if not isinstance(classifier, Pipeline):
        return [classifier]
    return [step for _, part in classifier.steps for step in _steps(part)]


class Gradients(NamedTuple):
    """What an attacker follows at a batch of images.

    Attributes:
        margin: of how far the strongest other logit lies above the label's, [N, C, H, W]; it grows towards
            misclassification, and is 0 where that is reached with the wanted confidence.
        suspicion: of the surrogate's suspicion, [N, C, H, W].
        fooled: whether the image is misclassified with the wanted confidence, bool [N].
    """

    margin: Tensor
    suspicion: Tensor
    fooled: Tensor


class Slopes:
    """Gradients of misclassification and of suspicion at images.

    Similarities are those of the strongest class that is not the label, and of the strongest beside that: of the
    predicted class and the runner-up as soon as the image is misclassified.
    """

    def __init__(
        self, detector: Detector, *, layers: int | None, temperature: float, confidence: float, refresh: int
    ) -> None:
        """Follow this detector.

        Args:
            detector: linear or clean.
            layers, temperature: of `SoftSimilarity`.
            confidence: logits by which the other class must lead.
            refresh: steps between two exact walks; in between their choices are held.
        """
        self.soft = SoftSimilarity(detector.graph, detector.class_paths, layers=layers, temperature=temperature)
        self.suspicion, self.confidence, self.refresh = Suspicion(detector), confidence, refresh
        known = detector.class_paths.feature_names("synapses", 1) + detector.class_paths.feature_names(
            "synapses", 2
        )
        self.columns = [known.index(name) for name in self.soft.names()]
        self._near: Any = None

    def at(self, pixels: Tensor, labels: Tensor, step: int = 0) -> Gradients:
        """Return the gradients at pixels [N, C, H, W] with labels [N]; walks anew at every ``refresh``-th step."""
        graph = self.soft.graph
        pixels = graph.check_images(pixels).detach().requires_grad_()
        with torch.enable_grad():
            values = self.soft.run(pixels)
            logits = values[graph.logits]
            own = logits.gather(1, labels[:, None])[:, 0]
            others = logits.scatter(1, labels[:, None], -torch.inf)
            lead = others.amax(1) - own
            if step % self.refresh == 0 or self._near is None:
                first = others.argmax(1)
                second = logits.scatter(1, first[:, None], -torch.inf).argmax(1)
                self._near = self.soft.look(pixels, values, [first, second])
            soft = self.soft.similarities(values, self._near)
            exact = torch.stack([near.share(near.chosen.to(soft)) for near in self._near], 1)
            # The value of the exact similarity, the slope of the soft one.
            suspicion = self.suspicion(exact + soft - soft.detach(), self.columns)
            (margin,) = torch.autograd.grad(lead.clamp(max=self.confidence).sum(), pixels, retain_graph=True)
            (slope,) = torch.autograd.grad(suspicion.sum(), pixels)
        return Gradients(margin, slope, (lead >= self.confidence).detach())
