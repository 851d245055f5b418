"""What scales and shifts each channel by constants: a batch norm, or affine steps that are written apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref

AFFINE = ("mul", "div", "add", "sub", "rsub")


@dataclass(frozen=True)
class Affine:
    """A step that gives ``scale`` · x + ``shift``.

    Attributes:
        source: name of x.
        scale, shift: float64, to be broadcast.
    """

    source: str
    scale: Tensor
    shift: Tensor


def find_affine(graph: Graph, node: Node, seen: Mapping[str, Tensor]) -> Affine | None:
    """Return what a step scales and shifts by, None where it is no such step.

    Args:
        graph, node: the network, and one of its nodes.
        seen: for each name a tensor of its shape at batch one.
    """
    if node.op == "batch_norm":
        return _batch_norm(graph, node, seen)
    if node.op not in AFFINE or "self" not in node.args or node.args.get("rounding_mode") is not None:
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
    return Affine(data.name, scale, shift) if bool(scale.isfinite().all()) else None


def _constant(graph: Graph, value: Any) -> Tensor | None:
    if isinstance(value, Ref):
        held = graph.constants.get(value.name)
        return held.double() if held is not None and not held.is_complex() else None
    return torch.tensor(float(value), dtype=torch.float64) if isinstance(value, (int, float)) else None


def _batch_norm(graph: Graph, norm: Node, seen: Mapping[str, Tensor]) -> Affine:
    def constant(key: str, otherwise: float) -> Tensor:
        ref = norm[key]
        return torch.tensor(otherwise, dtype=torch.float64) if ref is None else graph.constants[ref.name].double()

    mean, variance = (graph.constants[norm[key].name].double() for key in ("running_mean", "running_var"))
    scale = torch.rsqrt(variance + norm["eps"])
    scale = scale * constant("weight", 1.0)
    shift = constant("bias", 0.0) - mean * scale
    name = norm["input"].name
    shape = (-1, *[1] * (seen[name].dim() - 2))
    return Affine(name, scale.reshape(shape), shift.reshape(shape))


def by_channel(value: Tensor, channel: Tensor, channels: int) -> Tensor | None:
    """Return one number per channel, float64 [channels], of numbers that are broadcast; None where they differ.

    ``channel`` is int64, of the shape that they are broadcast to: the channel of each element.
    """
    wide = value.cpu().broadcast_to(channel.shape).reshape(-1)
    numbers = torch.zeros(channels, dtype=torch.float64)
    numbers[channel.reshape(-1)] = wide
    return numbers if torch.equal(numbers[channel.reshape(-1)], wide) else None
