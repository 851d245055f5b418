"""Rewrites of composite operators into ones that have rules: norms, variances, fused sums of products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import prod

import torch

from effpath.graph.graph import Graph, Node, Ref
from effpath.graph.rewrite import sample, step

_ATEN = torch.ops.aten


def spell_out(graph: Graph) -> Graph:
    """Write ``linalg_vector_norm``, ``var``, ``std``, ``addcmul``, ``minimum`` and ``amin`` in plainer operators.

    A norm is a gate in most networks (cosine attention, response normalisation): its path is one of sums.
    """
    varied = [node for node in graph.nodes if node.op in ("var", "std")]
    samples = sample(graph, [node["self"].name for node in varied])
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op in ("var", "std"):
            nodes.extend(_variance(node, tuple(samples[node["self"].name].shape)))
        elif node.op == "linalg_vector_norm" and node["ord"] in (1, 2):
            nodes.extend(_norm(node))
        elif node.op == "addcmul":
            nodes.extend(_sum_of_product(node))
        elif node.op in ("minimum", "amin"):
            nodes.extend(_smallest(node))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _norm(node: Node) -> Iterator[Node]:
    call, root = partial(step, node), node["ord"] == 2
    size = call("squares", "square", _ATEN.square.default, self=node["self"])
    if not root:
        size = call("sizes", "abs", _ATEN.abs.default, self=node["self"])
    yield size
    dims = {"dim": node["dim"], "keepdim": node["keepdim"]}
    yield (total := call("sum" if root else "", "sum", _ATEN.sum.dim_IntList, self=Ref(size.name), **dims))
    if root:
        yield call("", "sqrt", _ATEN.sqrt.default, self=Ref(total.name))


def _variance(node: Node, shape: tuple[int, ...]) -> Iterator[Node]:
    call = partial(step, node)
    dims = node["dim"] if node["dim"] else list(range(len(shape)))
    count = prod(shape[d] for d in dims)
    correction = (
        node["correction"] if node.args.get("correction") is not None else int(node.args.get("unbiased", 1))
    )
    yield (mean := call("mean", "mean", _ATEN.mean.dim, self=node["self"], dim=dims, keepdim=True))
    yield (rest := call("rest", "sub", _ATEN.sub.Tensor, self=node["self"], other=Ref(mean.name)))
    yield (squares := call("squares", "square", _ATEN.square.default, self=Ref(rest.name)))
    keep = {"dim": dims, "keepdim": node["keepdim"]}
    yield (average := call("average", "mean", _ATEN.mean.dim, self=Ref(squares.name), **keep))
    yield call(
        "variance" if node.op == "std" else "",
        "mul",
        _ATEN.mul.Tensor,
        self=Ref(average.name),
        other=count / (count - correction),
    )
    if node.op == "std":
        yield call("", "sqrt", _ATEN.sqrt.default, self=Ref(f"{node.name}.variance"))


def _sum_of_product(node: Node) -> Iterator[Node]:
    call = partial(step, node)
    yield (product := call("product", "mul", _ATEN.mul.Tensor, self=node["tensor1"], other=node["tensor2"]))
    args = {"self": node["self"], "other": Ref(product.name), "alpha": node["value"]}
    yield call("", "add", _ATEN.add.Tensor, "alpha", **args)


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
