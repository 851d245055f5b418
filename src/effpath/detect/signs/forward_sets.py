"""Forward sets: how much of what carries the activation do images of the class never use? Without a walk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sample import sampled_layers
from effpath.detect.signs.sign import FloatArray, LayerSign, shares_of
from effpath.files.plain import percent
from effpath.paths.header import Header


class ForwardSign(LayerSign):
    """A sign of the forward sets of a `Sample`, over its layers."""

    needs = frozenset({"forward sets"})

    def layers(self, header: Header, walked: Sequence[str]) -> tuple[str, ...]:
        """Return the layers of the sample."""
        return sampled_layers(header)


class ForwardSets(ForwardSign):
    """The mean over early layers of the share of the forward set that lies outside the union of its class.

    Sets are of the neurons of a `Sample`. The union is over those of clean images that the network predicts as the
    class.
    """

    name = "forward sets"
    says = ("active where its class is not",)

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the share, [B, layers]; NaN where no clean image was predicted as the class."""
        reference, at = seen.known(), seen.reference_places
        unions = reference.twice if seen.left_out else reference.forward
        found = np.full((len(seen), len(seen.forward)), np.nan)
        rows = np.flatnonzero(at >= 0)
        for column, (name, sets) in enumerate(seen.forward.items()):
            own = sets[rows]
            outside = np.bitwise_count(own & ~unions[name][at[rows]])
            sizes = np.bitwise_count(own).sum(1, dtype=np.int64)
            found[rows, column] = shares_of(outside.sum(1, dtype=np.int64), sizes)
        return found

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say how much lies outside."""
        return (
            f"{percent(value)} of its most active neurons are that active in no clean image of class {label}, "
            f"usually {percent(usual)}"
        )
