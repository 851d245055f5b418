"""Operators whose window slides over the image: convolutions, pooling, and the sum of overlapping patches."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Any

import torch

from effpath.graph.graph import Graph
from effpath.graph.node import Node
from effpath.kernels.window import (
    Window,
    adaptive_axis_taps,
    axis_taps,
    grid_taps,
    readdress,
    transposed_axis_taps,
)
from effpath.rules.kinds import Choice, Weighted
from effpath.rules.route import follow_ids
from effpath.rules.weighted import constant_weight, with_parameter


def convolution(graph: Graph, node: Node) -> Weighted:
    """Every output pixel against the in-bounds taps of its receptive field, of its own map."""
    transposed = node.op.startswith("conv_transpose")
    source, lengths, behind = _without_padding(graph, node["input"].name)
    kernel = tuple(constant_weight(graph, node).shape[2:])
    out = node.shape[2:]
    stride, dilation = _per_axis(node["stride"], kernel), _per_axis(node["dilation"], kernel)
    padding = _same(node["padding"], kernel, dilation) or _per_axis(node["padding"], kernel)
    table = transposed_axis_taps if transposed else axis_taps
    axes = [table(*axis) for axis in zip(lengths, out, kernel, stride, padding, dilation, strict=True)]
    taps = readdress(grid_taps(axes, lengths), behind)
    groups, maps = node["groups"], node.shape[0]
    window = Window(
        taps=taps,
        inputs=graph.size(source),
        channels=maps * node.shape[1],
        group_channels=graph.shape(source)[1] // groups,
        groups=maps * groups,
        transposed=transposed,
        maps=maps,
    )
    return with_parameter(graph, node, source, window)


def average_pool(graph: Graph, node: Node) -> Weighted:
    """Weigh every in-bounds input of the window by 1; the value to explain is their sum."""
    source, window = _pool_window(graph, node, filled=0.0)
    return Weighted((source,), window, pooled=True)


def max_pool(graph: Graph, node: Node) -> Choice:
    """Choose the largest input of the window, one; an explicit padding by -inf is never it."""
    source, window = _pool_window(graph, node, filled=-inf)
    return Choice((source,), window)


def fold(graph: Graph, node: Node) -> Weighted:
    """Sum of overlapping patches (``F.fold``): every output pixel against the patch elements that lie on it."""
    source, sizes = node["self"].name, node["output_size"]
    pixels = torch.arange(1.0, 1 + prod(sizes)).reshape(1, 1, *sizes)
    cut = [node[key] for key in ("kernel_size", "dilation", "padding", "stride")]
    pixel = torch.ops.aten.im2col(pixels, *cut).reshape(-1).long() - 1  # of each element, -1 outside
    elements = (pixel >= 0).nonzero()[:, 0]
    elements = elements[pixel[elements].sort(stable=True).indices]
    counts = torch.bincount(pixel[elements], minlength=prod(sizes))
    column = torch.arange(len(elements)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    taps = torch.full((prod(sizes), int(counts.max())), -1)
    taps[pixel[elements], column] = elements
    channels = graph.size(node.name) // prod(sizes)
    window = Window(taps, inputs=graph.size(source), channels=channels, groups=channels)
    return Weighted((source,), window, pooled=True)


def _pool_window(graph: Graph, node: Node, filled: float) -> tuple[str, Window]:
    """Return the tensor that is pooled, before its padding by ``filled``, and the window over it."""
    source, lengths, behind = _without_padding(graph, node["self"].name, filled)
    rank = next(n for n in (1, 2, 3) if f"pool{n}d" in node.op)
    out = node.shape[-rank:]
    if len(lengths) != rank:  # channels without a batch dimension before them: one image, run alone
        source, lengths, behind = node["self"].name, graph.shape(node["self"].name)[-rank:], None
    channels = graph.size(node.name) // prod(out)
    if node.op.startswith("adaptive"):
        axes = [adaptive_axis_taps(n, o) for n, o in zip(lengths, out, strict=True)]
    else:
        kernel = _per_axis(node["kernel_size"], lengths)
        stride = _per_axis(node["stride"] or kernel, lengths)
        padding = _per_axis(node["padding"], lengths)
        dilation = _per_axis(node.args.get("dilation") or 1, lengths)
        axes = [axis_taps(*axis) for axis in zip(lengths, out, kernel, stride, padding, dilation, strict=True)]
    taps = readdress(grid_taps(axes, lengths), behind)
    return source, Window(taps, inputs=graph.size(source), channels=channels, groups=channels)


def _without_padding(
    graph: Graph, name: str, filled: float = 0.0
) -> tuple[str, tuple[int, ...], torch.Tensor | None]:
    """Look through paddings of the image axes, so that ids are those of the tensor that was padded.

    By zero (or ``filled``) an element stands for none; a reflected, repeated or wrapped border for the element it
    is a copy of. A padding by another value is not looked through: it has a value that counts.

    Returns the tensor behind it, the padded lengths, and its position of each padded position (-1 for none), int64
    [Π lengths], or None where nothing was padded.
    """
    lengths, behind = graph.shape(name)[2:], None
    while (node := graph.by_name.get(name)) is not None and _pads_images(node, len(lengths), filled):
        inner = graph.shape(node["self"].name)[2:]
        _, found = follow_ids(graph, node, {node["self"].name: torch.arange(prod(inner)).reshape(1, 1, *inner)})
        behind = readdress(torch.arange(prod(lengths)) if behind is None else behind, found.long())
        name = node["self"].name
    return name, lengths, behind


def _pads_images(node: Node, axes: int, filled: float) -> bool:
    """Tell whether a node pads the image axes alone, and by what a pooling or convolution does not count."""
    if node.op.startswith(("reflection_pad", "replication_pad")):
        return True
    if node.op not in ("pad", "constant_pad_nd") or any(node["pad"][2 * axes :]):
        return False
    return node.args.get("mode", "constant") != "constant" or (node.args.get("value") or 0.0) == filled


def _same(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...] | None:
    """Return the padding before each axis for ``"same"`` or ``"valid"`` (torch puts the odd one at the end)."""
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return None


def _per_axis(value: Any, like: Sequence[int]) -> tuple[int, ...]:
    """Return torch's int-or-list argument with one entry per axis."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * len(like) if len(values) == 1 else values))
