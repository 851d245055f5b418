"""Which nodes sum products of an image's tensor and a constant, however they are written."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from string import ascii_lowercase

import torch

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.origin import is_trained, origin
from effpath.graph.rewrite import sample
from effpath.graph.subscripts import PRODUCTS, subscripts


@dataclass(frozen=True)
class Contraction:
    """A sum of products of an image's tensor and of a constant, in subscripts: one letter per dimension.

    Attributes:
        image, constant: names of the two.
        of_image, of_constant, of_result: their subscripts, and the result's.
        factor: on top of the sum (a mean).
        kept: further dimensions of the result, of size one.
    """

    image: str
    constant: str
    of_image: str
    of_constant: str
    of_result: str
    factor: float = 1.0
    kept: tuple[int, ...] = ()


def find_contraction(graph: Graph, node: Node) -> Contraction | None:
    """Return what a node contracts, if one of its operands is the image's and the other one is not."""
    if node.name not in graph.live:
        return None
    if node.op in ("sum", "mean"):
        return _sum_of_products(graph, node)
    if node.op not in PRODUCTS:
        return None
    operands = [name for name in node.refs if name in graph.live or _is_constant(graph, name)]
    if len(operands) != 2 or sum(name in graph.live for name in operands) != 1:
        return None
    ranks = {name: value.dim() for name, value in sample(graph, operands).items()}
    letters = subscripts(node, [ranks[name] for name in operands])
    if letters is None:
        return None
    of = dict(zip(operands, letters, strict=False))
    image, constant = sorted(operands, key=lambda name: name not in graph.live)
    return Contraction(image, constant, of[image], of[constant], letters[2])


def _is_constant(graph: Graph, name: str) -> bool:
    return name in graph.constants or (name in graph.by_name and origin(graph, name) is not None)


def _sum_of_products(graph: Graph, node: Node) -> Contraction | None:
    """Match a sum or mean of products of elements with a parameter: (x · w).sum(dims)."""
    product = graph.by_name.get(node["self"].name)
    if product is None or product.op != "mul" or not node.args.get("dim") or node.args.get("dtype") is not None:
        return None
    if len(graph.consumers[product.name]) > 1 or product.name == graph.logits:
        return None
    operands = [value.name for value in (product["self"], product["other"]) if isinstance(value, Ref)]
    if len(operands) != 2 or product["self"] == product["other"]:
        return None
    image, constant = sorted(operands, key=lambda name: name not in graph.live)
    if image not in graph.live or constant in graph.live or not is_trained(graph, constant):
        return None
    shapes = {name: tuple(value.shape) for name, value in sample(graph, operands).items()}
    rank = max(map(len, shapes.values()))
    letters = ascii_lowercase[:rank]
    dims = node["dim"] if isinstance(node["dim"], (list, tuple)) else [node["dim"]]
    gone = {dim % rank for dim in dims}
    of = {name: letters[rank - len(shape) :] for name, shape in shapes.items()}
    lengths = dict(zip(of[constant], shapes[constant], strict=True))
    if not any(lengths.get(letters[dim], 1) > 1 for dim in gone):
        return None  # a scale before a sum, not a weight in it
    result = "".join(letter for dim, letter in enumerate(letters) if dim not in gone)
    every = torch.broadcast_shapes(*shapes.values())  # type: ignore[no-untyped-call]
    factor = 1 / prod(every[dim] for dim in gone) if node.op == "mean" else 1.0
    kept = tuple(sorted(gone)) if node.args.get("keepdim") else ()
    return Contraction(image, constant, of[image], of[constant], result, factor, kept)
