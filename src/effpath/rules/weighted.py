"""Weighted operators: linear, convolution, average pooling, mean, add, sub; and the largest of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import torch

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph, Node, Ref
from effpath.kernels.window import (
    Window,
    adaptive_axis_taps,
    axis_taps,
    grid_taps,
    readdress,
    transposed_axis_taps,
)
from effpath.rules.kinds import Choice, Kind, Route, Weighted
from effpath.rules.route import broadcast_ids, follow_ids, is_data


def linear(graph: Graph, node: Node) -> Weighted:
    """Every output feature against the input features of its own row."""
    source = node["input"].name
    features = graph.shape(source)[-1]
    rows = graph.size(source) // features
    window = Window(
        taps=torch.arange(rows)[:, None],
        inputs=graph.size(source),
        channels=node.shape[-1],
        group_channels=features,
        channels_first=False,
        transposed=bool(node.args.get("transposed")),
    )
    return _with_parameter(graph, node, source, window)


def convolution(graph: Graph, node: Node) -> Weighted:
    """Every output pixel against the in-bounds taps of its receptive field, of its own map."""
    transposed = node.op.startswith("conv_transpose")
    source, lengths, behind = _without_padding(graph, node["input"].name)
    kernel = tuple(_constant_weight(graph, node).shape[2:])
    out = node.shape[2:]
    stride, dilation = per_axis(node["stride"], kernel), per_axis(node["dilation"], kernel)
    padding = _same(node["padding"], kernel, dilation) or per_axis(node["padding"], kernel)
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
    return _with_parameter(graph, node, source, window)


def average_pool(graph: Graph, node: Node) -> Weighted:
    """Every in-bounds input of the window, with weight 1; the value to explain is their sum."""
    source, window = _pool_window(graph, node, filled=0.0)
    return Weighted((source,), window, pooled=True)


def max_pool(graph: Graph, node: Node) -> Choice:
    """The largest input of the window, one; an explicit padding by -inf is never it."""
    source, window = _pool_window(graph, node, filled=-inf)
    return Choice((source,), window)


def mean(graph: Graph, node: Node) -> Weighted:
    """Sum or mean over dimensions: every reduced element with weight 1."""
    return Weighted((node["self"].name,), _reduced_window(graph, node), pooled=True)


def maximum(graph: Graph, node: Node) -> Choice | Route:
    """The largest element over dimensions (``amax``, the values of ``max``), or of two tensors."""
    if isinstance(node.args.get("other"), Ref):
        names = tuple(name for name in node.refs if is_data(graph, Ref(name)))
        if len(names) == 1:  # a bound
            return Route(names, broadcast_ids(graph, names[0], node.shape))
        return Choice(names, _operands_window(graph, node, names))
    return Choice((node["self"].name,), _reduced_window(graph, node))


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


def _reduced_window(graph: Graph, node: Node) -> Window:
    source = node["self"].name
    shape = graph.shape(source)
    chosen = node.args.get("dim")
    chosen = [chosen] if isinstance(chosen, int) else chosen
    dims = sorted(d % len(shape) for d in (chosen or range(len(shape))))
    if 0 in dims and shape[0] == 1:  # a longer one is tokens: the batch is elsewhere, and images are run alone
        raise UnknownOperatorError(f"a reduction of the batch dimension is not one image's own: {node.place}")
    kept = [d for d in range(len(shape)) if d not in dims]
    ids = torch.arange(graph.size(source)).reshape(shape).permute(*kept, *dims)
    return Window(ids.reshape(graph.size(node.name), -1), inputs=graph.size(source))


def add(graph: Graph, node: Node) -> Kind:
    """Sum or difference of tensors: the operands' elements are the candidates; a constant operand is a route."""
    given = node.args.get("alpha")
    alpha = 1.0 if given is None else float(given)
    operands: list[tuple[Any, float]] = [
        (node["self"], 1.0),
        (node["other"], alpha),
    ]
    if node.op == "sub":
        operands[1] = (operands[1][0], -operands[1][1])
    if node.op == "rsub":
        operands = [(node["other"], 1.0), (node["self"], -alpha)]
    data = [(o.name, factor) for o, factor in operands if is_data(graph, o)]
    if len(data) == 1:
        return Route((data[0][0],), broadcast_ids(graph, data[0][0], node.shape))
    names = tuple(name for name, _ in data)
    factors = torch.tensor([[factor for _, factor in data]], dtype=torch.float64)
    coefficients = None if bool((factors == 1).all()) else factors
    return Weighted(names, _operands_window(graph, node, names, coefficients))


def _operands_window(
    graph: Graph, node: Node, names: Sequence[str], coefficients: torch.Tensor | None = None
) -> Window:
    """Every output against its element of each operand, which may be broadcast."""
    size = graph.size(node.name)
    if all(graph.size(name) == size for name in names):  # no table: tap t of output o is element t · size + o
        taps = torch.arange(len(names))[None]
        return Window(taps, len(names) * size, size, 1, size, channels_first=False, coefficients=coefficients)
    columns, offset = [], 0
    for name in names:
        columns.append(broadcast_ids(graph, name, node.shape, always=True) + offset)
        offset += graph.size(name)
    return Window(torch.stack(columns, 1), inputs=offset, coefficients=coefficients)


def per_axis(value: Any, like: Sequence[int]) -> tuple[int, ...]:
    """Return torch's int-or-list argument with one entry per axis."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * len(like) if len(values) == 1 else values))


def _with_parameter(graph: Graph, node: Node, source: str, window: Window) -> Weighted:
    _constant_weight(graph, node)
    weight = node["weight"].name
    bias = node["bias"].name if isinstance(node["bias"], Ref) else None
    if weight in graph.scalars:
        window = replace(window, scalars=graph.scalars[weight])
    return Weighted((source,), window, weight, bias, graph.parameters.get(weight, weight))


def _constant_weight(graph: Graph, node: Node) -> torch.Tensor:
    refs = [node[key] for key in ("weight", "bias") if isinstance(node[key], Ref)]
    if any(ref.name not in graph.constants for ref in refs):
        raise UnknownOperatorError(
            f"expected a constant weight and bias, got one computed from the image: {node.place}; "
            "write a rule for it"
        )
    return graph.constants[node["weight"].name]


def _same(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...] | None:
    """Padding in front of each axis for ``padding="same"`` or ``"valid"`` (torch puts the odd one behind)."""
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return None


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
        kernel = per_axis(node["kernel_size"], lengths)
        stride = per_axis(node["stride"] or kernel, lengths)
        padding = per_axis(node["padding"], lengths)
        dilation = per_axis(node.args.get("dilation") or 1, lengths)
        axes = [axis_taps(*axis) for axis in zip(lengths, out, kernel, stride, padding, dilation, strict=True)]
    taps = readdress(grid_taps(axes, lengths), behind)
    return source, Window(taps, inputs=graph.size(source), channels=channels, groups=channels)
