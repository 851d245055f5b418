"""Path likelihood: does the path fit another class too well, beside how it fits the predicted one?"""

from __future__ import annotations

from typing import Literal

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean


class Margin(Sign):
    """The mean margin of the path likelihood over the layers of the walk, or the early ones, unweighted."""

    name = "margin"
    direction = -1
    walks = 1
    needs = frozenset({"likelihood"})

    def __init__(self, layers: Literal["all", "early", "late"] = "all") -> None:
        """Look at the early layers alone, or at all that the walk covers: the late ones, where it ends early."""
        self.early = layers == "early"
        self.says = ("fits another class too well" + f", {layers} layers" * (layers != "all"),)

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the margin, [B, 1]."""
        found = seen.margins
        return layer_mean(found[:, seen.early_columns] if self.early else found)[:, None]
