"""The structure of a captured network as text, from which the same network can be captured without torch.export.

`torch.export` takes seconds of processor time, most of it to import. The text has operators, arguments and names
of the parameters that are read, but none of their values: those come from the model. Whoever reads a structure
must compare the outputs of graph and model, as `effpath.graph.capture` does, before the graph is used.
"""

from __future__ import annotations

import base64
import json
import operator
from typing import Any

import torch
from torch import Tensor, nn

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref

FORMAT = "effpath-structure-1"
MOST_LITERALS = 1 << 20  # bytes of tensors in the model's code that are written into the text
_SYMBOLS = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


class UnwritableError(Exception):
    """A structure that text cannot hold: a function that is no operator of aten, or large literal tensors."""


def write_structure(graph: Graph, model: nn.Module) -> str | None:
    """Return a graph as torch.export gave it, before any rewrite, as text; None where text cannot hold it."""
    held = _tensors(model)
    literals = {name: value for name, value in graph.constants.items() if name not in held}
    if sum(value.nbytes for value in literals.values()) > MOST_LITERALS:
        return None
    try:
        nodes = [_write_node(node) for node in graph.nodes]
        written = {name: _write_tensor(value) for name, value in literals.items()}
    except UnwritableError:
        return None
    about = {
        "format": FORMAT,
        "input": graph.input,
        "logits": graph.logits,
        "input_shape": list(graph.input_shape),
        "dtype": _symbol(graph.dtype),
        "batched": graph.batched,
        "constants": sorted(name for name in graph.constants if name in held),
        "literals": written,
        "nodes": nodes,
    }
    return json.dumps(about, separators=(",", ":"))


def read_structure(text: str, model: nn.Module) -> Graph | None:
    """Return the graph of a structure with the parameters of a model; None where it cannot be of this model."""
    try:
        about = json.loads(text)
        if about["format"] != FORMAT:
            return None
        held = _tensors(model)
        constants = {name: held[name].detach().clone() for name in about["constants"]}
        constants |= {name: _read_tensor(value) for name, value in about["literals"].items()}
        nodes = tuple(_read_node(node) for node in about["nodes"])
        shape, dtype = tuple(about["input_shape"]), _read_symbol(about["dtype"])
        ends, trained = (about["input"], about["logits"]), parameters_of(model)
        return Graph(nodes, constants, *ends, shape, dtype, about["batched"], {}, "", trained)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
        return None  # of another model, or another torch, whose operators are others


def parameters_of(model: nn.Module) -> frozenset[str]:
    """Return the names of a model's parameters; of tied ones, the first."""
    return frozenset(name for name, _ in model.named_parameters())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, tied ones by each of their names."""
    return {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }


def _write_node(node: Node) -> list[Any]:
    if node.function is operator.getitem:
        function = "getitem"
    elif isinstance(node.function, torch._ops.OpOverload) and node.function.namespace == "aten":
        function = str(node.function).removeprefix("aten.")
    else:
        raise UnwritableError
    arguments = {key: _write(value) for key, value in node.args.items()}
    return [node.name, function, arguments, sorted(node.keywords), node.module]


def _read_node(written: list[Any]) -> Node:
    name, function, arguments, keywords, module = written
    op, _, overload = function.partition(".")
    found: Any = operator.getitem
    if function != "getitem":
        found = getattr(getattr(torch.ops.aten, op), overload)
        if not isinstance(found, torch._ops.OpOverload):
            raise TypeError(f"expected an operator of aten, got {function}")
    args = {key: _read(value) for key, value in arguments.items()}
    return Node(name, op, args, found, frozenset(keywords), module)


def _write(value: Any) -> Any:
    """Return a value for JSON: numbers, words and lists as they are, all else in a dict that names its type."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, list):
        return [_write(item) for item in value]
    if isinstance(value, torch.device):
        return {"device": str(value)}
    return {"symbol": _symbol(value)}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "ref":
        return Ref(held)
    if kind == "float":
        return float.fromhex(held)
    return torch.device(held) if kind == "device" else _read_symbol(held)


def _symbol(value: Any) -> str:
    """Return the name in torch of a dtype, layout or memory format."""
    if not isinstance(value, tuple(_SYMBOLS.values())):
        raise UnwritableError
    return str(value).removeprefix("torch.")


def _read_symbol(name: str) -> Any:
    found = getattr(torch, name)
    if not isinstance(found, tuple(_SYMBOLS.values())):
        raise TypeError(f"expected a dtype, layout or memory format, got torch.{name}")
    return found


def _write_tensor(value: Tensor) -> list[Any]:
    flat = value.detach().cpu().contiguous().reshape(-1)
    content = base64.b64encode(flat.view(torch.uint8).numpy().tobytes()).decode() if flat.numel() else ""
    return [_symbol(value.dtype), list(value.shape), content]


def _read_tensor(written: list[Any]) -> Tensor:
    dtype, shape, content = written
    raw = bytearray(base64.b64decode(content, validate=True))
    flat = torch.frombuffer(raw, dtype=_read_symbol(dtype)) if raw else torch.empty(0, dtype=_read_symbol(dtype))
    return flat.clone().reshape(shape)
