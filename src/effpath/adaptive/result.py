"""What an adaptive attack found, and the share of it that the detector lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from effpath.detect import threshold_at_fpr
from effpath.detect.metrics import thresholds_of
from effpath.errors import OptionError

ROUNDING = 1e-5  # of a distance in float32


@dataclass(frozen=True, eq=False)
class AdaptiveResult:
    """What an attack on model and detector made of correctly classified images; all on the CPU.

    A row that is not misclassified holds its clean image, with the score of that.

    Attributes:
        name, settings: of the attack, defaults included.
        epsilon: no image is further from its clean one, in the norm of the settings.
        images: float32 [N, C, H, W] in [0, 1].
        clean: the images they were made from.
        source: int64 [N], rows among the images given.
        labels, predicted: int64 [N].
        misclassified: bool [N].
        scores: float64 [N], the suspicion that the detector itself gives: of what was found the least, or, where
            classes have thresholds of their own, that furthest below the threshold of its class.
        threshold: of the detector; scores above it are flagged.
        queries: how often the detector judged an image of this attack, all rows together.
        class_thresholds: of the detector: those of classes that have one of their own.
    """

    name: str
    settings: Mapping[str, Any]
    epsilon: float
    images: Tensor
    clean: Tensor
    source: Tensor
    labels: Tensor
    predicted: Tensor
    misclassified: Tensor
    scores: npt.NDArray[np.float64]
    threshold: float
    queries: int
    class_thresholds: Mapping[int, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def distances(self) -> Tensor:
        """How far each image is from its clean one, float32 [N], in the norm of the settings."""
        change = (self.images - self.clean).flatten(1)
        return change.abs().amax(1) if self.settings["norm"] == "Linf" else change.norm(dim=1)

    @property
    def excess(self) -> npt.NDArray[np.float64]:
        """The suspicion less the threshold of the class that each image ends in, [N]; above 0 it is flagged."""
        limits = thresholds_of(self.predicted.numpy(), self.threshold, self.class_thresholds)
        found: npt.NDArray[np.float64] = self.scores - limits
        return found

    def succeeded(self, threshold: float | None = None) -> npt.NDArray[np.bool_]:
        """Return which rows are misclassified and not flagged at a threshold, [N]; None for the detector's."""
        limit: float | npt.NDArray[np.float64] | None = threshold
        if limit is None:
            limit = thresholds_of(self.predicted.numpy(), self.threshold, self.class_thresholds)
        return self.misclassified.numpy() & (self.scores <= limit)


@dataclass(frozen=True)
class SuccessRate:
    """Shares of the attacked images at one bound.

    Attributes:
        epsilon: the bound.
        misclassified: flagged or not.
        at: by false positive rate of the threshold, misclassified and not flagged: ``at[0.05]`` is SR@5.
    """

    epsilon: float
    misclassified: float
    at: Mapping[float, float]


def success_rates(
    results: Sequence[AdaptiveResult], clean_scores: npt.ArrayLike, fprs: Sequence[float] = (0.05, 0.5)
) -> list[SuccessRate]:
    """Return SR@5 and SR@50 of each result: thresholds at 5 % and 50 % false positives.

    Args:
        results: of one attack, one a bound, see `adaptive_curve`.
        clean_scores: of clean images held out from the fit and from the attack.
        fprs: false positive rates.
    """
    limits = {fpr: threshold_at_fpr(clean_scores, fpr) for fpr in fprs}
    return [
        SuccessRate(
            result.epsilon,
            float(result.misclassified.double().mean()),
            {fpr: float(result.succeeded(limit).mean()) for fpr, limit in limits.items()},
        )
        for result in results
    ]


def within(result: AdaptiveResult, epsilon: float, clean_scores: npt.NDArray[np.float64]) -> AdaptiveResult:
    """Return what a smaller bound leaves of a result: rows that are further away go back to their clean images.

    ``clean_scores`` [N] are those of the result's clean images.
    """
    if epsilon > result.epsilon:
        raise OptionError(f"expected a bound of at most {result.epsilon}, that of the result, got {epsilon}")
    kept = result.misclassified & (result.distances <= epsilon * (1 + ROUNDING))
    return replace(
        result,
        epsilon=epsilon,
        images=torch.where(kept[:, None, None, None], result.images, result.clean),
        predicted=torch.where(kept, result.predicted, result.labels),
        misclassified=kept,
        scores=np.where(kept.numpy(), result.scores, clean_scores),
    )
