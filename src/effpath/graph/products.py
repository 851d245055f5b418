"""Rewrites of matrix products into one form: attention in plain nodes, what weighs on the left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph, Node, Ref

_ATEN = torch.ops.aten
NORMALISERS = ("softmax", "_softmax", "_safe_softmax", "sigmoid")
ACTIVATIONS = (
    "hardsigmoid", "tanh", "clamp", "hardtanh", "silu", "gelu", "hardswish", "relu", "relu6", "mish", "elu", "exp",
)  # fmt: skip
_MIXERS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d")
_NORMS = ("layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm")


def step(node: Node, name: str, op: str, function: Any, *keywords: str, **args: Any) -> Node:
    """Return one of the nodes that ``node`` is written out in; the last one, of no name, stands for it."""
    own = f"{node.name}.{name}" if name else node.name
    return Node(own, op, args, function, frozenset(keywords), node.module)


def plain_attention(graph: Graph) -> Graph:
    """Write out ``scaled_dot_product_attention`` as products, a softmax and what masks it."""
    fused = [node for node in graph.nodes if node.op == "scaled_dot_product_attention"]
    operands = ("query", "key", "attn_mask")
    samples = sample(graph, [node[key].name for node in fused for key in operands if node[key] is not None])
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node in fused:
            if node["is_causal"]:
                shape = [samples[node[key].name].shape[-2] for key in ("query", "key")]
                mask = torch.ones(shape, dtype=torch.bool, device=graph.device).tril()
                constants[f"{node.name}.causal_mask"] = samples[f"{node.name}.causal_mask"] = mask
                node = replace(node, args={**node.args, "attn_mask": Ref(f"{node.name}.causal_mask")})
            nodes.extend(_attend(node, samples))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _attend(node: Node, samples: dict[str, Tensor]) -> Iterator[Node]:
    """Yield the plain nodes of one attention; ``samples`` has its operands at batch one."""
    call = partial(step, node)
    keys, values, mask = node["key"], node["value"], node["attn_mask"]
    query, key = samples[node["query"].name].shape, samples[keys.name].shape
    if node["enable_gqa"] and query[-3] != key[-3]:  # several heads of queries share one of keys and values
        repeat: dict[str, Any] = {"repeats": query[-3] // key[-3], "dim": -3}
        function = _ATEN.repeat_interleave.self_int
        yield (repeated_keys := call("keys", "repeat_interleave", function, self=keys, **repeat))
        yield (repeated_values := call("values", "repeat_interleave", function, self=values, **repeat))
        keys, values = Ref(repeated_keys.name), Ref(repeated_values.name)
    yield (turned := call("turned_keys", "transpose", _ATEN.transpose.int, self=keys, dim0=-2, dim1=-1))
    yield (scores := call("products", "matmul", _ATEN.matmul.default, self=node["query"], other=Ref(turned.name)))
    scale = 1 / sqrt(query[-1]) if node["scale"] is None else float(node["scale"])
    yield (scores := call("scores", "mul", _ATEN.mul.Tensor, self=Ref(scores.name), other=scale))
    if mask is not None and samples[mask.name].dtype == torch.bool:
        yield (barred := call("barred", "logical_not", _ATEN.logical_not.default, self=mask))
        bars: dict[str, Any] = {"mask": Ref(barred.name), "value": -torch.inf}
        yield (scores := call("masked", "masked_fill", _ATEN.masked_fill.Scalar, self=Ref(scores.name), **bars))
    elif mask is not None:
        yield (scores := call("masked", "add", _ATEN.add.Tensor, self=Ref(scores.name), other=mask))
    softmax = _ATEN._safe_softmax.default  # zeros, as torch gives them, where a whole row is masked
    yield (weights := call("softmax", "_safe_softmax", softmax, self=Ref(scores.name), dim=-1))
    args = {"self": Ref(weights.name), "other": values}
    yield replace(node, op="matmul", args=args, function=_ATEN.matmul.default, keywords=frozenset())


def orient_products(graph: Graph) -> Graph:
    """Turn every matrix product into ``matmul`` with its attention on the left; by a constant, into ``linear``.

    ``mm``, ``bmm``, ``addmm`` and ``baddbmm`` become ``matmul`` (and a sum). Of two data-dependent operands the
    attention is the one that comes from a softmax, else the one that comes straight from an activation
    function (linear attention), else the left one. A product with the attention on the right is turned:
    X·A = (Aᵀ·Xᵀ)ᵀ.
    """
    graph = replace(graph, nodes=tuple(new for node in graph.nodes for new in _as_matmul(node)))
    lefts = [n["self"].name for n in graph.nodes if n.op == "matmul"]
    flat = {name for name, value in sample(graph, lefts).items() if value.dim() == 2}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op != "matmul" or node.name not in graph.live:
            nodes.append(node)
            continue
        left, right = node["self"].name, node["other"].name
        if left not in graph.live and left in flat:
            nodes.extend(_turned_linear(node))
        elif _weighs_from_the_right(graph, left, right):
            nodes.extend(_turned(node))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _as_matmul(node: Node) -> Iterator[Node]:
    """Yield a product in the spelling ``matmul``, and what it is added to apart."""
    call, matmul = partial(step, node), _ATEN.matmul.default
    if node.op in ("mm", "bmm"):
        yield call("", "matmul", matmul, self=node["self"], other=node["mat2"])
    elif node.op in ("addmm", "baddbmm"):
        one, two = ("mat1", "mat2") if node.op == "addmm" else ("batch1", "batch2")
        yield (product := call("product", "matmul", matmul, self=node[one], other=node[two]))
        yield (scaled := call("scaled", "mul", _ATEN.mul.Tensor, self=Ref(product.name), other=node["alpha"]))
        total: dict[str, Any] = {"self": Ref(scaled.name), "other": node["self"], "alpha": node["beta"]}
        yield call("", "add", _ATEN.add.Tensor, "alpha", **total)
    else:
        yield node


def _turned(node: Node) -> Iterator[Node]:
    """X·A = (Aᵀ·Xᵀ)ᵀ."""
    call, swap = partial(step, node), {"dim0": -2, "dim1": -1}
    transpose, matmul = _ATEN.transpose.int, _ATEN.matmul.default
    yield (left := call("turned_right", "transpose", transpose, self=node["other"], **swap))
    yield (right := call("turned_left", "transpose", transpose, self=node["self"], **swap))
    yield (product := call("turned", "matmul", matmul, self=Ref(left.name), other=Ref(right.name)))
    yield call("", "transpose", transpose, self=Ref(product.name), **swap)


def _turned_linear(node: Node) -> Iterator[Node]:
    """W·x = (xᵀ·Wᵀ)ᵀ: a linear layer over tokens."""
    call, swap, transpose = partial(step, node), {"dim0": -2, "dim1": -1}, _ATEN.transpose.int
    yield (turned := call("turned", "transpose", transpose, self=node["other"], **swap))
    linear: dict[str, Any] = {"input": Ref(turned.name), "weight": node["self"], "bias": None}
    yield (product := call("linear", "linear", _ATEN.linear.default, **linear))
    yield call("", "transpose", transpose, self=Ref(product.name), **swap)


def _weighs_from_the_right(graph: Graph, left: str, right: str) -> bool:
    if left not in graph.live:
        return False
    if right not in graph.live:  # a constant matrix on the right is the weight of a linear layer
        return right not in graph.constants or graph.constants[right].dim() > 2
    for makers, crossed in ((NORMALISERS, ("linear",)), (ACTIVATIONS, ())):
        found = [_comes_from(graph, name, makers, crossed) for name in (left, right)]
        if found[0] != found[1]:
            return found[1]
    return False


def _comes_from(graph: Graph, name: str, makers: tuple[str, ...], crossed: tuple[str, ...]) -> bool:
    """Tell whether one of the makers is found going back, stopping at other nonlinearities and mixers."""
    stops = {*NORMALISERS, *ACTIVATIONS, *_MIXERS, *_NORMS} - {*crossed}
    seen, ahead = {name}, [name]
    while ahead:
        node = graph.by_name.get(ahead.pop())
        if node is None:
            continue
        if node.op in makers:
            return True
        if node.op not in stops:
            fresh = [ref for ref in node.refs if ref in graph.live and ref not in seen]
            seen.update(fresh)
            ahead.extend(fresh)
    return False


def sample(graph: Graph, names: Iterable[str]) -> dict[str, Tensor]:
    """Values of some names for one image of zeros: shapes and dtypes are recorded only after the rewrites."""
    found = {name: graph.constants[name] for name in names if name in graph.constants}
    inner = [name for name in names if name not in found]
    image = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    return found | (graph.run(image, inner) if inner else {})
