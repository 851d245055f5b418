"""Rewrites that leave the outputs unchanged: constants computed once, no-ops gone, products in one form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from effpath.errors import CaptureError
from effpath.graph.einsum import plain_einsum
from effpath.graph.folding import fold_affine
from effpath.graph.graph import Graph
from effpath.graph.lowering import lower_products
from effpath.graph.names import name_layers
from effpath.graph.node import Node, Ref
from effpath.graph.products import orient_products, plain_attention
from effpath.graph.rewrite import replace_by
from effpath.graph.spelled import spell_out

_NO_OPS = (
    "alias", "detach", "clone", "contiguous", "lift_fresh_copy", "dropout", "feature_dropout", "alpha_dropout",
)  # fmt: skip
_TRAINING_NORMS = ("_native_batch_norm_legit_functional", "_native_batch_norm_legit", "native_batch_norm")
SPLITS = (  # every part of the result is data
    "split", "split_with_sizes", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "meshgrid",
    "broadcast_tensors",
)  # fmt: skip
_MADE = ("arange", "zeros", "ones", "full", "eye", "linspace", "scalar_tensor")  # of nothing but numbers
_MADE_LIKE = ("new_zeros", "new_ones", "new_full")  # with the type and device of a tensor


def simplify(graph: Graph) -> Graph:
    """Return an equal graph of fewer and plainer nodes."""
    for rewrite in (
        refuse_chance,
        free_views,
        fold_constants,
        spell_out,
        plain_attention,
        plain_einsum,
        fold_constants,
        lower_products,
        drop_idle_nodes,
        orient_products,
        fold_constants,
        plain_batch_norm,
        first_results,
        drop_no_ops,
        name_layers,
        fold_affine,
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
    made = dict(graph.made)
    like = torch.empty(0, dtype=graph.dtype, device=graph.device)
    nodes = []
    for node in graph.nodes:
        read = [name for name in node.refs if node.op not in _MADE_LIKE or node["self"] != Ref(name)]
        if all(name in constants for name in read) and (node.refs or node.op in _MADE):
            with torch.no_grad():
                constants[node.name] = node.call(lambda name: constants.get(name, like))
            made[node.name] = node
        else:
            nodes.append(node)
    # a tuple of constants (from split, say) is read through getitem only, which was folded with it
    kept = {name: value for name, value in constants.items() if isinstance(value, Tensor)}
    return replace(graph, nodes=tuple(nodes), constants=kept, made=made)


def plain_batch_norm(graph: Graph) -> Graph:
    """Turn torch's several spellings of eval-mode batch norm into one node ``batch_norm``; refuse train mode."""
    nodes: list[Node] = []
    renamed: set[str] = set()
    for node in graph.nodes:
        if node.op in _TRAINING_NORMS or (node.op == "batch_norm" and node["training"]):
            raise CaptureError(
                f"batch norm in train mode ({node.place}): its output depends on the whole batch; "
                "call model.eval(), and give it running statistics (track_running_stats=True)"
            )
        if node.op == "_native_batch_norm_legit_no_training":
            args = {key: node[key] for key in ("input", "weight", "bias", "running_mean", "running_var")}
            args |= {"training": False, "momentum": 0.0, "eps": node["eps"], "cudnn_enabled": False}
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
    return replace_by(replace(graph, nodes=tuple(nodes)), alias)


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
    return replace_by(replace(graph, nodes=nodes), alias)


def _first(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)[0]


def drop_no_ops(graph: Graph) -> Graph:
    """Remove dropout in eval mode, copies, aliases and padding by nothing."""
    alias: dict[str, str] = {}
    for node in graph.nodes:
        first = next(iter(node.refs), None)
        idle = node.op in _NO_OPS or (node.op in ("pad", "constant_pad_nd") and not any(node["pad"]))
        if idle and first is not None:
            alias[node.name] = first
    return replace_by(graph, alias)


def drop_idle_nodes(graph: Graph) -> Graph:
    """Remove nodes that the output does not need."""
    needed = graph.upstream([graph.logits])
    return replace(graph, nodes=tuple(node for node in graph.nodes if node.name in needed))


def drop_unused(graph: Graph) -> Graph:
    """Remove nodes and constants that the output does not need."""
    needed = graph.upstream([graph.logits])
    return replace(
        drop_idle_nodes(graph),
        made={},
        constants={name: value for name, value in graph.constants.items() if name in needed},
        parameters={name: value for name, value in graph.parameters.items() if name in needed},
        scalars={name: value for name, value in graph.scalars.items() if name in needed},
    )
