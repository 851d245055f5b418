"""Similarity with the class path over the early layers: where patches leave it."""

from __future__ import annotations

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean


class EarlySimilarity(Sign):
    """The mean similarity of the rank-1 path with its class path over the first half of the layers, unweighted."""

    name = "early similarity"
    says = ("early layers outside its class path",)
    direction = -1
    walks = 1

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the similarity, [B, 1]."""
        return layer_mean(seen.similarity[:, seen.early_columns])[:, None]
