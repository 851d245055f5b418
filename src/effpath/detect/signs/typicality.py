"""Typicality: how usual is the path among those of its own class?"""

from __future__ import annotations

import numpy as np

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.likelihood import USED, PathFrequency
from effpath.detect.signs.sign import FloatArray, share_in_words


class Typicality(PathFrequency):
    """The mean log frequency of the path in its own class, over the layers of the walk or the early ones."""

    name = "typicality"
    words = "unusual path for its class"

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the log frequency, [B, layers]; NaN without a class path."""
        own = seen.likelihood[np.arange(len(seen)), :, seen.own_column]
        own[seen.own_column < 0] = np.nan
        return self.chosen(own, seen)

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say in how many images of its class."""
        return share_in_words(USED, f"images of class {label}", value, usual)
