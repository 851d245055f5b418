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


def log_odds(logits: NDArray[np.floating[Any]], classes: NDArray[np.int64] | None = None) -> FloatArray:
    """Return the log odds of classes [N], of the predicted ones if not given, float64 [N]; they do not saturate.

    Args:
        logits: [N, classes].
        classes: int64 [N].
    """
    if classes is None:
        ranked = np.sort(logits.astype(np.float64), axis=1)
        own, others = ranked[:, -1], ranked[:, :-1]
    else:
        others = logits.astype(np.float64)
        own = np.take_along_axis(others, classes[:, None], axis=1)[:, 0]
        np.put_along_axis(others, classes[:, None], -np.inf, axis=1)
    odds: FloatArray = own - np.logaddexp.reduce(others, axis=1)
    return odds
