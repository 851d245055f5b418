"""Weighted operators without a window that slides: linear, mean, sum, add, sub; and the largest of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from effpath.errors import UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice, Kind, Route, Weighted
from effpath.rules.route import broadcast_ids, is_data


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
    return with_parameter(graph, node, source, window)


def mean(graph: Graph, node: Node) -> Weighted:
    """Sum or mean over dimensions: every reduced element with weight 1."""
    return Weighted((node["self"].name,), _reduced_window(graph, node), pooled=True)


def maximum(graph: Graph, node: Node) -> Choice | Route:
    """Choose the largest element over dimensions (``amax``, the values of ``max``), or of two tensors."""
    if isinstance(node.args.get("other"), Ref):
        names = tuple(name for name in node.refs if is_data(graph, Ref(name)))
        if len(names) == 1:  # a bound
            return Route(names, broadcast_ids(graph, names[0], node.shape))
        return Choice(names, _operands_window(graph, node, names))
    return Choice((node["self"].name,), _reduced_window(graph, node))


def _reduced_window(graph: Graph, node: Node) -> Window:
    """Every output against all elements that it was reduced from."""
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
    operands = [(node["self"], 1.0), (node["other"], -alpha if node.op == "sub" else alpha)]
    if node.op == "rsub":  # other - alpha · self
        operands = [(node["other"], 1.0), (node["self"], -alpha)]
    data = [(operand.name, factor) for operand, factor in operands if is_data(graph, operand)]
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


def with_parameter(graph: Graph, node: Node, source: str, window: Window) -> Weighted:
    """Return the kind of an operator that has a weight and perhaps a bias.

    Raises:
        UnknownOperatorError: one of them is computed from the image.
    """
    constant_weight(graph, node)
    weight = node["weight"].name
    bias = node["bias"].name if isinstance(node["bias"], Ref) else None
    if weight in graph.scalars:
        window = replace(window, scalars=graph.scalars[weight])
    return Weighted((source,), window, weight, bias, graph.parameters.get(weight, weight))


def constant_weight(graph: Graph, node: Node) -> torch.Tensor:
    """Return the weight of an operator whose weight and bias are constants; UnknownOperatorError for any other."""
    refs = [node[key] for key in ("weight", "bias") if isinstance(node[key], Ref)]
    if any(ref.name not in graph.constants for ref in refs):
        raise UnknownOperatorError(
            f"expected a constant weight and bias, got one computed from the image: {node.place}; "
            "write a rule for it"
        )
    return graph.constants[node["weight"].name]
