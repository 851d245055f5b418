"""Matrix products that are no layers, in one form: attention in plain nodes, what weighs on the left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.rewrite import sample, step

_ATEN = torch.ops.aten
NORMALISERS = ("softmax", "_softmax", "_safe_softmax", "sigmoid")
ACTIVATIONS = (
    "hardsigmoid", "tanh", "clamp", "hardtanh", "silu", "gelu", "hardswish", "relu", "relu6", "mish", "elu", "exp",
)  # fmt: skip
_MIXERS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "avg_pool2d", "max_pool2d", "adaptive_avg_pool2d")
_NORMS = ("layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm")


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
    """Bring the attention of every matrix product that is no layer to the left.

    Of two data-dependent operands the attention is the one that comes from a softmax, else the one that comes
    straight from an activation function (linear attention), else the left one. A product with the attention on the
    right is turned: X·A = (Aᵀ·Xᵀ)ᵀ.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        turned = node.op == "matmul" and node.name in graph.live and _weighs_from_the_right(graph, node)
        nodes.extend(_turned(node) if turned else [node])
    return replace(graph, nodes=tuple(nodes))


def _turned(node: Node) -> Iterator[Node]:
    """X·A = (Aᵀ·Xᵀ)ᵀ."""
    call, swap = partial(step, node), {"dim0": -2, "dim1": -1}
    transpose, matmul = _ATEN.transpose.int, _ATEN.matmul.default
    yield (left := call("turned_right", "transpose", transpose, self=node["other"], **swap))
    yield (right := call("turned_left", "transpose", transpose, self=node["self"], **swap))
    yield (product := call("turned", "matmul", matmul, self=Ref(left.name), other=Ref(right.name)))
    yield call("", "transpose", transpose, self=Ref(product.name), **swap)


def _weighs_from_the_right(graph: Graph, node: Node) -> bool:
    left, right = node["self"].name, node["other"].name
    if left not in graph.live or right not in graph.live:
        return left in graph.live  # a constant weighs
    for makers, crossed in ((NORMALISERS, ("linear",)), (ACTIVATIONS, ())):
        found = [_comes_from(graph, name, makers, crossed) for name in (left, right)]
        if found[0] != found[1]:
            return found[1]
    return False


def _comes_from(graph: Graph, name: str, makers: tuple[str, ...], crossed: tuple[str, ...]) -> bool:
    """Tell whether one of the makers is found going back, stopping at other nonlinearities and mixers."""
    stops = {*NORMALISERS, *ACTIVATIONS, *_MIXERS, *_NORMS} - {*crossed}
    found = {name}
    for node in reversed(graph.nodes):
        if node.name in found:
            if node.op in makers:
                return True
            if node.op not in stops:
                found.update(ref for ref in node.refs if ref in graph.live)
    return False
