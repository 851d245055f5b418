"""Path likelihood: does the path fit another class too well, beside how it fits the predicted one?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sample import early_layers
from effpath.detect.signs.sign import FloatArray, LayerSign, times_in_words
from effpath.paths.header import Header

USED = "the synapses of its path are used"


class PathFrequency(LayerSign):
    """A sign of how usual the path is, over the layers of the walk or the early ones of these."""

    direction = -1
    walks = 1
    needs = frozenset({"likelihood"})
    words: str

    def __init__(self, layers: Literal["all", "early", "late"] = "all") -> None:
        """Look at the early layers alone, or at all that the walk covers: the late ones, where it ends early."""
        self.early = layers == "early"
        self.says = (self.words + f", {layers} layers" * (layers != "all"),)

    def layers(self, header: Header, walked: Sequence[str]) -> tuple[str, ...]:
        """Return the layers of the walk, or the early ones of these."""
        early = early_layers(header)
        return tuple(name for name in walked if name in early or not self.early)

    def chosen(self, found: FloatArray, seen: Evidence) -> FloatArray:
        """Return the columns of its layers, of those of the walk."""
        return found[:, seen.early_columns] if self.early else found


class Margin(PathFrequency):
    """The mean margin of the path likelihood over the layers of the walk, or the early ones, unweighted."""

    name = "margin"
    words = "fits another class too well"

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the margin, [B, layers]; NaN without a class path."""
        return self.chosen(seen.margins, seen)

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say how much more often in another class."""
        return times_in_words(USED, label, value, usual)
