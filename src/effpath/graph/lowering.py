"""Products with a parameter, however they are written, as linear layers and convolutions of one tap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from effpath.errors import CaptureError
from effpath.graph.contraction import Contraction, find_contraction
from effpath.graph.graph import Graph
from effpath.graph.layer_weights import Form, LayerWeights, Weight
from effpath.graph.node import Node, Ref
from effpath.graph.origin import origin
from effpath.graph.rewrite import sample, step
from effpath.graph.spelling import Spelling

_ATEN = torch.ops.aten


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool = False) -> Tensor:
    """Linear layer whose weight may be stored [inputs, outputs]."""
    return torch.nn.functional.linear(x, weight.t() if transposed else weight, bias)


def lower_products(graph: Graph) -> Graph:
    """Write each product of an image's tensor with a constant as a linear layer or a grouped convolution.

    Products of matrices with any matrix, those with one matrix for each of several groups and sums of products of
    elements with a parameter only.

    Raises:
        CaptureError: a product with a parameter that is neither.
    """
    found = {node.name: c for node in graph.nodes if (c := find_contraction(graph, node)) is not None}
    if not found:
        return graph
    names = [name for c in found.values() for name in (c.image, c.constant)]
    once = sample(graph, names)
    twice = sample(graph, names, 2) if graph.batched else once
    weights, nodes = LayerWeights(graph), []
    for node in graph.nodes:
        c = found.get(node.name)
        lowered = None if c is None else _lower(weights, node, c, once, twice)
        nodes.extend([node] if lowered is None else lowered)
    return replace(
        graph,
        nodes=tuple(nodes),
        constants=weights.constants,
        parameters=weights.parameters,
        scalars=weights.scalars,
    )


@dataclass(frozen=True)
class _Layer:
    """A contraction as a layer, in letters.

    Attributes:
        image: of the image's tensor, in order.
        result: of the result, in order.
        groups: of all three: each has a weight of its own.
        inner: summed over.
        outer: of the weight and the result.
        rows: of the image and the result: the same weight everywhere. ``lead`` is the batch, or the first of them,
            ``rest`` all others.
    """

    image: str
    result: str
    groups: str
    inner: str
    outer: str
    rows: str
    lead: str
    rest: str


def _lower(
    weights: LayerWeights, node: Node, c: Contraction, once: Mapping[str, Tensor], twice: Mapping[str, Tensor]
) -> list[Node] | None:
    """Return the plain nodes of a contraction, or None where it stays as it is.

    ``once`` and ``twice`` are its operands for a batch of one and of two.
    """
    x, w = once[c.image], once[c.constant]
    if not torch.equal(twice[c.constant], w.broadcast_to(twice[c.constant].shape)):
        return None
    source = origin(weights.graph, c.constant)
    trained = source is not None and source.name in weights.graph.trained
    weight = _without_ones(Weight(w, c.of_constant, source))
    batch = {a for a, n, m in zip(c.of_image, x.shape, twice[c.image].shape, strict=True) if n != m}
    dropped = [  # of length one, and neither the batch nor a dimension that the result has from the image
        dim
        for dim, a in enumerate(c.of_image)
        if x.shape[dim] == 1 and a not in batch and (a in weight.letters or a not in c.of_result)
    ]
    image = "".join(a for dim, a in enumerate(c.of_image) if dim not in dropped)
    sizes = dict(zip(weight.letters, weight.value.shape, strict=True))
    sizes |= {a: n for dim, (a, n) in enumerate(zip(c.of_image, x.shape, strict=True)) if dim not in dropped}
    if any(a in batch and a not in c.of_result for a in image) or not {*weight.letters} <= {*image, *c.of_result}:
        if not trained:
            return None
        raise CaptureError(
            "expected a product of the image and a parameter that a linear layer or a convolution could compute, "
            f"got one that is neither ({node.place}); write it as nn.Linear or nn.Conv"
        )
    alone = "".join(a for a in image if a not in c.of_result and a not in weight.letters)
    if alone:  # summed, and weighed by nothing of their own
        weight = weight.repeated(alone, [sizes[a] for a in alone])
    layer = _layer_of(image, weight.letters, c.of_result, batch)
    if layer.groups and not trained:
        return None
    spell = Spelling(node, sizes)
    held = c.image
    for dim in reversed(dropped):
        held = spell.move(held, "squeeze", _ATEN.squeeze.dim, dim=dim)
    as_layer = _grouped if layer.groups or _has_channels_first(layer, spell) else _linear
    held, letters = as_layer(spell, weights, weight, layer, held)
    return _in_order(spell, c, held, letters)


def _without_ones(weight: Weight) -> Weight:
    """Return a weight without its dimensions of length one."""
    kept = [dim for dim, length in enumerate(weight.value.shape) if length > 1]
    shape = [weight.value.shape[dim] for dim in kept]
    source = weight.origin and replace(weight.origin, ids=weight.origin.ids.reshape(shape))
    return Weight(weight.value.reshape(shape), "".join(weight.letters[dim] for dim in kept), source)


def _layer_of(image: str, weight: str, result: str, batch: set[str]) -> _Layer:
    rows = "".join(a for a in image if a not in weight)
    lead = ("".join(a for a in rows if a in batch) or rows)[:1]
    return _Layer(
        image,
        result,
        groups="".join(a for a in image if a in weight and a in result),
        inner="".join(a for a in image if a not in result),
        outer="".join(a for a in result if a in weight and a not in image),
        rows=rows,
        lead=lead,
        rest=rows.replace(lead, "") if lead else "",
    )


def _has_channels_first(layer: _Layer, spell: Spelling) -> bool:
    """Whether channels lie between the batch and several positions, as a convolution reads and writes them."""
    lead, inner, outer, rest = layer.lead, layer.inner, layer.outer, layer.rest
    return (
        layer.image == lead + inner + rest
        and layer.result == lead + outer + rest
        and bool(lead and inner)
        and spell.size(rest) > 1
        and layer.image != layer.rows + inner
    )


def _linear(spell: Spelling, weights: LayerWeights, weight: Weight, layer: _Layer, x: str) -> tuple[str, str]:
    """Add a linear layer over the rows; return the name and the letters of its result."""
    rows, inner, outer = layer.rows, layer.inner, layer.outer
    x = spell.join(spell.permute(x, layer.image, rows + inner), len(rows), inner)
    turned = Form(inner + outer, (spell.size(inner), spell.size(outer)))
    plain = Form(outer + inner, (spell.size(outer), spell.size(inner)))
    ref, is_turned = weights.store(f"{spell.node.name}.product_weight", weight, turned, plain)
    args: dict[str, Any] = {"input": Ref(x), "weight": ref, "bias": None}
    if is_turned:
        made = _product(spell, "linear", linear, **args, transposed=True)
    else:
        made = _product(spell, "linear", _ATEN.linear.default, **args)
    return spell.split(made, len(rows), outer), rows + outer


def _grouped(spell: Spelling, weights: LayerWeights, weight: Weight, layer: _Layer, x: str) -> tuple[str, str]:
    """Add a convolution of one tap with groups; return the name and the letters of its result."""
    lead, groups, inner, outer, rest = layer.lead, layer.groups, layer.inner, layer.outer, layer.rest
    x = spell.permute(x, layer.image, lead + groups + inner + rest)
    if not lead:
        x = spell.move(x, "unsqueeze", _ATEN.unsqueeze.default, dim=0)
    x = spell.join(spell.join(x, 1, groups + inner), 2, rest)
    count, inputs, outputs = (spell.size(letters) for letters in (groups, inner, outer))
    turned = Form(groups + inner + outer, (count * inputs, outputs, 1))
    plain = Form(groups + outer + inner, (count * outputs, inputs, 1))
    ref, is_turned = weights.store(f"{spell.node.name}.product_weight", weight, turned, plain)
    args: dict[str, Any] = {"input": Ref(x), "weight": ref, "bias": None, "stride": [1], "padding": [0]}
    if is_turned:
        args |= {"output_padding": [0], "groups": count, "dilation": [1]}
        made = _product(spell, "conv_transpose1d", _ATEN.conv_transpose1d.default, **args)
    else:
        args |= {"dilation": [1], "groups": count}
        made = _product(spell, "conv1d", _ATEN.conv1d.default, **args)
    held = spell.split(spell.split(made, 2, rest), 1, groups + outer)
    if not lead:
        held = spell.move(held, "squeeze", _ATEN.squeeze.dim, dim=0)
    return held, lead + groups + outer + rest


def _product(spell: Spelling, op: str, function: Any, **args: Any) -> str:
    """Add the layer itself, which gets its name from its parameter at the end."""
    spell.steps.append(replace(step(spell.node, "product", op, function, **args), unnamed=True))
    return spell.steps[-1].name


def _in_order(spell: Spelling, c: Contraction, held: str, letters: str) -> list[Node]:
    """Bring a layer's result into the dimensions that the contraction has, and return all nodes."""
    held = spell.permute(held, letters, "".join(a for a in c.of_result if a in letters))
    for dim, letter in enumerate(c.of_result):
        if letter not in letters:
            held = spell.move(held, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
    for dim in c.kept:
        held = spell.move(held, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
    if c.factor != 1:
        spell.move(held, "mul", _ATEN.mul.Tensor, other=c.factor)
    return spell.finish()
