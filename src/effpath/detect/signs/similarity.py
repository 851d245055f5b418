"""Similarity with the class path over the early layers: where patches leave it."""

from __future__ import annotations

from collections.abc import Sequence

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sample import early_layers
from effpath.detect.signs.sign import FloatArray, LayerSign
from effpath.files.plain import percent
from effpath.paths.header import Header


class EarlySimilarity(LayerSign):
    """The mean similarity of the rank-1 path with its class path over the first half of the layers, unweighted."""

    name = "early similarity"
    says = ("early layers outside its class path",)
    direction = -1
    walks = 1

    def layers(self, header: Header, walked: Sequence[str]) -> tuple[str, ...]:
        """Return the early layers that the walk covers."""
        return tuple(name for name in early_layers(header) if name in walked)

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the similarity, [B, layers]; NaN without a class path."""
        return seen.similarity[:, seen.early_columns]

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say how much lies inside."""
        return (
            f"{percent(value)} of the synapses of its path lie in the path of class {label}, "
            f"usually {percent(usual)}"
        )
