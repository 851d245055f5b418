"""Operators that are written out in plainer ones, which have rules: norms, variances, sums of products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.rewrite import sample, step

_ATEN = torch.ops.aten
_FACTORS = {"addmm": ("mat1", "mat2"), "addmv": ("mat", "vec"), "baddbmm": ("batch1", "batch2")}


def spell_out(graph: Graph) -> Graph:
    """Write vector norms, variances, minima, matrix products and fused sums of products in plainer operators.

    A norm is a gate in most networks (cosine attention, response normalisation): its path is one of sums.
    """
    varied = [node["self"].name for node in graph.nodes if node.op in ("var", "std")]
    spelled = _SPELLED | dict.fromkeys(("var", "std"), partial(_variance, sample(graph, varied)))
    nodes = (new for node in graph.nodes for new in spelled.get(node.op, _as_it_is)(node))
    return replace(graph, nodes=tuple(nodes))


def _as_it_is(node: Node) -> Iterator[Node]:
    yield node


def _norm(node: Node) -> Iterator[Node]:
    if node["ord"] not in (1, 2):
        yield node
        return
    call, root = partial(step, node), node["ord"] == 2
    size = call("squares", "square", _ATEN.square.default, self=node["self"])
    if not root:
        size = call("sizes", "abs", _ATEN.abs.default, self=node["self"])
    yield size
    dims = {"dim": node["dim"], "keepdim": node["keepdim"]}
    yield (total := call("sum" if root else "", "sum", _ATEN.sum.dim_IntList, self=Ref(size.name), **dims))
    if root:
        yield call("", "sqrt", _ATEN.sqrt.default, self=Ref(total.name))


def _variance(samples: dict[str, torch.Tensor], node: Node) -> Iterator[Node]:
    call, shape = partial(step, node), samples[node["self"].name].shape
    dims = node["dim"] if node["dim"] else list(range(len(shape)))
    count = prod(shape[d] for d in dims)
    given = node.args.get("correction")
    correction = int(node.args.get("unbiased", 1)) if given is None else given
    yield (mean := call("mean", "mean", _ATEN.mean.dim, self=node["self"], dim=dims, keepdim=True))
    yield (rest := call("rest", "sub", _ATEN.sub.Tensor, self=node["self"], other=Ref(mean.name)))
    yield (squares := call("squares", "square", _ATEN.square.default, self=Ref(rest.name)))
    keep = {"dim": dims, "keepdim": node["keepdim"]}
    yield (average := call("average", "mean", _ATEN.mean.dim, self=Ref(squares.name), **keep))
    scaled = {"self": Ref(average.name), "other": count / (count - correction)}
    yield (variance := call("variance" if node.op == "std" else "", "mul", _ATEN.mul.Tensor, **scaled))
    if node.op == "std":
        yield call("", "sqrt", _ATEN.sqrt.default, self=Ref(variance.name))


def _sum_with_elements(node: Node) -> Iterator[Node]:
    """Write ``addcmul`` as a product of elements and, apart, what it is added to."""
    call = partial(step, node)
    yield (product := call("product", "mul", _ATEN.mul.Tensor, self=node["tensor1"], other=node["tensor2"]))
    args = {"self": node["self"], "other": Ref(product.name), "alpha": node["value"]}
    yield call("", "add", _ATEN.add.Tensor, "alpha", **args)


def _sum_with_matrices(node: Node) -> Iterator[Node]:
    """Write ``addmm``, ``addmv`` and ``baddbmm`` as a matrix product and, apart, what it is added to."""
    call, (left, right) = partial(step, node), (node[key] for key in _FACTORS[node.op])
    yield (product := call("product", "matmul", _ATEN.matmul.default, self=left, other=right))
    if node["alpha"] != 1:
        yield (product := call("scaled", "mul", _ATEN.mul.Tensor, self=Ref(product.name), other=node["alpha"]))
    total: dict[str, Any] = {"self": Ref(product.name), "other": node["self"], "alpha": node["beta"]}
    yield call("", "add", _ATEN.add.Tensor, "alpha", **total)


def _product(node: Node) -> Iterator[Node]:
    """Write a product of two matrices as ``matmul``."""
    other = node["other"] if node.op == "linalg_matmul" else node["mat2"]
    yield step(node, "", "matmul", _ATEN.matmul.default, self=node["self"], other=other)


def _smallest(node: Node) -> Iterator[Node]:
    call, negate = partial(step, node), _ATEN.neg.default
    args = dict(node.args)
    for key in ("self", "other"):
        if key in args:
            yield (negative := call(f"negative_{key}", "neg", negate, self=args[key]))
            args[key] = Ref(negative.name)
    op, largest = ("maximum", _ATEN.maximum.default) if "other" in args else ("amax", _ATEN.amax.default)
    yield (found := call("largest", op, largest, **args))
    yield call("", "neg", negate, self=Ref(found.name))


_SPELLED: dict[str, Callable[[Node], Iterator[Node]]] = {
    "linalg_vector_norm": _norm,
    "addcmul": _sum_with_elements,
    **dict.fromkeys(_FACTORS, _sum_with_matrices),
    **dict.fromkeys(("mm", "bmm", "linalg_matmul"), _product),
    "minimum": _smallest,
    "amin": _smallest,
}
