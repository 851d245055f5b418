"""Products with a parameter, however they are written, as linear layers and convolutions of one tap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from effpath.errors import CaptureError
from effpath.graph.graph import Graph, Node, Ref
from effpath.graph.origin import Origin, origin
from effpath.graph.rewrite import sample, step
from effpath.graph.subscripts import PRODUCTS, subscripts
from effpath.kernels.window import Scalars

_ATEN = torch.ops.aten


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool = False) -> Tensor:
    """Linear layer whose weight may be stored [inputs, outputs]."""
    return torch.nn.functional.linear(x, weight.t() if transposed else weight, bias)


@dataclass(frozen=True)
class Contraction:
    """A sum of products of an image's tensor and of a constant, in subscripts: one letter a dimension.

    Attributes:
        image, constant: names of the two.
        of_image, of_constant, of_result: their subscripts, and the result's.
        factor: on top of the sum (a mean).
        kept: dimensions of size one that the result has besides.
        by_hand: a product of elements and a sum behind it, not a product of matrices.
    """

    image: str
    constant: str
    of_image: str
    of_constant: str
    of_result: str
    factor: float = 1.0
    kept: tuple[int, ...] = ()
    by_hand: bool = False


@dataclass(frozen=True)
class _Weight:
    """What an operator reads as its weight, and whether it is stored the other way round."""

    ref: Ref
    transposed: bool


class _Draft:
    """Constants and nodes of a graph that is being rewritten."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants, self.parameters, self.scalars = (
            {**graph.constants},
            {**graph.parameters},
            {**graph.scalars},
        )

    def weight(
        self,
        name: str,
        value: Tensor,
        source: Origin | None,
        forms: Mapping[bool, tuple[list[int], tuple[int, ...]]],
    ) -> _Weight:
        """Store a weight in the form that is the parameter's own, if one is; ``forms`` are (dimensions, shape)."""
        transposed = False
        if source is not None:
            size = self.constants[source.name].numel()
            for turned, (dims, _) in forms.items():
                ids = source.ids.permute(dims).reshape(-1)
                if len(ids) == size and torch.equal(ids, torch.arange(size)):
                    transposed = turned
        dims, shape = forms[transposed]
        made = value.permute(dims).reshape(shape)
        if source is None:
            self.constants[name] = made.contiguous()
            return _Weight(Ref(name), transposed)
        root, ids = self.constants[source.name], source.ids.permute(dims).reshape(-1)
        own = len(ids) == root.numel() and torch.equal(ids, torch.arange(len(ids)))
        if own and root.shape == made.shape and root.dtype == made.dtype and torch.equal(root, made):
            return _Weight(Ref(source.name), transposed)
        self.constants[name], self.parameters[name] = made.contiguous(), source.name
        if not own:
            self.scalars[name] = Scalars(ids, root.numel())
        return _Weight(Ref(name), transposed)

    def finish(self, nodes: list[Node]) -> Graph:
        return replace(
            self.graph,
            nodes=tuple(nodes),
            constants=self.constants,
            parameters=self.parameters,
            scalars=self.scalars,
        )


def lower_products(graph: Graph) -> Graph:
    """Write each product of an image's tensor with a constant as a linear layer or a grouped convolution.

    Products of matrices with any matrix, those with one matrix for each of several groups and sums of products of
    elements with a parameter only.

    Raises:
        CaptureError: a product with a parameter that is neither.
    """
    found = {node.name: c for node in graph.nodes if (c := _contraction(graph, node)) is not None}
    if not found:
        return graph
    names = [name for c in found.values() for name in (c.image, c.constant)]
    once = sample(graph, names)
    twice = sample(graph, names, 2) if graph.batched else once
    draft, nodes = _Draft(graph), []
    for node in graph.nodes:
        c = found.get(node.name)
        lowered = None if c is None else _lower(draft, node, c, once, twice)
        nodes.extend([node] if lowered is None else lowered)
    return draft.finish(nodes)


def _contraction(graph: Graph, node: Node) -> Contraction | None:
    """Return what a node contracts, if one of its operands is the image's and the other one is not."""
    if node.name not in graph.live:
        return None
    if node.op in ("sum", "mean"):
        return _by_hand(graph, node)
    if node.op not in PRODUCTS:
        return None
    operands = [name for name in node.refs if name in graph.live or _is_constant(graph, name)]
    if len(operands) != 2 or sum(name in graph.live for name in operands) != 1:
        return None
    shapes = {name: value.dim() for name, value in sample(graph, operands).items()}
    letters = subscripts(node, [shapes[name] for name in operands])
    if letters is None:
        return None
    order = [0, 1] if operands[0] in graph.live else [1, 0]
    image, constant = (operands[i] for i in order)
    return Contraction(image, constant, letters[order[0]], letters[order[1]], letters[2])


def _is_constant(graph: Graph, name: str) -> bool:
    return name in graph.constants or (name in graph.by_name and origin(graph, name) is not None)


def _by_hand(graph: Graph, node: Node) -> Contraction | None:
    """A sum or mean of products of elements: (x · w).sum(dims)."""
    product = graph.by_name.get(node["self"].name)
    if product is None or product.op != "mul" or not node.args.get("dim") or node.args.get("dtype") is not None:
        return None
    if len(graph.consumers[product.name]) > 1 or product.name == graph.logits:
        return None
    operands = [v.name for v in (product["self"], product["other"]) if isinstance(v, Ref)]
    live = [name for name in operands if name in graph.live]
    if len(operands) != 2 or len(live) != 1 or product["self"] == product["other"]:
        return None
    (image,), (constant,) = live, [name for name in operands if name not in live]
    source = origin(graph, constant)
    if source is None or source.name not in graph.trained:
        return None
    shapes = {name: tuple(value.shape) for name, value in sample(graph, operands).items()}
    rank = max(map(len, shapes.values()))
    letters = "abcdefghijklmnopqrstuvwxyz"[:rank]
    dims = node["dim"] if isinstance(node["dim"], (list, tuple)) else [node["dim"]]
    gone = {d % rank for d in dims}
    own = {name: letters[rank - len(shape) :] for name, shape in shapes.items()}
    wide = dict(zip(own[constant], shapes[constant], strict=True))
    if not any(wide.get(letters[d], 1) > 1 for d in gone):
        return None  # a scale before a sum, not a weight in it
    result = "".join(letter for d, letter in enumerate(letters) if d not in gone)
    every = torch.broadcast_shapes(*shapes.values())  # type: ignore[no-untyped-call]
    factor = 1 / prod(every[d] for d in gone) if node.op == "mean" else 1.0
    kept = tuple(sorted(gone)) if node.args.get("keepdim") else ()
    return Contraction(image, constant, own[image], own[constant], result, factor, kept, by_hand=True)


def _lower(
    draft: _Draft, node: Node, c: Contraction, once: dict[str, Tensor], twice: dict[str, Tensor]
) -> list[Node] | None:
    """Return the plain nodes of a contraction, or None where it stays as it is."""
    graph, x, w = draft.graph, once[c.image], once[c.constant]
    source = origin(graph, c.constant)
    trained = source is not None and source.name in graph.trained
    if not torch.equal(twice[c.constant], w.broadcast_to(twice[c.constant].shape)):
        return None
    batch = [a for a, n, m in zip(c.of_image, x.shape, twice[c.image].shape, strict=True) if n != m]
    kept_w = [i for i, n in enumerate(w.shape) if n > 1]
    of_w = "".join(c.of_constant[i] for i in kept_w)
    w = w.reshape([w.shape[i] for i in kept_w])
    ids = None if source is None else source.ids.reshape(w.shape)
    sizes = dict(zip(of_w, w.shape, strict=True))
    dropped = [
        i
        for i, a in enumerate(c.of_image)
        if x.shape[i] == 1 and a not in batch and (a in of_w or a not in c.of_result)
    ]
    of_x = "".join(a for i, a in enumerate(c.of_image) if i not in dropped)
    sizes |= {a: n for i, (a, n) in enumerate(zip(c.of_image, x.shape, strict=True)) if i not in dropped}
    alone = [
        a for a in of_x if a not in c.of_result and a not in of_w
    ]  # summed, and weighed by nothing of their own
    if any(a in batch for a in of_x if a not in c.of_result) or any(a not in of_x + c.of_result for a in of_w):
        if not trained:
            return None
        raise CaptureError(
            "expected a product of the image and a parameter that a linear layer or a convolution could compute, "
            f"got one that is neither ({node.place}); write it as nn.Linear or nn.Conv"
        )
    if alone:
        w = w.reshape(*w.shape, *[1] * len(alone)).expand(*w.shape, *[sizes[a] for a in alone])
        ids = None if ids is None else ids.reshape(*ids.shape, *[1] * len(alone)).expand(w.shape)
        of_w += "".join(alone)
    inner = "".join(a for a in of_x if a not in c.of_result)
    groups = "".join(a for a in of_x if a in of_w and a in c.of_result)
    rows = "".join(a for a in of_x if a not in of_w)
    outer = "".join(a for a in c.of_result if a in of_w and a not in of_x)
    if groups and not trained:
        return None
    source = None if source is None or ids is None else Origin(source.name, ids)
    spell = _Spelling(draft, node, sizes)
    current = c.image
    for dim in reversed(dropped):
        current = spell.move(current, "squeeze", _ATEN.squeeze.dim, dim=dim)
    lead = rows[:1] if not set(batch) & set(rows) else "".join(a for a in rows if a in batch)[:1]
    rest = rows.replace(lead, "") if lead else ""
    channels_first = (
        of_x == lead + inner + rest
        and c.of_result == lead + outer + rest
        and bool(lead)
        and prod(sizes[a] for a in rest) > 1
    )
    if groups or (channels_first and inner and of_x != rows + inner):
        held = spell.grouped(current, w, source, (of_x, of_w), (lead, groups, inner, outer, rest))
    else:
        held = spell.linear(current, w, source, (of_x, of_w), (rows, inner, outer))
    return spell.finish(held, c)


class _Spelling:
    """The nodes that one contraction is written out in."""

    def __init__(self, draft: _Draft, node: Node, sizes: dict[str, int]) -> None:
        self.draft, self.node, self.sizes = draft, node, sizes
        self.nodes: list[Node] = []

    def move(self, source: str, op: str, function: Any, **args: Any) -> str:
        made = step(self.node, f"{op}{len(self.nodes)}", op, function, self=Ref(source), **args)
        self.nodes.append(made)
        return made.name

    def permute(self, source: str, now: str, wanted: str) -> str:
        if now == wanted:
            return source
        return self.move(source, "permute", _ATEN.permute.default, dims=[now.index(a) for a in wanted])

    def split(self, source: str, dim: int, letters: str) -> str:
        """Cut a dimension into those of its letters; of none, drop it."""
        if not letters:
            return self.move(source, "squeeze", _ATEN.squeeze.dim, dim=dim)
        if len(letters) == 1:
            return source
        sizes = [self.sizes[a] for a in letters]
        return self.move(source, "unflatten", _ATEN.unflatten.int, dim=dim, sizes=sizes)

    def join(self, source: str, dim: int, letters: str) -> str:
        """Make one dimension of those from ``dim`` on; of none, a new one."""
        if not letters:
            return self.move(source, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
        if len(letters) == 1:
            return source
        ends = {"start_dim": dim, "end_dim": dim + len(letters) - 1}
        return self.move(source, "flatten", _ATEN.flatten.using_ints, **ends)

    def size(self, letters: str) -> int:
        return prod(self.sizes[a] for a in letters)

    def linear(
        self, x: str, w: Tensor, source: Origin | None, subscripts: tuple[str, str], parts: tuple[str, str, str]
    ) -> tuple[str, str]:
        (of_x, of_w), (rows, inner, outer) = subscripts, parts
        x = self.join(self.permute(x, of_x, rows + inner), len(rows), inner)
        forms = {
            True: ([of_w.index(a) for a in inner + outer], (self.size(inner), self.size(outer))),
            False: ([of_w.index(a) for a in outer + inner], (self.size(outer), self.size(inner))),
        }
        weight = self.draft.weight(f"{self.node.name}.product_weight", w, source, forms)
        args: dict[str, Any] = {"input": Ref(x), "weight": weight.ref, "bias": None}
        if weight.transposed:
            args["transposed"] = True
        function = linear if weight.transposed else _ATEN.linear.default
        made = replace(step(self.node, "product", "linear", function, **args), unnamed=True)
        self.nodes.append(made)
        return self.split(made.name, len(rows), outer), rows + outer

    def grouped(
        self, x: str, w: Tensor, source: Origin | None, subscripts: tuple[str, str], parts: tuple[str, ...]
    ) -> tuple[str, str]:
        (of_x, of_w), (lead, groups, inner, outer, rest) = subscripts, parts
        x = self.permute(x, of_x, lead + groups + inner + rest)
        if not lead:
            x = self.move(x, "unsqueeze", _ATEN.unsqueeze.default, dim=0)
        x = self.join(self.join(x, 1, groups + inner), 2, rest)
        many, taps = self.size(groups), (self.size(inner), self.size(outer))
        forms = {
            True: ([of_w.index(a) for a in groups + inner + outer], (many * taps[0], taps[1], 1)),
            False: ([of_w.index(a) for a in groups + outer + inner], (many * taps[1], taps[0], 1)),
        }
        weight = self.draft.weight(f"{self.node.name}.product_weight", w, source, forms)
        args: dict[str, Any] = {"input": Ref(x), "weight": weight.ref, "bias": None, "stride": [1], "padding": [0]}
        if weight.transposed:
            args |= {"output_padding": [0], "groups": many, "dilation": [1]}
            made = step(self.node, "product", "conv_transpose1d", _ATEN.conv_transpose1d.default, **args)
        else:
            args |= {"dilation": [1], "groups": many}
            made = step(self.node, "product", "conv1d", _ATEN.conv1d.default, **args)
        self.nodes.append(replace(made, unnamed=True))
        held = self.split(made.name, 2, rest)
        held = self.split(held, 1, groups + outer)
        if not lead:
            held = self.move(held, "squeeze", _ATEN.squeeze.dim, dim=0)
        return held, lead + (groups + outer) + rest

    def finish(self, held: tuple[str, str], c: Contraction) -> list[Node]:
        """Bring the result into its own order of dimensions; the last node stands for the contraction."""
        name, letters = held
        name = self.permute(name, letters, "".join(a for a in c.of_result if a in letters))
        for dim, letter in enumerate(c.of_result):
            if letter not in letters:
                name = self.move(name, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
        for dim in c.kept:
            name = self.move(name, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
        if c.factor != 1:
            name = self.move(name, "mul", _ATEN.mul.Tensor, other=c.factor)
        self.nodes[-1] = replace(self.nodes[-1], name=self.node.name)
        return self.nodes
