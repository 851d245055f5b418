"""Batch norms, biases and affine steps that are written apart, folded into the layer that they belong to."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph, Node, Ref
from effpath.graph.origin import MOVES
from effpath.graph.rewrite import replace_by

_CONVS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_AFFINE = ("mul", "div", "add", "sub", "rsub")


def fold_affine(graph: Graph) -> Graph:
    """Fold what scales and shifts each channel by constants into the layer before it, else into the one after it.

    That is a batch norm, a bias that is added apart, a frozen norm that is written x · scale + shift. Nothing is
    folded where another node reads what lies between. The layer before may be moved (permuted, reshaped) on its
    way to the step.
    """
    names = [node.name for node in graph.nodes if node.op in (*_AFFINE, "batch_norm")]
    seen = _like(graph) if names else {}
    for name in (*names, *reversed(names)):  # the second time for one whose reader was such a step
        node = graph.by_name.get(name)  # as the folds before this one left it
        if node is not None:
            graph = _fold_back(graph, node, seen) or _fold_ahead(graph, node, seen) or graph
    return graph


def _like(graph: Graph) -> dict[str, Tensor]:
    """Return for each name a tensor of its shape and type at batch one, without memory."""
    found: dict[str, Tensor] = {}

    def see(name: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            found[name] = torch.empty_like(value, device="meta")
        return value

    image = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    see(graph.input, image)
    with torch.no_grad():
        graph.run(image, change=see)
    return found


def _scale_and_shift(graph: Graph, node: Node, seen: dict[str, Tensor]) -> tuple[str, Tensor, Tensor] | None:
    """Return what a step reads, and its float64 scale and shift, to be broadcast; None for any other node."""
    if node.op == "batch_norm":
        return _of_batch_norm(graph, node, seen)
    if node.op not in _AFFINE or "self" not in node.args or node.args.get("rounding_mode") is not None:
        return None
    one, two = node["self"], node["other"]
    given = node.args.get("alpha")
    alpha = 1.0 if given is None else float(given)
    constants = [_constant(graph, value) for value in (one, two)]
    if (constants[0] is None) == (constants[1] is None) or (node.op == "div" and constants[1] is None):
        return None
    first = constants[0] is None
    data, constant = (one, constants[1]) if first else (two, constants[0])
    assert constant is not None
    if not isinstance(data, Ref) or data.name not in graph.live or not bool(constant.isfinite().all()):
        return None
    scale, shift = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    if node.op == "mul":
        scale = constant
    elif node.op == "div":
        scale = 1 / constant
    elif node.op == "rsub":  # other - alpha · self
        scale, shift = (-alpha * scale, constant) if first else (scale, -alpha * constant)
    else:
        sign = -alpha if node.op == "sub" else alpha
        scale, shift = (scale, sign * constant) if first else (sign * scale, constant)
    return (data.name, scale, shift) if bool(scale.isfinite().all()) else None


def _constant(graph: Graph, value: Any) -> Tensor | None:
    if isinstance(value, Ref):
        held = graph.constants.get(value.name)
        return held.double() if held is not None and not held.is_complex() else None
    return torch.tensor(float(value), dtype=torch.float64) if isinstance(value, (int, float)) else None


def _of_batch_norm(graph: Graph, norm: Node, seen: dict[str, Tensor]) -> tuple[str, Tensor, Tensor] | None:
    def constant(key: str) -> Tensor | None:
        return None if norm[key] is None else graph.constants[norm[key].name].double()

    mean, variance = constant("running_mean"), constant("running_var")
    assert mean is not None
    assert variance is not None
    weight, bias = constant("weight"), constant("bias")
    scale = torch.rsqrt(variance + norm["eps"])
    scale = scale if weight is None else scale * weight
    shift = (0 if bias is None else bias) - mean * scale
    name = norm["input"].name
    shape = (-1, *[1] * (seen[name].dim() - 2))
    return name, scale.reshape(shape), shift.reshape(shape)


def _weighted(graph: Graph, name: str) -> Node | None:
    """Return the convolution or linear node of this name whose weight is a constant."""
    node = graph.by_name.get(name)
    if node is None or node.op not in (*_CONVS, "linear") or node["weight"].name not in graph.constants:
        return None
    if node["bias"] is not None and node["bias"].name not in graph.constants:
        return None
    return node


def _fold_back(graph: Graph, node: Node, seen: dict[str, Tensor]) -> Graph | None:
    found = _scale_and_shift(graph, node, seen)
    if found is None:
        return None
    source, scale, shift = found
    before = _layer_behind(graph, source)
    if before is None:
        return None
    own, read, result = (seen[name] for name in (before.name, source, node.name))
    if result.shape != read.shape or result.dtype != own.dtype:
        return None  # broadcast, or promoted to another type
    ids = torch.arange(own.numel()).reshape(own.shape)
    if source != before.name:
        zeros = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
        ids = graph.run(zeros, [source], given={before.name: ids.double().to(graph.device)})[source].long().cpu()
    axis = own.dim() - 1 if before.op == "linear" else 1
    channel = ids // prod(own.shape[axis + 1 :]) % own.shape[axis]
    scales, shifts = (_by_channel(value, channel, own.shape[axis]) for value in (scale, shift))
    if scales is None or shifts is None:
        return None
    return replace_by(_with_affine(graph, before, scales, shifts), {node.name: source})


def _layer_behind(graph: Graph, name: str) -> Node | None:
    """Return the layer whose result, moved only and read by nothing else, a name is."""
    while True:
        if len(graph.consumers.get(name, ())) > 1 or name == graph.logits:
            return None
        found = _weighted(graph, name)
        node = graph.by_name.get(name)
        if found is not None or node is None or node.op not in MOVES:
            return found
        live = [ref for ref in node.refs if ref in graph.live]
        if len(live) != 1:
            return None
        name = live[0]


def _by_channel(value: Tensor, channel: Tensor, channels: int) -> Tensor | None:
    """Return one number a channel, float64 [channels], of numbers that are broadcast; None where they differ."""
    wide = value.cpu().broadcast_to(channel.shape).reshape(-1)
    numbers = torch.zeros(channels, dtype=torch.float64)
    numbers[channel.reshape(-1)] = wide
    return numbers if torch.equal(numbers[channel.reshape(-1)], wide) else None


def _with_affine(graph: Graph, node: Node, scale: Tensor, shift: Tensor) -> Graph:
    """Let a layer give ``scale`` times what it gave, plus ``shift``; both [output channels]."""
    held = graph.constants[node["weight"].name]
    scale, shift = scale.to(held.device), shift.to(held.device)
    if node["bias"] is not None:
        shift = shift + graph.constants[node["bias"].name].double() * scale
    if bool((scale == 1).all()):
        return _with_weight(graph, node, None, shift)
    weight = held.double()
    if node.op.startswith("conv_transpose"):
        per_group = weight.shape[1]
        rows = scale.reshape(node["groups"], 1, per_group, *[1] * (weight.dim() - 2))
        new = (weight.reshape(node["groups"], -1, *weight.shape[1:]) * rows).reshape(weight.shape)
    elif node.args.get("transposed"):
        new = weight * scale
    else:
        new = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return _with_weight(graph, node, new, shift)


def _fold_ahead(graph: Graph, node: Node, seen: dict[str, Tensor]) -> Graph | None:
    readers = graph.consumers.get(node.name, [])
    found = _scale_and_shift(graph, node, seen) if len(readers) == 1 else None
    if found is None or node.name == graph.logits or _is_preparation(graph, node):
        return None
    source, scale, shift = found
    after = _weighted(graph, readers[0].name)
    if after is None or after.op.startswith("conv_transpose") or after["input"].name != node.name:
        return None
    padding = () if after.op == "linear" or after["padding"] == "valid" else after["padding"]
    if padding == "same" or any([padding] if isinstance(padding, int) else padding):
        return None  # the border would see the shift where the network sees zeros
    read, result = seen[source], seen[node.name]
    if result.shape != read.shape or result.dtype != read.dtype:
        return None
    axis = read.dim() - 1 if after.op == "linear" else 1
    channel = torch.arange(read.shape[axis]).reshape(-1, *[1] * (read.dim() - 1 - axis)).expand(read.shape)
    scales, shifts = (_by_channel(value, channel, read.shape[axis]) for value in (scale, shift))
    if scales is None or shifts is None:
        return None
    held = graph.constants[after["weight"].name].double()
    weight = held.t() if after.args.get("transposed") else held
    groups = 1 if after.op == "linear" else after["groups"]
    inner = [1] * (weight.dim() - 2)

    def spread(value: Tensor) -> Tensor:
        rows = value.to(held.device).reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
        return rows.reshape(weight.shape[0], -1, *inner)

    bias = (weight * spread(shifts)).flatten(1).sum(1)
    if after["bias"] is not None:
        bias = bias + graph.constants[after["bias"].name].double()
    new = weight * spread(scales)
    graph = _with_weight(graph, after, new.t() if after.args.get("transposed") else new, bias)
    return replace_by(graph, {node.name: source})


def _is_preparation(graph: Graph, node: Node) -> bool:
    """Whether a step prepares the pixels, (x − mean) ÷ std: what an image is before the network, no norm of it."""
    last = node
    while True:
        live = [ref for ref in last.refs if ref in graph.live]
        if live == [graph.input]:
            return last.op in ("add", "sub", "rsub")
        before = graph.by_name.get(live[0]) if len(live) == 1 else None
        if before is None or before.op not in (*_AFFINE, *MOVES):
            return False
        last = before


def _with_weight(graph: Graph, node: Node, weight: Tensor | None, bias: Tensor) -> Graph:
    """Give a node its own folded weight and bias; the constants keep their old names where nobody shares them."""
    old = node["weight"].name
    dtype, own = graph.constants[old].dtype, f"{node.name}.folded_weight"
    constants = {**graph.constants, f"{node.name}.folded_bias": bias.to(dtype)}
    parameters, scalars, args = {**graph.parameters}, {**graph.scalars}, {**node.args}
    args["bias"] = Ref(f"{node.name}.folded_bias")
    if weight is not None:
        constants[own], args["weight"] = weight.to(dtype), Ref(own)
        parameters[own] = graph.parameters.get(old, old)
        if old in scalars:
            scalars[own] = scalars[old]
    nodes = tuple(replace(n, args=args) if n.name == node.name else n for n in graph.nodes)
    return replace(graph, nodes=nodes, constants=constants, parameters=parameters, scalars=scalars)
