"""What torch.export makes of a model, as a `Graph` before any rewrite."""

from __future__ import annotations

import operator
import warnings
from collections import Counter
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, default_decompositions

from effpath.errors import CaptureError
from effpath.graph.graph import Graph
from effpath.graph.names import OWNED, layer_name, unique
from effpath.graph.node import Node, Ref, iter_refs
from effpath.graph.structure import parameters_of


def exported(model: nn.Module, pair: Tensor, output: int) -> Graph:
    """Return the graph of a model that takes a pair of images and returns logits as one of its outputs."""
    program, batched = _export(model, pair)
    nodes, constants, source, logits = _convert(program, output, model)
    shape = tuple(pair.shape[1:])
    return Graph(nodes, constants, source, logits, shape, pair.dtype, batched, {}, "", parameters_of(model))


def _export(model: nn.Module, pair: Tensor) -> tuple[ExportedProgram, bool]:
    """Export with a dynamic batch, or for a batch of one where the model does not allow that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _program(model, pair, dynamic_shapes=({0: Dim("batch")},)), True
        except Exception:
            try:
                return _program(model, pair[:1]), False
            except Exception as error:
                raise CaptureError(
                    f"torch.export cannot capture {type(model).__name__}: {error}\n"
                    "Control flow that depends on values is the usual cause; wrap the part that classifies "
                    "one image batch in a module of its own."
                ) from error


def _program(model: nn.Module, images: Tensor, **shapes: Any) -> ExportedProgram:
    """Return what torch.export makes of a model for images like these, functional and `_spelled_out`."""
    program = torch.export.export(model, (images,), **shapes)
    found: ExportedProgram = program.run_decompositions({**_spelled_out()})  # a copy: it takes operators out
    return found


@cache
def _spelled_out() -> dict[Any, Any]:
    """Return the operators that torch.export is to write out in plainer ones, and how."""
    aten = torch.ops.aten
    recurrent = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
    decompositions = default_decompositions()
    return {operator: decompositions[operator] for operator in recurrent}


def _convert(
    program: ExportedProgram, output: int, model: nn.Module
) -> tuple[tuple[Node, ...], dict[str, Tensor], str, str]:
    """Return nodes, constants by their names in the model, input name and output name."""
    signature = program.graph_signature
    targets: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    shared = _shared_names(model)
    stored = {**program.state_dict, **program.constants}
    inputs = [name for name in signature.user_inputs if isinstance(name, str)]
    if len(inputs) != 1:
        raise CaptureError(f"expected a model of one input, got {len(inputs)}: {inputs}; wrap it in a module")
    calls = [n for n in program.graph.nodes if n.op == "call_function"]
    ops_in = Counter(_module(n) for n in calls if n.target is not operator.getitem)
    names = {placeholder: shared.get(target, [target])[0] for placeholder, target in targets.items()}
    used = {*names.values()}
    for call in calls:
        names[call.name] = unique(_name(call, targets, shared, ops_in), used)
    names[inputs[0]] = unique("input", used)
    nodes = tuple(_node(call, names) for call in calls)
    constants = {}
    read = set(iter_refs(list(node.args.values()) for node in nodes))
    for placeholder, target in targets.items():
        if names[placeholder] in read:
            constants[names[placeholder]] = stored[target].detach().clone(memory_format=torch.contiguous_format)
    return nodes, constants, names[inputs[0]], names[str(signature.user_outputs[output])]


def _shared_names(model: nn.Module) -> dict[str, list[str]]:
    """Return, for each name of a parameter or buffer, all names that it has in the model, in order."""
    found: dict[int, list[str]] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        found.setdefault(id(tensor), []).append(name)
    return {name: names for names in found.values() for name in names}


def _module(call: fx.Node) -> str:
    stack = list((call.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return "" if path.startswith("_empty_nn_module") else path


def _op(call: fx.Node) -> str:
    target: Any = call.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return str(getattr(target, "__name__", target))


def _name(call: fx.Node, targets: dict[str, str], shared: dict[str, list[str]], ops_in: Counter[str]) -> str:
    op, module = _op(call), _module(call)
    if op.startswith(OWNED) and len(call.args) > 1 and isinstance(call.args[1], fx.Node):
        target = targets.get(call.args[1].name, "")
        tied = shared.get(target, [target])  # of the layers that share a weight each has a name of its own
        in_module = [name for name in tied if name.rpartition(".")[0] == module]
        found = layer_name(op, (in_module or tied)[0])
        if found:
            return found
    alone = ops_in[module] == 1 and op != "getitem"
    return module if module and alone else f"{module}.{op}".lstrip(".")


def _node(call: fx.Node, names: dict[str, str]) -> Node:
    def with_refs(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return Ref(names[value.name])
        if isinstance(value, (list, tuple)):
            return [with_refs(item) for item in value]
        return value

    target: Any = call.target
    args: dict[str, Any] = {}
    keywords: set[str] = set()
    if isinstance(target, torch._ops.OpOverload):
        for position, argument in enumerate(target._schema.arguments):
            if argument.kwarg_only:
                keywords.add(argument.name)
            if position < len(call.args) and not argument.kwarg_only:
                args[argument.name] = with_refs(call.args[position])
            elif argument.name in call.kwargs:
                args[argument.name] = with_refs(call.kwargs[argument.name])
            elif argument.has_default_value():
                args[argument.name] = argument.default_value
            else:
                args[argument.name] = None
    elif target is operator.getitem:
        args = {"self": with_refs(call.args[0]), "index": with_refs(call.args[1])}
    else:
        args = {f"arg{i}": with_refs(a) for i, a in enumerate(call.args)}
    function: Any = target
    return Node(names[call.name], _op(call), args, function, frozenset(keywords), _module(call))
