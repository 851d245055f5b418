"""Rewrites that leave the outputs unchanged: constants computed once, no-ops gone, batch norm folded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from effpath.errors import CaptureError
from effpath.graph.graph import Graph, Node, Ref, substitute
from effpath.graph.products import orient_products, plain_attention
from effpath.graph.spelled import spell_out

_NO_OPS = (
    "alias",
    "detach",
    "clone",
    "contiguous",
    "lift_fresh_copy",
    "dropout",
    "feature_dropout",
    "alpha_dropout",
)
SPLITS = (  # every part of the result is data
    "split", "split_with_sizes", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "meshgrid",
    "broadcast_tensors",
)  # fmt: skip
_MADE = ("arange", "zeros", "ones", "full", "eye", "linspace", "scalar_tensor")  # of nothing but numbers
_MADE_LIKE = ("new_zeros", "new_ones", "new_full")  # with the type and device of a tensor
_CONVS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


def simplify(graph: Graph) -> Graph:
    """Return an equal graph of fewer and plainer nodes."""
    for rewrite in (
        refuse_chance,
        free_views,
        fold_constants,
        spell_out,
        plain_attention,
        orient_products,
        fold_constants,
        plain_batch_norm,
        first_results,
        drop_no_ops,
        fold_batch_norm,
        drop_unused,
    ):
        graph = rewrite(graph)
    return graph


def refuse_chance(graph: Graph) -> Graph:
    """Return the graph as it is; CaptureError where an operator draws random numbers."""
    for node in graph.nodes:
        random = torch.Tag.nondeterministic_seeded in getattr(node.function, "tags", ())
        switches = [node[key] for key in ("train", "training", "dropout_p") if key in node.args]
        if random and (any(switches) or not switches):
            raise CaptureError(
                f"the output depends on chance ({node.place}); call model.eval(), and switch off dropout "
                "that is called as a function"
            )
    return graph


def free_views(graph: Graph) -> Graph:
    """Let a view take a tensor of any memory layout: copies and fused operators before it are rewritten."""
    views = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
    return replace(
        graph,
        nodes=tuple(
            replace(node, op="view", function=torch.ops.aten.reshape.default) if node.function in views else node
            for node in graph.nodes
        ),
    )


def fold_constants(graph: Graph) -> Graph:
    """Compute once what depends on parameters alone (weight norm, weight standardisation, position tables)."""
    constants: dict[str, Any] = dict(graph.constants)
    like = torch.empty(0, dtype=graph.dtype, device=graph.device)
    nodes = []
    for node in graph.nodes:
        read = [name for name in node.refs if node.op not in _MADE_LIKE or node["self"] != Ref(name)]
        if all(name in constants for name in read) and (node.refs or node.op in _MADE):
            with torch.no_grad():
                constants[node.name] = node.call(lambda name: constants.get(name, like))
        else:
            nodes.append(node)
    # a tuple of constants (from split, say) is read through getitem only, which was folded with it
    kept = {name: value for name, value in constants.items() if isinstance(value, Tensor)}
    return replace(graph, nodes=tuple(nodes), constants=kept)


def plain_batch_norm(graph: Graph) -> Graph:
    """Turn torch's several spellings of eval-mode batch norm into one node ``batch_norm``; refuse train mode."""
    nodes: list[Node] = []
    renamed: set[str] = set()
    for node in graph.nodes:
        if node.op in (
            "_native_batch_norm_legit_functional",
            "_native_batch_norm_legit",
            "native_batch_norm",
        ) or (node.op == "batch_norm" and node["training"]):
            raise CaptureError(
                f"batch norm in train mode ({node.place}): its output depends on the whole batch; "
                "call model.eval(), and give it running statistics (track_running_stats=True)"
            )
        if node.op == "_native_batch_norm_legit_no_training":
            args = {
                "input": node["input"],
                "weight": node["weight"],
                "bias": node["bias"],
                "running_mean": node["running_mean"],
                "running_var": node["running_var"],
                "training": False,
                "momentum": 0.0,
                "eps": node["eps"],
                "cudnn_enabled": False,
            }
            function = torch.ops.aten.batch_norm.default
            nodes.append(replace(node, op="batch_norm", args=args, function=function, keywords=frozenset()))
            renamed.add(node.name)
        else:
            nodes.append(node)
    alias = {
        node.name: node["self"].name
        for node in nodes
        if node.op == "getitem" and node["self"].name in renamed and node["index"] == 0
    }
    return _rename(replace(graph, nodes=tuple(nodes)), alias)


def first_results(graph: Graph) -> Graph:
    """Let an operator whose first result alone is read (values, without indices) return just that."""
    read: dict[str, set[int]] = {}
    for node in graph.nodes:
        if node.op == "getitem":
            read.setdefault(node["self"].name, set()).add(node["index"])
    plain = {name for name, indices in read.items() if indices == {0} and graph.by_name[name].op not in SPLITS}
    nodes = tuple(
        replace(node, function=partial(_first, node.function)) if node.name in plain else node
        for node in graph.nodes
    )
    alias = {n.name: n["self"].name for n in nodes if n.op == "getitem" and n["self"].name in plain}
    return _rename(replace(graph, nodes=nodes), alias)


def _first(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)[0]


def drop_no_ops(graph: Graph) -> Graph:
    """Remove dropout in eval mode, copies, aliases and padding by nothing."""
    alias: dict[str, str] = {}
    views = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)
    reshape = torch.ops.aten.reshape.default  # a view of what was a contiguous copy needs no copy of its own then
    nodes = tuple(replace(n, function=reshape) if n.function in views else n for n in graph.nodes)
    for node in nodes:
        first = next(iter(node.refs), None)
        idle = node.op in _NO_OPS or (node.op in ("pad", "constant_pad_nd") and not any(node["pad"]))
        if idle and first is not None:
            alias[node.name] = first
    return _rename(replace(graph, nodes=nodes), alias)


def _rename(graph: Graph, alias: dict[str, str]) -> Graph:
    """Remove the nodes named in ``alias`` and let their readers read what they stand for."""

    def final(name: str) -> str:
        while name in alias:
            name = alias[name]
        return name

    def ref(name: str) -> Ref:
        return Ref(final(name))

    nodes = tuple(
        replace(node, args={k: substitute(v, ref) for k, v in node.args.items()})
        for node in graph.nodes
        if node.name not in alias
    )
    return replace(graph, nodes=nodes, logits=final(graph.logits))


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold each batch norm into the convolution or linear layer before it, else into the one after it."""
    names = [node.name for node in graph.nodes if node.op == "batch_norm"]
    for name in (*names, *reversed(names)):  # the second time for one whose reader was a batch norm
        node = graph.by_name.get(name)  # as the folds before this one left it
        if node is not None:
            graph = _fold_back(graph, node) or _fold_ahead(graph, node) or graph
    return graph


def _scale_and_shift(graph: Graph, norm: Node) -> tuple[Tensor, Tensor]:
    """Return float64 (scale, shift) [channels] of an eval-mode batch norm."""

    def constant(key: str) -> Tensor | None:
        return None if norm[key] is None else graph.constants[norm[key].name].double()

    mean, variance = constant("running_mean"), constant("running_var")
    assert mean is not None
    assert variance is not None
    weight, bias = constant("weight"), constant("bias")
    scale = torch.rsqrt(variance + norm["eps"])
    scale = scale if weight is None else scale * weight
    return scale, (0 if bias is None else bias) - mean * scale


def _weighted(graph: Graph, name: str) -> Node | None:
    """Return the convolution or linear node of this name whose weight is a constant."""
    node = graph.by_name.get(name)
    if node is None or node.op not in (*_CONVS, "linear") or node["weight"].name not in graph.constants:
        return None
    if node["bias"] is not None and node["bias"].name not in graph.constants:
        return None
    return node


def _fold_back(graph: Graph, norm: Node) -> Graph | None:
    before = _weighted(graph, norm["input"].name)
    if before is None or len(graph.consumers[before.name]) > 1 or before.name == graph.logits:
        return None
    if before.op == "linear" and len(_rank_of(graph, norm)) != 2:
        return None  # a batch norm over tokens normalises dimension 1, not the linear layer's outputs
    scale, shift = _scale_and_shift(graph, norm)
    weight = graph.constants[before["weight"].name].double()
    if before.op.startswith("conv_transpose"):
        per_group = weight.shape[1]
        rows = scale.reshape(before["groups"], per_group)
        new = (
            weight.reshape(before["groups"], -1, *weight.shape[1:])
            * rows.reshape(before["groups"], 1, per_group, *[1] * (weight.dim() - 2))
        ).reshape(weight.shape)
    else:
        new = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    if before["bias"] is not None:
        shift = shift + graph.constants[before["bias"].name].double() * scale
    graph = _with_weight(graph, before, new, shift)
    return _rename(graph, {norm.name: before.name})


def _fold_ahead(graph: Graph, norm: Node) -> Graph | None:
    readers = graph.consumers.get(norm.name, [])
    if len(readers) != 1 or norm.name == graph.logits:
        return None
    after = _weighted(graph, readers[0].name)
    if after is None or after.op.startswith("conv_transpose") or after["input"].name != norm.name:
        return None
    if after.op == "linear" and len(_rank_of(graph, norm)) != 2:
        return None
    padding = () if after.op == "linear" or after["padding"] == "valid" else after["padding"]
    if padding == "same" or any(padding):
        return None  # the border would see the shift where the network sees zeros
    scale, shift = _scale_and_shift(graph, norm)
    weight = graph.constants[after["weight"].name].double()
    groups = 1 if after.op == "linear" else after["groups"]
    inner = [1] * (weight.dim() - 2)
    rows = (
        scale.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1).reshape(weight.shape[0], -1, *inner)
    )
    moved = (
        shift.reshape(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1).reshape(weight.shape[0], -1, *inner)
    )
    bias = (weight * moved).flatten(1).sum(1)
    if after["bias"] is not None:
        bias = bias + graph.constants[after["bias"].name].double()
    graph = _with_weight(graph, after, weight * rows, bias)
    return _rename(graph, {norm.name: norm["input"].name})


def _rank_of(graph: Graph, norm: Node) -> tuple[int, ...]:
    """Shape of what a batch norm sees, found by a run on zeros (shapes are recorded after the rewrites)."""
    zeros = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    name = norm["input"].name
    return tuple(graph.run(zeros, [name])[name].shape)


def _with_weight(graph: Graph, node: Node, weight: Tensor, bias: Tensor) -> Graph:
    """Give a node its own folded weight and bias; the constants keep their old names where nobody shares them."""
    old = graph.constants[node["weight"].name]
    own = f"{node.name}.folded_weight"
    constants = {**graph.constants, own: weight.to(old.dtype), f"{node.name}.folded_bias": bias.to(old.dtype)}
    parameter = graph.parameters.get(node["weight"].name, node["weight"].name)
    args = {**node.args, "weight": Ref(own), "bias": Ref(f"{node.name}.folded_bias")}
    nodes = tuple(replace(n, args=args) if n.name == node.name else n for n in graph.nodes)
    return replace(graph, nodes=nodes, constants=constants, parameters={**graph.parameters, own: parameter})


def drop_unused(graph: Graph) -> Graph:
    """Remove nodes and constants that the output does not need."""
    needed = graph.upstream([graph.logits])
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.name in needed),
        constants={name: value for name, value in graph.constants.items() if name in needed},
        parameters={name: value for name, value in graph.parameters.items() if name in needed},
    )
