"""Path likelihood: does the path fit another class too well, beside how it fits the predicted one?"""

from __future__ import annotations

from typing import Literal

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean


class Margin(Sign):
    """The mean margin of the path likelihood over the layers that the walk covers, unweighted."""

    name = "margin"
    direction = -1
    walks = 1
    needs = frozenset({"likelihood"})

    def __init__(self, layers: Literal["all", "late"] = "all") -> None:
        """Say which layers the walk covers."""
        self.says = ("fits another class too well" + ", late layers" * (layers == "late"),)

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the margin, [B, 1]."""
        return layer_mean(seen.margins)[:, None]
