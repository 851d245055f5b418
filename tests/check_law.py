"""The law between `check` and `extract`: the one supports what the other takes, and says what it would say."""

from __future__ import annotations

import torch

import effpath
from effpath.errors import UnknownOperatorError
from effpath.walk.cost import find_unsupported


def agrees_with_extract(graph: effpath.Graph, *, gates: bool) -> bool:
    """Fail where the two disagree; returns whether the network is supported."""
    found = find_unsupported(graph, gates=gates)
    image = torch.full((1, *graph.input_shape), 0.5, dtype=graph.dtype)
    refused = []
    try:
        effpath.extract(graph, image, preset=effpath.Options(gates=gates), backend="reference")
    except UnknownOperatorError as error:
        refused.append(str(error))
    messages = [one.message for one in found]
    assert bool(refused) == bool(messages)
    assert set(refused) <= set(messages)
    return not found
