"""Gates: a tensor scaled by another. The path goes to the data operand, element by element."""

from __future__ import annotations

import torch

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.products import ACTIVATIONS, NORMALISERS
from effpath.rules.kinds import Gate, Kind, Route
from effpath.rules.route import broadcast_ids, is_data, movement

_GATE_MAKERS = (*NORMALISERS, *ACTIVATIONS)


def multiply(graph: Graph, node: Node) -> Kind:
    """Product: by a constant it is a route to the data; else to the operand that is not the gate.

    The gate is the operand that is broadcast (squeeze-excite), else the one that comes straight from a
    squashing function or another activation (GLU, unfused SiLU). A product of equals goes to both.
    """
    data = [v.name for v in (node["self"], node["other"]) if is_data(graph, v)]
    routes = [Route((name,), broadcast_ids(graph, name, node.shape)) for name in data]
    if len(routes) == 1 or data[0] == data[1]:
        return routes[0]
    gate = _which_is_gate(graph, node, data)
    if gate is None:
        return Gate(routes[0], (routes[1],), equal=True)
    return Gate(routes[1 - gate], (routes[gate],))


def divide(graph: Graph, node: Node) -> Kind:
    """Quotient: to the numerator; a norm in the denominator is a gate (LRN)."""
    top, bottom = node["self"], node["other"]
    if not is_data(graph, top):
        raise UnknownOperatorError(
            f"a constant divided by a data-dependent tensor explains nothing: {node.place}; "
            "write a rule for the operator that uses it"
        )
    route = Route((top.name,), broadcast_ids(graph, top.name, node.shape))
    if isinstance(bottom, Ref) and is_data(graph, bottom):
        return Gate(route, (Route((bottom.name,), broadcast_ids(graph, bottom.name, node.shape)),))
    return route


def glu(graph: Graph, node: Node) -> Gate:
    """Gated linear unit: the first half of a dimension is data, the second its gate."""
    source = node["self"].name
    ids = torch.arange(graph.size(source)).reshape(graph.shape(source))
    data, gate = (Route((source,), half.reshape(-1)) for half in ids.chunk(2, node["dim"]))
    return Gate(data, (gate,))


def where(graph: Graph, node: Node) -> Kind:
    """Return a movement for a mask that is fixed, a gate between the operands for one made of the image."""
    if is_data(graph, node["condition"]):
        names = [v.name for v in (node["self"], node["other"]) if is_data(graph, v)]
        routes = [Route((name,), broadcast_ids(graph, name, node.shape)) for name in names]
        return Gate(routes[0], tuple(routes[1:]), equal=True)
    return movement(graph, node)


def masked_fill(graph: Graph, node: Node) -> Kind:
    """Return a movement in which a filled element stands for the value where that is data, else for nothing.

    A mask made of the image only decides, it is not followed: an output stands for its element and for the value.
    """
    if not is_data(graph, node["mask"]):
        return movement(graph, node)
    names = [v.name for v in (node["self"], node["value"]) if is_data(graph, v)]
    routes = [Route((name,), broadcast_ids(graph, name, node.shape)) for name in names]
    return Gate(routes[0], tuple(routes[1:]), equal=True) if len(routes) > 1 else routes[0]


def _which_is_gate(graph: Graph, node: Node, data: list[str]) -> int | None:
    sizes = [graph.size(name) for name in data]
    if sizes[0] != sizes[1]:
        return sizes.index(min(sizes))
    squashed = [graph.by_name[name].op in _GATE_MAKERS if name in graph.by_name else False for name in data]
    if squashed[0] != squashed[1]:
        return squashed.index(True)
    return None
