"""Layers are named after their parameters, whatever the product is written as."""

from __future__ import annotations

from dataclasses import replace

import torch

from effpath.graph.graph import Graph, Ref
from effpath.graph.origin import origin
from effpath.graph.rewrite import rename
from effpath.kernels.window import Scalars

OWNED = ("conv", "linear")  # operators named after the owner of their weight


def layer_name(op: str, parameter: str) -> str:
    """Name of a node after the parameter that it multiplies with; empty where that has no name.

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
    """Return the name, or the name and the first number that nobody uses; it is used from then on."""
    candidate, count = name, 1
    while candidate in used:
        count += 1
        candidate = f"{name}#{count}"
    used.add(candidate)
    return candidate


def name_layers(graph: Graph) -> Graph:
    """Name the layers whose weight was moved out of a parameter, or that a rewrite made, after the parameter."""
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
            if len(ids) != size or not torch.equal(ids, torch.arange(size)):
                scalars[weight] = Scalars(ids, size)
        own = layer_name(node.op, parameters.get(weight, weight))
        if (found or (node.unnamed and not made)) and own and own != node.name:
            used.discard(node.name)
            names[node.name] = unique(own, used)
    return rename(replace(graph, parameters=parameters, scalars=scalars), names)
