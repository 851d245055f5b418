"""Log odds: is the network unusually unsure of its answer, or unusually sure?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign


class LogOdds(Sign):
    """The log odds of the predicted class. Attacks that stop at the border are at one end, others at the other."""

    name = "log odds"
    says = ("unsure", "too sure")
    direction = 0

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log odds, [B, 1]."""
        return log_odds(seen.logits)[:, None]


def log_odds(logits: NDArray[np.floating[Any]]) -> FloatArray:
    """Return the log odds of the predicted class, float64 [N], of logits [N, classes]; they do not saturate."""
    ranked = np.sort(logits.astype(np.float64), axis=1)
    odds: FloatArray = ranked[:, -1] - np.logaddexp.reduce(ranked[:, :-1], axis=1)
    return odds
