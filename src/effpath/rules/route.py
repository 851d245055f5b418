"""Routes: an output stands for one input element. One generic rule for all data movement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref, substitute
from effpath.graph.rewrite import sample
from effpath.graph.simplify import SPLITS
from effpath.rules.kinds import Route


def is_data(graph: Graph, value: Any) -> bool:
    """Tell whether an argument is a tensor that depends on the image."""
    return isinstance(value, Ref) and value.name in graph.live


def elementwise(graph: Graph, node: Node) -> Route:
    """One to one to the first operand that depends on the image (nonlinearities, norms, casts)."""
    source = next(name for name in node.refs if name in graph.live)
    return Route((source,), broadcast_ids(graph, source, node.shape))


def movement(graph: Graph, node: Node) -> Route:
    """Push the element ids through the operator itself: whatever it moves, it moves the ids too.

    A result that is a tuple is read through ``getitem``, whose rule is this one on the node behind it.

    Raises:
        UnknownOperatorError: the operator computes with elements, or values of the image decide what moves.
    """
    index: int | None = None
    if node.op == "getitem":
        node, index = graph.by_name[node["self"].name], node["index"]
        if node.op not in SPLITS:
            raise UnknownOperatorError(
                f"no rule for result {index} of {node.place}: it is not one of the parts of a split; compute "
                "it with another operator, or let a module of its own return only what has a rule"
            )
    sources = [name for name in dict.fromkeys(node.refs) if name in graph.live]
    total = sum(map(graph.size, sources))
    moved, found = follow_ids(graph, node, {name: _numbered(graph, sources, name) for name in sources}, index)
    if not moved:
        raise UnknownOperatorError(
            f"{node.place} does not only move elements, it computes with them (adds those that meet, say), so "
            "that an output stands for no single one; write a rule for it"
        )
    kept = len(sources) == 1 and torch.equal(found, torch.arange(total, dtype=torch.int32))
    return Route(tuple(sources), None if kept else found)


def _numbered(graph: Graph, sources: Sequence[str], name: str) -> Tensor:
    """Return the ids of one of the concatenated sources, int64 in its shape."""
    start = sum(map(graph.size, sources[: sources.index(name)]))
    return torch.arange(start, start + graph.size(name)).reshape(graph.shape(name))


def follow_ids(
    graph: Graph, node: Node, ids: Mapping[str, Tensor], index: int | None = None
) -> tuple[bool, Tensor]:
    """Return whether every output of a node is one of the elements or none, and which; int32, -1 for none.

    The node is run on two encodings of the ids: numbers from 1 on, and falling negative ones with random
    fractions. An output that is one element has the code of one id in both, and what the operator fills with is
    the same in both; a sum, a choice by values or a rounding agrees in neither.
    """
    count = 1 + max((int(value.max()) for value in ids.values() if value.numel()), default=-1)
    up = torch.arange(1, count + 1, dtype=torch.float64)
    down = -up - torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    others = _small_values(graph, node)
    first, second = (
        _run_on(graph, node, others | {name: code[at] for name, at in ids.items()}, index) for code in (up, down)
    )
    filled = (first == second) | (first.isnan() & second.isnan())
    found = torch.where(filled, 0, first).long()
    known = (found > 0) & (found <= count)
    codes = down[(found - 1).clamp(0, max(0, count - 1))] if count else second
    moved = filled | (known & (found == first) & (codes == second))
    return bool(moved.all()), (found - 1).int()  # half the size of int64: routes are most of a plan's memory


def _run_on(graph: Graph, node: Node, given: Mapping[str, Any], index: int | None) -> Tensor:
    """Compute a node where what it reads is given, and constants but indices and masks are 0; float64, flat."""

    def lookup(name: str) -> Any:
        if name in given:
            return given[name]
        constant = graph.constants[name].cpu()
        return torch.zeros_like(constant, dtype=torch.float64) if constant.is_floating_point() else constant

    args = dict(node.args)
    if isinstance(args.get("value"), (int, float)):
        args["value"] = 0.0  # what a padding is filled with stands for nothing
    plain = {key: substitute(value, lookup) for key, value in args.items()}
    positional = [value for key, value in plain.items() if key not in node.keywords]
    try:
        result = node.function(*positional, **{key: plain[key] for key in node.keywords})
    except (RuntimeError, IndexError, TypeError, ValueError) as error:  # such as an index made of the image
        raise UnknownOperatorError(
            f"elements cannot be followed through {node.place}, where values of the image decide what moves: "
            f"{str(error).splitlines()[0]}; write a rule for it"
        ) from error
    flat: Tensor = (result if index is None else result[index]).reshape(-1)
    return flat.double()


def _small_values(graph: Graph, node: Node) -> dict[str, Any]:
    """Values at batch one of what the node reads that is neither pixels nor constant (sizes, expanded tokens)."""
    others = [name for name in node.refs if name not in graph.live and name not in graph.constants]
    return {
        name: torch.zeros_like(value, device="cpu", dtype=torch.float64)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in sample(graph, others).items()
    }


def broadcast_ids(graph: Graph, name: str, shape: Sequence[int], *, always: bool = False) -> Any:
    """Ids [outputs] of the operand's elements under broadcasting; None where that is the identity."""
    if not always and graph.size(name) == torch.Size(shape).numel():
        return None
    ids = torch.arange(graph.size(name)).reshape(graph.shape(name))
    return ids.broadcast_to(tuple(shape)).reshape(-1)
