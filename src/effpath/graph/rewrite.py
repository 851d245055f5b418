"""What the rewrites share: steps that a node is written out in, values for an image of zeros, renaming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref, substitute


def step(node: Node, name: str, op: str, function: Any, *keywords: str, **args: Any) -> Node:
    """Return one of the nodes that ``node`` is written out in; the last one has no name, and takes its place."""
    full_name = f"{node.name}.{name}" if name else node.name
    return Node(full_name, op, args, function, frozenset(keywords), node.module)


def sample(graph: Graph, names: Iterable[str], batch: int = 1) -> dict[str, Any]:
    """Values of some names for images of zeros: shapes and dtypes are recorded only after the rewrites."""
    names = list(names)
    found = {name: graph.constants[name] for name in names if name in graph.constants}
    inner = [name for name in names if name not in found]
    image = torch.zeros(batch, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    return found | (graph.run(image, inner) if inner else {})


def outlines(graph: Graph) -> dict[str, Tensor]:
    """Return for each name a tensor of its shape and type at batch one, without memory; none for other values."""
    image = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    found = {graph.input: torch.empty_like(image, device="meta")}

    def see(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            found[name] = torch.empty_like(value, device="meta")
        return value

    with torch.no_grad():
        graph.run(image, change=see)
    return found


def replace_by(graph: Graph, alias: Mapping[str, str]) -> Graph:
    """Remove the nodes named in ``alias`` and let their readers read what they stand for."""

    def final(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    kept = replace(graph, nodes=tuple(node for node in graph.nodes if node.name not in alias))
    return rename(kept, {name: final(name) for name in alias})


def rename(graph: Graph, names: Mapping[str, str]) -> Graph:
    """Give nodes other names, wherever they are read."""

    def ref(name: str) -> Ref:
        return Ref(names.get(name, name))

    def renamed(node: Node) -> Node:
        if node.name not in names and not any(read in names for read in node.refs):
            return node
        args = {key: substitute(value, ref) for key, value in node.args.items()}
        return replace(node, name=names.get(node.name, node.name), args=args)

    return replace(graph, nodes=tuple(map(renamed, graph.nodes)), logits=names.get(graph.logits, graph.logits))
