"""From a torch module to a `Graph`, through torch.export. The user's model is read, never touched."""

from __future__ import annotations

import hashlib
import operator
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, default_decompositions

from effpath.errors import CaptureError, EffpathError, NumericalError
from effpath.graph.batch import keeps_images_apart
from effpath.graph.graph import Graph, Node, Ref, iter_refs
from effpath.graph.hooks import noted_hooks, without_hooks
from effpath.graph.inputs import plain_memory
from effpath.graph.names import OWNED, layer_name, unique
from effpath.graph.refuse import failed_run, refuse_example, refuse_model
from effpath.graph.simplify import simplify
from effpath.logits import find_logits

FORMAT = "effpath-graph-1"


def capture(model: nn.Module, example: Tensor) -> Graph:
    """Return the graph of a trained model, batch norm folded.

    Args:
        model: in eval mode, taking images [N, C, H, W] and returning logits [N, classes], alone or in a dict
            or tuple (there as ``logits``, or as the only tensor of two dimensions).
        example: at least one image, [N, C, H, W]; only its shape, type and device matter.

    Raises:
        CaptureError: torch.export fails, batch norm or dropout is in train mode, the model is scripted or
            quantised, or the graph does not reproduce the model's output.
        InputError: the example does not fit the model, or is not of floats.
        NumericalError: NaN or infinity in a parameter or in the example.

    Example:
        >>> import torch, effpath
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
        >>> effpath.capture(model, torch.zeros(1, 1, 2, 2)).classes
        3
    """
    model = getattr(model, "_orig_mod", model)  # of torch.compile, which would compile it anew
    refuse_example(example)
    if not torch.isfinite(example[:1]).all():
        raise NumericalError("NaN or infinity in the example image; pass one of finite pixels")
    refuse_model(model)
    try:
        return _capture(model, example)
    except EffpathError:
        raise
    except Exception as error:
        name = type(getattr(model, "network", model)).__name__
        raise CaptureError(
            f"{name} cannot be captured: {type(error).__name__}: {error}; wrap the part that classifies one image "
            "batch in a module of its own, or report it with the model"
        ) from error


def _capture(model: nn.Module, example: Tensor) -> Graph:
    pair = plain_memory(torch.cat([example[:1], example[:1]]).detach())
    with torch.no_grad(), noted_hooks(model) as watching:
        try:
            expected = model(pair.clone())  # a model may write into its input
        except Exception as error:
            raise failed_run(model, pair, error) from error
    expected, index = find_logits(expected)
    with without_hooks(model, watching):
        program, batched = _export(model, pair.clone())
    nodes, constants, source, output = _convert(program, index, model)
    for name, tensor in constants.items():
        if tensor.is_floating_point() and not bool(_usable(name, tensor, model).all()):
            raise NumericalError(f"NaN or infinity in {name!r}; the model is not usable as it is")
    trained = frozenset(name for name, _ in model.named_parameters())
    shape = tuple(example.shape[1:])
    draft = Graph(nodes, constants, source, output, shape, example.dtype, batched, {}, "", trained)
    original = draft.constants
    graph = _with_shapes(simplify(draft))
    graph = _start_at_logits(replace(graph, batched=batched and keeps_images_apart(graph)))
    if not graph.batched:  # then a batch may give other outputs than its images alone
        with torch.no_grad(), without_hooks(model, watching):
            expected = find_logits(model(pair[:1].clone()))[0]
    _compare(graph, pair[: len(expected)], expected)
    _refuse_parameters_outside_layers(graph)
    return replace(graph, fingerprint=_fingerprint(graph, original))


def _usable(name: str, tensor: Tensor, model: nn.Module) -> Tensor:
    """Tell which numbers are; infinities too in a buffer (a mask, an open bound) that is not of a batch norm."""
    buffers = {key for key, _ in model.named_buffers() if not key.endswith(("running_mean", "running_var"))}
    return ~tensor.isnan() if name in buffers else tensor.isfinite()


def _export(model: nn.Module, pair: Tensor) -> tuple[ExportedProgram, bool]:
    """Export with a dynamic batch, or for a batch of one where the model does not allow that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(model, (pair,), dynamic_shapes=({0: Dim("batch")},))
            return program.run_decompositions(_spelled_out()), True
        except Exception:
            try:
                return torch.export.export(model, (pair[:1],)).run_decompositions(_spelled_out()), False
            except Exception as error:
                raise CaptureError(
                    f"torch.export cannot capture {type(model).__name__}: {error}\n"
                    "Control flow that depends on values is the usual cause; wrap the part that classifies "
                    "one image batch in a module of its own."
                ) from error


def _spelled_out() -> dict[Any, Any]:
    """Return the operators that torch.export shall write out in plainer ones."""
    known = default_decompositions()
    aten = torch.ops.aten
    recurrent = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
    return {operator: known[operator] for operator in recurrent}


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
    """For each name of a parameter or buffer all the names that it has in the model, the first one first."""
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
        own = [name for name in tied if name.rpartition(".")[0] == module]
        found = layer_name(op, (own or tied)[0])
        if found:
            return found
    alone = ops_in[module] == 1 and op != "getitem"
    return module if module and alone else f"{module}.{op}".lstrip(".")


def _node(call: fx.Node, names: dict[str, str]) -> Node:
    def ours(value: Any) -> Any:
        if isinstance(value, fx.Node):
            return Ref(names[value.name])
        if isinstance(value, (list, tuple)):
            return [ours(v) for v in value]
        return value

    target: Any = call.target
    args: dict[str, Any] = {}
    keywords: set[str] = set()
    if isinstance(target, torch._ops.OpOverload):
        for position, argument in enumerate(target._schema.arguments):
            if argument.kwarg_only:
                keywords.add(argument.name)
            if position < len(call.args) and not argument.kwarg_only:
                args[argument.name] = ours(call.args[position])
            elif argument.name in call.kwargs:
                args[argument.name] = ours(call.kwargs[argument.name])
            elif argument.has_default_value():
                args[argument.name] = argument.default_value
            else:
                args[argument.name] = None
    elif target is operator.getitem:
        args = {"self": ours(call.args[0]), "index": ours(call.args[1])}
    else:
        args = {f"arg{i}": ours(a) for i, a in enumerate(call.args)}
    function: Any = target
    return Node(names[call.name], _op(call), args, function, frozenset(keywords), _module(call))


def _with_shapes(graph: Graph) -> Graph:
    """Record every node's shape at batch one, and its type."""
    values: dict[str, Any] = {
        graph.input: torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    }
    nodes = []
    last = {name: node.name for node in graph.nodes for name in node.refs}
    with torch.no_grad():
        for node in graph.nodes:
            values[node.name] = value = node.call(
                lambda name: graph.constants[name] if name in graph.constants else values[name]
            )
            if isinstance(value, Tensor):
                node = replace(node, shape=tuple(value.shape), dtype=value.dtype)
            else:
                node = replace(node, shape=(), dtype=None)
            nodes.append(node)
            for name in node.refs:
                if last.get(name) == node.name:
                    values.pop(name, None)
    return replace(graph, nodes=tuple(nodes))


def _start_at_logits(graph: Graph) -> Graph:
    last = graph.by_name.get(graph.logits)
    while last is not None and last.op in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        graph = replace(graph, logits=last["self"].name)
        last = graph.by_name.get(graph.logits)
    if last is None:
        raise CaptureError("the model returns its input; there is nothing to extract")
    return graph


def _compare(graph: Graph, pair: Tensor, expected: Tensor) -> None:
    """Refuse a graph that does not compute what the model computes."""
    output = graph.nodes[-1].name
    got = graph.run(pair, [output])[output]
    scale = max(1.0, float(expected.abs().max()))
    if not torch.allclose(got, expected, rtol=1e-3, atol=1e-4 * scale):
        raise CaptureError(
            f"the captured graph gives other outputs than the model (largest difference "
            f"{float((got - expected).abs().max()):.3g}); the model may depend on chance or on hidden state"
        )


def _refuse_parameters_outside_layers(graph: Graph) -> None:
    """Refuse a network without a layer that multiplies with parameters all the same."""
    if any(node.op.startswith(OWNED) and node.name in graph.live for node in graph.nodes):
        return
    for node in graph.nodes:
        held = [name for name in node.refs if graph.parameters.get(name, name) in graph.trained]
        if node.name in graph.live and node.op in ("mul", "matmul") and held:
            raise CaptureError(
                f"expected a network with layers, got one whose parameter {held[0]!r} is no layer's weight "
                f"({node.place}); write the product as nn.Linear, nn.Conv, matmul or einsum"
            )


def _fingerprint(graph: Graph, original: Any) -> str:
    """Hash the structure after simplification and the parameters before it."""
    digest = hashlib.sha256(FORMAT.encode())
    digest.update(repr((graph.input_shape, str(graph.dtype), graph.logits)).encode())
    for node in graph.nodes:
        plain = [(key, repr(value)) for key, value in node.args.items()]
        digest.update(repr((node.name, node.op, plain, node.shape)).encode())
    for name in sorted(original):
        tensor = original[name].cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
