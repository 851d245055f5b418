"""Resizing by interpolation: sums with constant coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node, substitute
from effpath.kernels.window import Window, grid_taps
from effpath.rules.kinds import Weighted


def interpolate(graph: Graph, node: Node) -> Weighted:
    """Linear, bilinear, trilinear and bicubic resize: every output against the few inputs around it."""
    source = node["input" if "input" in node.args else "self"].name
    lengths, out = graph.shape(source)[2:], node.shape[2:]
    tables = [_axis(node, axis, lengths, out) for axis in range(len(lengths))]
    taps = grid_taps([taps for taps, _ in tables], lengths)
    channels = graph.size(source) // prod(lengths)
    window = Window(
        taps,
        inputs=graph.size(source),
        channels=channels,
        groups=channels,
        coefficients=_grid([coefficients for _, coefficients in tables]),
    )
    return Weighted((source,), window)


def _axis(node: Node, axis: int, lengths: Sequence[int], out: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Input index and coefficient of each tap along one axis, both [outputs, taps], by asking the operator.

    It resizes the unit vectors of the axis; the other axes have their lengths, and their mean is the same
    everywhere because interpolation of a constant is that constant.
    """
    shape = [length if a == axis else 1 for a, length in enumerate(lengths)]
    units = torch.eye(lengths[axis], dtype=torch.float64).reshape(1, lengths[axis], *shape)
    units = units.expand(1, lengths[axis], *lengths)
    values = {key: substitute(value, lambda _: units) for key, value in node.args.items()}
    if "output_size" in values and values["output_size"] is not None:
        values["output_size"] = list(out)
    resized = node.function(*values.values())
    first = (0, slice(None), *[slice(None) if a == axis else 0 for a in range(len(lengths))])
    matrix = resized[first].T  # [outputs, inputs]
    taps = int((matrix != 0).sum(1).max())
    used = (matrix != 0).int().sort(dim=1, descending=True, stable=True).indices[:, :taps].sort(dim=1).values
    coefficients = matrix.gather(1, used)
    return torch.where(coefficients != 0, used, -1), coefficients


def _grid(axes: Sequence[Tensor]) -> Tensor:
    """Products of the axes' coefficients, [Π outputs, Π taps], in the order of `grid_taps`."""
    flat = torch.ones(1, 1, dtype=torch.float64)
    for table in axes:
        flat = (flat[:, None, :, None] * table[None, :, None, :]).reshape(flat.shape[0] * table.shape[0], -1)
    return flat
