"""Routes: an output stands for one input element. One generic rule for all data movement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effpath.errors import UnknownOperator
from effpath.graph.graph import Graph, Node, Ref, substitute
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

    Ids start at 1, so that the zeros an operator pads with stand for nothing. A result that is a tuple is
    read through ``getitem``, whose rule is this one on the node behind it.
    """
    index: int | None = None
    if node.op == "getitem":
        node, index = graph.by_name[node["self"].name], node["index"]
        if node.op not in SPLITS:
            raise UnknownOperator(
                f"no rule for result {index} of {node.place}: it is not one of the parts of a split; compute "
                "it with another operator, or let a module of its own return only what has a rule"
            )
    sources = [name for name in dict.fromkeys(node.refs) if name in graph.live]
    ids: dict[str, Tensor] = {}
    start = 1
    for name in sources:
        size = graph.size(name)
        ids[name] = torch.arange(start, start + size, dtype=torch.float64).reshape(graph.shape(name))
        start += size

    def lookup(name: str) -> Any:
        if name in ids:
            return ids[name]
        if name in graph.constants:
            constant = graph.constants[name].cpu()
            return torch.zeros_like(constant, dtype=torch.float64) if constant.is_floating_point() else constant
        return values[name]

    values = _small_values(graph, node)
    args = dict(node.args)
    if "value" in args:
        args["value"] = 0.0  # what a padding is filled with stands for nothing
    plain = {key: substitute(value, lookup) for key, value in args.items()}
    positional = [value for key, value in plain.items() if key not in node.keywords]
    try:
        moved = node.function(*positional, **{key: plain[key] for key in node.keywords})
    except (RuntimeError, IndexError, TypeError) as error:  # such as an index that was made of the image
        raise UnknownOperator(
            f"elements cannot be followed through {node.place}, where values of the image decide what moves: "
            f"{str(error).splitlines()[0]}; write a rule for it"
        ) from error
    if index is not None:
        moved = moved[index]
    found = moved.reshape(-1).round().int() - 1  # half the size of int64: routes are most of a plan's memory
    kept = len(sources) == 1 and torch.equal(found, torch.arange(graph.size(sources[0]), dtype=torch.int32))
    return Route(tuple(sources), None if kept else found)


def _small_values(graph: Graph, node: Node) -> dict[str, Any]:
    """Values at batch one of what the node reads that is neither pixels nor constant (sizes, expanded tokens)."""
    others = [n for n in node.refs if n not in graph.live and n not in graph.constants]
    if not others:
        return {}
    image = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    found = graph.run(image, others)
    return {
        name: torch.zeros_like(value, device="cpu", dtype=torch.float64)
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in found.items()
    }


def broadcast_ids(graph: Graph, name: str, shape: Sequence[int], *, always: bool = False) -> Any:
    """Ids [outputs] of the operand's elements under broadcasting; None where that is the identity."""
    if not always and graph.size(name) == torch.Size(shape).numel():
        return None
    ids = torch.arange(graph.size(name)).reshape(graph.shape(name))
    return ids.broadcast_to(tuple(shape)).reshape(-1)
