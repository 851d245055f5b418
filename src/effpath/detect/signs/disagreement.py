"""Does the network change its mind about an image that is changed in a way that should not matter?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.passes import Change
from effpath.detect.signs.sign import FloatArray, Sign


class ChangedImage(Sign):
    """By how much another class beats the predicted one on the changed image, a forward pass for each change."""

    def __init__(self, name: str, says: str, changes: Sequence[Change]) -> None:
        """Take the changes."""
        self.name, self.says, self.changes = name, (says,), tuple(changes)
        self.passes = len(self.changes)

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the disagreement, [B, 1]."""
        answers = [seen.passes.answers[change] for change in self.changes]
        return disagreement(seen.predicted, answers)[:, None]


def disagreement(predicted: NDArray[np.int64], answers: Sequence[FloatArray]) -> FloatArray:
    """Return by how much another class beats the predicted one, float64 [N] in −1 … 1; above 0 it does.

    Args:
        predicted: int64 [N], the class of the unchanged image.
        answers: the softmax of each changed image, [N, classes]; their mean counts.
    """
    changed = np.mean(answers, axis=0)
    kept = np.take_along_axis(changed, predicted[:, None], axis=1)[:, 0]
    np.put_along_axis(changed, predicted[:, None], -np.inf, axis=1)
    beaten: FloatArray = changed.max(1) - kept
    return beaten
