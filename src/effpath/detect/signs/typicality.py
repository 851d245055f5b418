"""Typicality: how usual is the path among those of its own class?"""

from __future__ import annotations

from typing import Literal

import numpy as np

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean


class Typicality(Sign):
    """The mean log frequency of the path in its own class, over the layers of the walk or the early ones."""

    name = "typicality"
    direction = -1
    walks = 1
    needs = frozenset({"likelihood"})

    def __init__(self, layers: Literal["all", "early", "late"] = "all") -> None:
        """Look at the early layers alone, or at all that the walk covers: the late ones, where it ends early."""
        self.early = layers == "early"
        self.says = ("unusual path for its class" + f", {layers} layers" * (layers != "all"),)

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log frequency, [B, 1]."""
        own = seen.likelihood[np.arange(len(seen)), :, seen.own_column]
        own[seen.own_column < 0] = np.nan
        return layer_mean(own[:, seen.early_columns] if self.early else own)[:, None]
