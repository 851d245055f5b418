"""What the rewrites share: nodes that one is written out in, values for an image of zeros, new names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from effpath.graph.graph import Graph, Node, Ref, substitute


def step(node: Node, name: str, op: str, function: Any, *keywords: str, **args: Any) -> Node:
    """Return one of the nodes that ``node`` is written out in; the last one, of no name, stands for it."""
    own = f"{node.name}.{name}" if name else node.name
    return Node(own, op, args, function, frozenset(keywords), node.module)


def sample(graph: Graph, names: Iterable[str], batch: int = 1) -> dict[str, Any]:
    """Values of some names for images of zeros: shapes and dtypes are recorded only after the rewrites."""
    names = list(names)
    found = {name: graph.constants[name] for name in names if name in graph.constants}
    inner = [name for name in names if name not in found]
    image = torch.zeros(batch, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    return found | (graph.run(image, inner) if inner else {})


def replace_by(graph: Graph, alias: Mapping[str, str]) -> Graph:
    """Remove the nodes named in ``alias`` and let their readers read what they stand for."""

    def final(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    def ref(name: str) -> Ref:
        return Ref(final(name))

    nodes = tuple(
        replace(node, args={k: substitute(v, ref) for k, v in node.args.items()})
        for node in graph.nodes
        if node.name not in alias
    )
    return replace(graph, nodes=nodes, logits=final(graph.logits))


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Give nodes other names."""

    def ref(name: str) -> Ref:
        return Ref(names.get(name, name))

    nodes = tuple(
        replace(
            node,
            name=names.get(node.name, node.name),
            args={k: substitute(v, ref) for k, v in node.args.items()},
        )
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, logits=names.get(graph.logits, graph.logits))
