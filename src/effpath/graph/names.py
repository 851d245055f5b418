"""Layers are named after their parameters, whatever the product is written as."""

from __future__ import annotations

from dataclasses import replace

from effpath.graph.graph import Graph
from effpath.graph.node import Ref
from effpath.graph.origin import is_whole, origin
from effpath.graph.rewrite import rename
from effpath.kernels.window import Scalars

OWNED = ("conv", "linear")  # operators named after the owner of their weight


def layer_name(op: str, parameter: str) -> str:
    """Return the name of a node that multiplies with a parameter; empty where the parameter has no name.

    >>> layer_name("linear", "head.weight"), layer_name("linear", "mix.kernel"), layer_name("linear", "weight")
    ('head', 'mix.kernel.linear', 'linear')
    """
    owner, _, leaf = parameter.rpartition(".")
    if leaf == "weight":
        return owner or op
    if not leaf:
        return ""
    # a parameter of another name must not lend it to the node: constants are named by it
    stem = leaf.removesuffix("_weight")
    return f"{owner}.{stem if stem != leaf else f'{leaf}.{op}'}".lstrip(".")


def unique(name: str, used: set[str]) -> str:
    """Return the name, with a number if it is used already; from then on it is used."""
    candidate, count = name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}#{count}"
    used.add(candidate)
    return candidate


def name_layers(graph: Graph) -> Graph:
    """Name layers after their parameter: those that a rewrite made, and those whose weight is moved out of it."""
    parameters, scalars, names = {**graph.parameters}, {**graph.scalars}, {}
    used = {node.name for node in graph.nodes} | {*graph.constants, graph.input}
    for node in graph.nodes:
        if (
            not node.op.startswith(OWNED)
            or node.name not in graph.live
            or not isinstance(node.args.get("weight"), Ref)
        ):
            continue
        weight = node["weight"].name
        if weight not in graph.constants:
            continue
        made = weight in graph.made and weight not in parameters
        found = origin(graph, weight) if made else None
        if found is not None:
            parameters[weight] = found.name
            ids, size = found.ids.reshape(-1), graph.constants[found.name].numel()
            if not is_whole(ids, size):
                scalars[weight] = Scalars(ids, size)
        name = layer_name(node.op, parameters.get(weight, weight))
        if (found or (node.unnamed and not made)) and name and name != node.name:
            used.discard(node.name)
            names[node.name] = unique(name, used)
    return rename(replace(graph, parameters=parameters, scalars=scalars), names)
