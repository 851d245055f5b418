"""Matrix products: attention over values."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.node import Node
from effpath.graph.rewrite import sample
from effpath.kernels.window import Window
from effpath.rules.kinds import Weighted


def matmul(graph: Graph, node: Node) -> Weighted:
    """Left operand (attention, a fixed matrix for each head) times right one (values).

    Every output [n, d] of a head against the values [m, d] of all tokens m, times the attention [n, m].
    The graph has been rewritten so that what weighs is on the left (`effpath.graph.products`).
    """
    left, right = node["self"].name, node["other"].name
    shape = graph.shape(right)
    heads, tokens, features = shape[:-2], shape[-2], shape[-1]
    taps = _rows_of_heads(heads, node.shape[:-1], tokens)
    constant = None
    if left not in graph.live:
        table = sample(graph, [left])[left].double().cpu()
        constant = table.broadcast_to(*node.shape[:-1], tokens).reshape(-1, tokens)
    elif graph.size(left) != taps.numel():
        raise UnknownOperatorError(
            f"attention weights {graph.shape(left)} that are broadcast over heads of {shape} have no rule: "
            f"{node.place}; expand them in the model"
        )
    window = Window(
        taps=taps,
        inputs=graph.size(right),
        channels=features,
        group_channels=1,
        groups=features,
        channels_first=False,
        coefficients=constant,
    )
    return Weighted((right,), window, factors=left if constant is None else None)


@lru_cache(maxsize=16)
def _rows_of_heads(heads: tuple[int, ...], rows: tuple[int, ...], tokens: int) -> torch.Tensor:
    """Row of the values [heads · tokens, features] of each tap [rows, tokens]; layers of a network share it."""
    head = torch.arange(prod(heads)).reshape(heads).broadcast_to(rows[:-1]).reshape(-1)
    return head.repeat_interleave(rows[-1])[:, None] * tokens + torch.arange(tokens)
