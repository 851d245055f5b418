"""Whether a network treats each image of a batch as it would alone: two different images are run to find out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node

ROUNDING = 0.01  # of a node's largest value: another batch size may add up in another order
COARSE = 0.06  # the same, for types with fewer than 24 significant bits


def keeps_images_apart(graph: Graph) -> bool:
    """Tell whether every node gives for two images the concatenation of what it gives for each alone.

    Nodes are compared one by one: alone, each reads the image's part of what it reads in the batch, so that
    rounding does not accumulate from node to node. A number that stands for the whole batch belongs to no image.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, *graph.input_shape, generator=generator, dtype=torch.float64)
    images = pixels.to(graph.device, graph.dtype)
    runs: list[dict[str, Any]] = [{graph.input: part} for part in (images, images[:1], images[1:])]
    last = {name: node.name for node in graph.nodes for name in node.refs}
    with torch.no_grad():
        for node in graph.nodes:
            both, *alone = (_call(graph, node, values) for values in runs)
            if node.name in graph.live:
                if not _same(both, alone):
                    return False
                alone = _parts(both)
            for values, value in zip(runs, (both, *alone), strict=True):
                values[node.name] = value
                for name in node.refs:
                    if last.get(name) == node.name:
                        values.pop(name, None)
    return True


def _call(graph: Graph, node: Node, values: dict[str, Any]) -> Any:
    return node.call(lambda name: graph.constants[name] if name in graph.constants else values[name])


def _same(both: Any, alone: list[Any]) -> bool:
    """Tell whether a result for two images is the concatenation of those for each."""
    if isinstance(both, (list, tuple)):
        if any(len(one) != len(both) for one in alone):
            return False
        return all(_same(part, [one[i] for one in alone]) for i, part in enumerate(both))
    if not isinstance(both, Tensor):
        return all(one == both for one in alone)
    if not both.dim() or len(both) != sum(map(len, alone)) or any(a.shape[1:] != both.shape[1:] for a in alone):
        return False
    return all(map(_close, _parts(both), alone))


def _close(one: Tensor, other: Tensor) -> bool:
    if torch.equal(one, other):
        return True
    if one.shape != other.shape or not one.is_floating_point():
        return False
    allowed = ROUNDING if torch.finfo(one.dtype).eps < 1e-6 else COARSE
    one, other = one.double(), other.double()
    finite = one.isfinite() & other.isfinite()
    if not torch.equal(torch.where(finite, 0, one.nan_to_num(7)), torch.where(finite, 0, other.nan_to_num(7))):
        return False
    one, other = one[finite], other[finite]
    return not one.numel() or bool((one - other).abs().max() <= allowed * one.abs().max())


def _parts(both: Any) -> list[Any]:
    """Return the halves of a result that belong to the first and the second image."""
    if isinstance(both, (list, tuple)):
        halves = [_parts(part) for part in both]
        return [tuple(half[i] for half in halves) for i in range(2)]
    if not isinstance(both, Tensor):
        return [both, both]
    return [*torch.split(both, len(both) // 2)] if len(both) else [both, both]
