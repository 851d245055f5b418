"""What detectors read of features: the columns that their scores are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from effpath.detect.features import Features
from effpath.detect.scoring import FloatArray


@dataclass(frozen=True)
class Reading:
    """What an estimator reads of features.

    Attributes:
        columns: of features, float64 [N, columns].
        ranks: of the paths whose similarities it looks at.
        wants_likelihood: whether the features must hold the likelihood of the paths under all classes.
    """

    columns: Callable[[Features], FloatArray]
    ranks: tuple[int, ...] = (1, 2)
    wants_likelihood: bool = False


def _with_margins(features: Features) -> FloatArray:
    margins = features.margins()
    rank_1 = features.values[:, : margins.shape[1]]
    return np.concatenate([rank_1, margins, features.confidence()[:, None]], axis=1)


READINGS = {
    # [N, 2 · sets]: rank 1, then rank 2
    "similarities": Reading(Features.similarities),
    # [N, 2 · sets + 1]: rank 1, the margins of its likelihood, the log odds of the predicted class
    "margins": Reading(_with_margins, ranks=(1,), wants_likelihood=True),
}
"""By the attribute ``reads`` of an estimator; those without it read similarities."""
