"""Cancellation: how much of what a neuron receives cancels, Σ|c| ÷ |v|?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.sign import FloatArray, Sign, layer_mean
from effpath.walk.recording import Recorded


class Cancellation(Sign):
    """The mean over early layers of log(Σ|c| ÷ Σ|v|), summed over the neurons of the path.

    c are all contributions to a neuron and v is its value, both without the choice of any. Which end is suspicious
    is not known. It takes the early layers' share of a forward pass, of absolute values. A layer whose input was
    not recorded as the layer reads it (behind a padding that stands alone, say) is left out.
    """

    name = "cancellation"
    says = ("contributions hardly cancel", "contributions cancel")
    direction = 0
    passes = 1
    walks = 1

    def columns(self, seen: Evidence) -> FloatArray:
        """Measure the log ratio, [B, 1]."""
        found = np.full((len(seen), len(seen.early)), np.nan)
        for column, name in enumerate(seen.early):
            received = received_by(seen.recorded, name) if name in seen.paths.neurons else None
            if received is None:
                continue
            value = seen.recorded.outputs(name).double().abs().cpu().numpy()
            absolute = received.double().cpu().numpy()
            for row in range(len(seen)):
                ids = seen.paths.neurons[name][row]
                whole, left = absolute[row, ids].sum(), value[row, ids].sum()
                if whole > 0 and left > 0:
                    found[row, column] = np.log(whole / left)
        return layer_mean(found)[:, None]


def received_by(recorded: Recorded, name: str) -> Tensor | None:
    """Return Σ|c| of each neuron of a layer, [B, neurons] in canonical order; None where it cannot be computed."""
    graph, kind = recorded.plan.graph, recorded.plan.kinds[name]
    node = graph.by_name[name]
    if not kind.selects or len(kind.sources) != 1 or kind.weight is None:
        return None
    (source,) = kind.sources
    if source not in node.refs or not {*node.refs} <= {source, kind.weight, kind.bias}:
        return None
    constants = {
        ref: graph.constants[ref].abs() if ref == kind.weight else torch.zeros_like(graph.constants[ref])
        for ref in node.refs
        if ref != source
    }
    x = recorded.outputs(source).abs().view(-1, *graph.shape(source)[1:])
    parts = torch.split(x, len(x) if graph.batched else 1)
    with torch.no_grad():
        found = [node.call(partial(_operand, constants, part)) for part in parts]
    return torch.cat(found).reshape(len(x), -1)


def _operand(constants: Mapping[str, Tensor], part: Tensor, ref: str) -> Tensor:
    """Return the constant of a name, and the inputs for any other name."""
    return constants.get(ref, part)
