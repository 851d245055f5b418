"""Batch norms, biases and affine steps that are written apart, folded into the layer that they belong to."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from effpath.graph.affine import AFFINE, Affine, by_channel, find_affine
from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.origin import MOVES
from effpath.graph.rewrite import outlines, replace_by

_CONVS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def fold_affine(graph: Graph) -> Graph:
    """Fold what scales and shifts each channel by constants into the layer before it, else into the one after it.

    That is a batch norm, a bias that is added apart, a frozen norm that is written x · scale + shift. Nothing is
    folded where another node reads what lies between. The layer before may be moved (permuted, reshaped) on its
    way to the step.
    """
    names = [node.name for node in graph.nodes if node.op in (*AFFINE, "batch_norm")]
    seen = outlines(graph) if names else {}
    for name in (*names, *reversed(names)):  # the second time for one whose reader was such a step
        node = graph.by_name.get(name)  # as the folds before this one left it
        affine = None if node is None else find_affine(graph, node, seen)
        if node is not None and affine is not None:
            graph = _fold_back(graph, node, affine, seen) or _fold_ahead(graph, node, affine, seen) or graph
    return graph


def _weighted(graph: Graph, name: str) -> Node | None:
    """Return the convolution or linear node of this name whose weight is a constant."""
    node = graph.by_name.get(name)
    if node is None or node.op not in (*_CONVS, "linear") or node["weight"].name not in graph.constants:
        return None
    if node["bias"] is not None and node["bias"].name not in graph.constants:
        return None
    return node


def _fold_back(graph: Graph, node: Node, affine: Affine, seen: dict[str, Tensor]) -> Graph | None:
    """Return the graph with a step folded into the layer before it, None where that cannot be."""
    layer = _layer_behind(graph, affine.source)
    if layer is None:
        return None
    output, read, result = (seen[name] for name in (layer.name, affine.source, node.name))
    if result.shape != read.shape or result.dtype != output.dtype:
        return None  # broadcast, or promoted to another type
    ids = torch.arange(output.numel()).reshape(output.shape)
    if affine.source != layer.name:
        zeros = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
        moved = graph.run(zeros, [affine.source], given={layer.name: ids.double().to(graph.device)})
        ids = moved[affine.source].long().cpu()
    axis = output.dim() - 1 if layer.op == "linear" else 1
    channels = output.shape[axis]
    channel = ids // prod(output.shape[axis + 1 :]) % channels
    scale, shift = (by_channel(value, channel, channels) for value in (affine.scale, affine.shift))
    if scale is None or shift is None:
        return None
    return replace_by(_with_affine(graph, layer, scale, shift), {node.name: affine.source})


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


def _with_affine(graph: Graph, layer: Node, scale: Tensor, shift: Tensor) -> Graph:
    """Let a layer give ``scale`` times what it gave, plus ``shift``; both [output channels]."""
    held = graph.constants[layer["weight"].name]
    scale, shift = scale.to(held.device), shift.to(held.device)
    if layer["bias"] is not None:
        shift = shift + graph.constants[layer["bias"].name].double() * scale
    if bool((scale == 1).all()):
        return _with_weight(graph, layer, None, shift)
    weight = held.double()
    if layer.op.startswith("conv_transpose"):
        per_group = weight.shape[1]
        rows = scale.reshape(layer["groups"], 1, per_group, *[1] * (weight.dim() - 2))
        scaled = (weight.reshape(layer["groups"], -1, *weight.shape[1:]) * rows).reshape(weight.shape)
    elif layer.args.get("transposed"):
        scaled = weight * scale
    else:
        scaled = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return _with_weight(graph, layer, scaled, shift)


def _fold_ahead(graph: Graph, node: Node, affine: Affine, seen: dict[str, Tensor]) -> Graph | None:
    """Return the graph with a step folded into the layer after it, None where that cannot be."""
    readers = graph.consumers.get(node.name, [])
    if len(readers) != 1 or node.name == graph.logits or _is_preparation(graph, node):
        return None
    layer = _weighted(graph, readers[0].name)
    if layer is None or layer.op.startswith("conv_transpose") or layer["input"].name != node.name:
        return None
    padding = () if layer.op == "linear" or layer["padding"] == "valid" else layer["padding"]
    if padding == "same" or any([padding] if isinstance(padding, int) else padding):
        return None  # the border would see the shift where the network sees zeros
    read, result = seen[affine.source], seen[node.name]
    if result.shape != read.shape or result.dtype != read.dtype:
        return None
    axis = read.dim() - 1 if layer.op == "linear" else 1
    channel = torch.arange(read.shape[axis]).reshape(-1, *[1] * (read.dim() - 1 - axis)).expand(read.shape)
    scale, shift = (by_channel(value, channel, read.shape[axis]) for value in (affine.scale, affine.shift))
    if scale is None or shift is None:
        return None
    held = graph.constants[layer["weight"].name].double()
    turned = layer.args.get("transposed")
    weight = held.t() if turned else held
    groups = 1 if layer.op == "linear" else layer["groups"]

    def spread(value: Tensor) -> Tensor:
        rows = value.to(held.device).reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
        return rows.reshape(weight.shape[0], -1, *[1] * (weight.dim() - 2))

    bias = (weight * spread(shift)).flatten(1).sum(1)
    if layer["bias"] is not None:
        bias = bias + graph.constants[layer["bias"].name].double()
    scaled = weight * spread(scale)
    graph = _with_weight(graph, layer, scaled.t() if turned else scaled, bias)
    return replace_by(graph, {node.name: affine.source})


def _is_preparation(graph: Graph, node: Node) -> bool:
    """Whether a step prepares the pixels, (x − mean) ÷ std: what an image is before the network, no norm of it."""
    last = node
    while True:
        live = [ref for ref in last.refs if ref in graph.live]
        if live == [graph.input]:
            return last.op in ("add", "sub", "rsub")
        before = graph.by_name.get(live[0]) if len(live) == 1 else None
        if before is None or before.op not in (*AFFINE, *MOVES):
            return False
        last = before


def _with_weight(graph: Graph, layer: Node, weight: Tensor | None, bias: Tensor) -> Graph:
    """Give a layer a folded weight and bias, under new names; others that share the old ones keep these."""
    old, new = layer["weight"].name, f"{layer.name}.folded_weight"
    dtype = graph.constants[old].dtype
    constants = {**graph.constants, f"{layer.name}.folded_bias": bias.to(dtype)}
    parameters, scalars, args = {**graph.parameters}, {**graph.scalars}, {**layer.args}
    args["bias"] = Ref(f"{layer.name}.folded_bias")
    if weight is not None:
        constants[new], args["weight"] = weight.to(dtype), Ref(new)
        parameters[new] = graph.parameters.get(old, old)
        if old in scalars:
            scalars[new] = scalars[old]
    nodes = tuple(replace(node, args=args) if node.name == layer.name else node for node in graph.nodes)
    return replace(graph, nodes=nodes, constants=constants, parameters=parameters, scalars=scalars)
