"""Size and effort: how large is the path, and how many contributions does a neuron need to reach θ?"""

from __future__ import annotations

import numpy as np

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean


class PathSize(Sign):
    """The mean log number of synapses over the layers; which end is suspicious is not known."""

    name = "path size"
    says = ("small path", "large path")
    direction = 0
    walks = 1

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log size, [B, 1]."""
        return layer_mean(_logs(sizes(seen, "synapses")))[:, None]


class Effort(Sign):
    """The mean log number of contributions that neurons need to reach θ; which end is suspicious is not known."""

    name = "effort"
    says = ("few contributions per neuron", "many contributions per neuron")
    direction = 0
    walks = 1

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log number, [B, 1]."""
        return layer_mean(_logs(sizes(seen, "synapses")) - _logs(sizes(seen, "neurons")))[:, None]


def sizes(seen: Evidence, level: str) -> FloatArray:
    """Return how many synapses or neurons the path has in each layer of the walk, [B, layers]."""
    sets = seen.paths.synapses if level == "synapses" else seen.paths.neurons
    return np.stack([rows.lengths for rows in sets.values()], axis=1).astype(np.float64)


def _logs(counts: FloatArray) -> FloatArray:
    """Return logarithms; NaN of 0."""
    logs: FloatArray = np.log(counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return logs
