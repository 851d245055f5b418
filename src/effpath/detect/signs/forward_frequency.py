"""Forward sets, by frequency: how usual in its class is what carries the activation? Without a walk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.forward_sets import ForwardSign
from effpath.detect.signs.sign import FloatArray, share_in_words, times_in_words

ACTIVE = "its most active neurons are that active"


class ForwardTypicality(ForwardSign):
    """The mean log frequency of the forward set in its own class, over early layers, unweighted.

    Sets are of the neurons of a `Sample`. It tells more than the share outside the union where a class has many
    images, whose union is nearly everything.
    """

    name = "forward typicality"
    says = ("unusual activity for its class",)
    direction = -1

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the log frequency, [B, layers]; NaN where no clean image was predicted as the class."""
        return _own(seen.frequencies, seen.reference_places)

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say in how many images of its class."""
        return share_in_words(ACTIVE, f"clean images of class {label}", value, usual)


class ForwardMargin(ForwardSign):
    """The same, less that in the class which has it highest of the others, layer by layer, unweighted."""

    name = "forward margin"
    says = ("active as another class is",)
    direction = -1

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the margin, [B, layers]; NaN where no clean image was predicted as the class, or all were."""
        frequencies, places = seen.frequencies, seen.reference_places
        own = _own(frequencies, places)
        others = frequencies.copy()
        known = np.flatnonzero(places >= 0)
        others[known, :, places[known]] = -np.inf
        best = others.max(2, initial=-np.inf)
        margin: FloatArray = np.where(np.isfinite(best), own - best, np.nan)
        return margin

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say how much more often in another class."""
        return times_in_words(ACTIVE, label, value, usual)


def _own(frequencies: FloatArray, places: NDArray[np.int64]) -> FloatArray:
    """Return [B, layers] of [B, layers, classes]; NaN where the class was not met."""
    own: FloatArray = frequencies[np.arange(len(places)), :, places].copy()
    own[places < 0] = np.nan
    return own
