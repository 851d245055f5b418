"""Which nodes may write their result where what they read lies: new memory costs more than they compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from effpath.graph.node import Node, Ref

if TYPE_CHECKING:
    from effpath.graph.graph import Graph

FRESH = frozenset({"conv1d", "conv2d", "conv3d", "linear", "add"})
"""Operators whose result is memory of its own, which nothing else reads under another name."""


def overwritten_by(graph: Graph) -> dict[str, str]:
    """Return by node the operand that it may overwrite: a ReLU, or a sum, that alone reads a fresh result."""
    found = {}
    for node in graph.nodes:
        for name in _operands(node):
            source = graph.by_name.get(name)
            if (
                source is not None
                and source.op in FRESH
                and source.shape == node.shape
                and source.dtype == node.dtype
                and graph.consumers[name] == [node]
                and node.refs.count(name) == 1
                and name != graph.logits
            ):
                found[node.name] = name
                break
    return found


def overwrite(node: Node, name: str, lookup: Callable[[str], Any]) -> Any:
    """Compute a node into the memory of the operand of this name."""
    if node.op == "relu":
        return lookup(name).relu_()
    (other,) = (ref for ref in node.refs if ref != name)
    return lookup(name).add_(lookup(other))


def _operands(node: Node) -> Sequence[str]:
    """Return what a node may write into, if nothing else reads it."""
    args: Mapping[str, Any] = node.args
    if node.function is torch.ops.aten.relu.default:
        return node.refs
    if node.function is torch.ops.aten.add.Tensor and args.get("alpha", 1) == 1:
        operands = [args["self"], args["other"]]
        return [each.name for each in operands] if all(isinstance(each, Ref) for each in operands) else []
    return []
