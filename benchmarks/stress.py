"""A batch whose every target is a quarter of the positive sum, the most work that any weights can make.

Random weights alone are no safe proxy for trained ones. Every recorded value that a weighted operator has to
explain becomes Σ(positive c), and θ is 0.25.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from effpath.backends.prepared import prepare
from effpath.graph.graph import Graph
from effpath.rules.kinds import Weighted
from effpath.walk.recording import Recorded


def stressed(recorded: Recorded, images: Tensor) -> Recorded:
    """Return a recording with other values for what its weighted operators have to explain."""
    plan, graph = recorded.plan, recorded.plan.graph
    layouts = prepare(plan).layouts
    values = dict(recorded.values)
    for name in recorded.visited:
        kind = plan.kinds[name]
        if isinstance(kind, Weighted) and not kind.pooled:
            sums = positive_sums(graph, name, kind, images)
            values[name] = layouts[name].store(sums) if recorded.compiled else sums.flatten(1)
    return replace(recorded, values=values)


@torch.no_grad()
def positive_sums(graph: Graph, name: str, kind: Weighted, images: Tensor) -> Tensor:
    """Return Σ(positive contributions) of each output of an operator, in its own shape.

    Positive products are those of two positive and of two negative factors.
    """
    node = graph.by_name[name]
    inputs = graph.run(images, [ref for ref in node.refs if ref not in (kind.weight, kind.bias)])

    def total(sign: int) -> Tensor:
        def lookup(ref: str) -> Tensor:
            if ref == kind.bias:
                return torch.zeros_like(graph.constants[ref])
            return (sign * (graph.constants[ref] if ref == kind.weight else inputs[ref])).clamp(min=0)

        result: Tensor = node.call(lookup)
        return result

    return total(1) + total(-1) if kind.weight else total(1)
