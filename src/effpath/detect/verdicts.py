"""What a detector says of a batch of images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from effpath.detect.features import Features


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What the detector says of a batch of images.

    Attributes:
        scores: float64 [N], growing with suspicion; infinite where the network's class has no class path, with
            which no clean image could be compared.
        flagged: bool [N], score above the threshold, or infinite.
        predicted: int64 [N], the network's class.
        runner_up: int64 [N], the class with the second highest logit.
        features: the similarities that the scores were made of.
    """

    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    runner_up: NDArray[np.int64]
    features: Features

    def __len__(self) -> int:
        """Number of images."""
        return len(self.scores)


def of_known_classes(
    scores: NDArray[np.float64], features: Features, classes: Collection[int]
) -> NDArray[np.float64]:
    """Return scores, infinite where the class that the network gives an image has no class path."""
    return np.where(np.isin(features.classes[:, 0], list(classes)), scores, np.inf)


def verdicts(scores: NDArray[np.float64], threshold: float, features: Features) -> Verdicts:
    """Return what scores say of images: those above the threshold, or infinite, are flagged."""
    predicted, runner_up = features.classes[:, 0], features.classes[:, 1]
    return Verdicts(scores, (scores > threshold) | np.isposinf(scores), predicted, runner_up, features)
