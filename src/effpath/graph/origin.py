"""Where a constant comes from: the parameter it was moved out of, and which of its scalars each element is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.rewrite import sample

# operators whose results are elements of the tensor that they read first, and nothing else
MOVES = (
    "alias", "chunk", "clone", "contiguous", "detach", "diagonal", "expand", "expand_as", "flatten", "flip",
    "getitem", "index", "index_select", "lift_fresh_copy", "movedim", "narrow", "numpy_T", "permute", "repeat",
    "repeat_interleave", "reshape", "roll", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes",
    "t", "tensor_split", "tile", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
)  # fmt: skip
_CASTS = frozenset(("to", "_to_copy", "type_as", "neg"))
_SCALED = frozenset(("mul", "div"))


@dataclass(frozen=True)
class Origin:
    """The parameter or buffer that a constant's elements are taken from.

    Attributes:
        name: of the parameter.
        ids: int64, of the constant's shape at batch one: flat id in the parameter of each element.
    """

    name: str
    ids: Tensor


def is_whole(ids: Tensor, size: int) -> bool:
    """Whether flat ids are those of all scalars of a parameter of this size, in order."""
    return len(ids) == size and torch.equal(ids, torch.arange(size))


def is_trained(graph: Graph, name: str) -> bool:
    """Whether a constant is a parameter of the model, moved or scaled at most, not a buffer."""
    found = origin(graph, name)
    return found is not None and found.name in graph.trained


def origin(graph: Graph, name: str) -> Origin | None:
    """Return where a constant comes from; None if from several tensors, or by more than moves, casts and scales.

    A weight that is repeated per image (``weight.expand(len(x), …)``) has an origin too.
    """
    chain: list[tuple[str, Node]] = []
    while name not in graph.constants or name in graph.made:
        node = graph.made.get(name) or graph.by_name.get(name)
        source = None if node is None else _source(graph, node)
        if node is None or source is None:
            return None
        chain.append((source, node))
        name = source
    root = graph.constants[name]
    if not root.is_floating_point():
        return None
    value: Any = torch.arange(root.numel()).reshape(root.shape)
    for source, node in reversed(chain):
        if node.op in MOVES:
            held = {source: value, **sample(graph, [ref for ref in node.refs if ref != source])}
            value = node.call(held.__getitem__)
        elif node.op in _SCALED:
            others = sample(graph, [ref for ref in node.refs if ref != source])
            shapes = [tuple(other.shape) for other in others.values()]
            wide = torch.broadcast_shapes(tuple(value.shape), *shapes)  # type: ignore[no-untyped-call]
            value = value.broadcast_to(wide)
    return Origin(name, value)


def _source(graph: Graph, node: Node) -> str | None:
    """Name of what a node moves, casts or scales; None for any other node."""
    refs = [name for name in dict.fromkeys(node.refs) if name in graph.made or name in graph.constants]
    refs += [name for name in dict.fromkeys(node.refs) if name in graph.by_name and name not in graph.live]
    if node.op in MOVES or node.op in _CASTS:
        first = next(iter(node.refs), None)
        return first if first in refs else None
    if (
        node.op in _SCALED
        and "self" in node.args
        and node.args.get("rounding_mode") is None
        and node["self"] != node["other"]
    ):
        sizes = {name: sum(v.numel() for v in sample(graph, [name]).values()) for name in refs}
        largest = max(sizes, key=lambda name: sizes[name], default="")
        alone = sum(size == sizes.get(largest) for size in sizes.values()) == 1
        return largest if alone and (node.op == "mul" or node["self"] == Ref(largest)) else None
    return None
