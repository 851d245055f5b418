"""From a torch module to a `Graph`, through torch.export. The user's model is read, never touched."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from effpath.errors import CaptureError, EffpathError, NumericalError
from effpath.graph.batch import keeps_images_apart
from effpath.graph.graph import Graph
from effpath.graph.hooks import noted_hooks, without_hooks
from effpath.graph.inputs import plain_memory
from effpath.graph.names import OWNED
from effpath.graph.precision import FullFloat32
from effpath.graph.refuse import failed_run, refuse_example, refuse_model
from effpath.graph.rewrite import outlines
from effpath.graph.simplify import simplify
from effpath.graph.structure import read_structure, write_structure
from effpath.models.predict import device_of, find_logits

FORMAT = "effpath-graph-1"


def capture(model: nn.Module, example: Tensor, *, structure: str | None = None) -> Graph:
    """Return the graph of a trained model, batch norm folded.

    Args:
        model: in eval mode, taking images [N, C, H, W] and returning logits [N, classes], alone or in a dict
            or tuple (there as ``logits``, or as the only tensor of two dimensions).
        example: at least one image, [N, C, H, W]; only its shape and type matter, and it may be anywhere. The
            graph is on the device of the model.
        structure: the `Graph.structure` of an earlier capture; saves the seconds that torch.export takes. It is
            ignored where a graph made of it does not give the model's outputs.

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
        with FullFloat32():
            return _on_its_device(model, example, structure)
    except EffpathError:
        raise
    except Exception as error:
        name = type(getattr(model, "network", model)).__name__
        raise CaptureError(
            f"{name} cannot be captured: {type(error).__name__}: {error}; wrap the part that classifies one image "
            "batch in a module of its own, or report it with the model"
        ) from error


def _on_its_device(model: nn.Module, example: Tensor, structure: str | None) -> Graph:
    """Capture a model on the CPU, and bring its graph to where the model is.

    Elsewhere torch.export may choose other operators and other sums, so that fingerprints and sets would depend on
    the machine: class paths that one has built, another would refuse.
    """
    device = device_of(model)
    if device.type == "cpu":
        return _capture(model, example.cpu(), structure)
    graph = _capture(_copied(model).cpu(), example.cpu(), structure).to(device)
    images = _pair(example).to(device)[: 2 if graph.batched else 1]
    with torch.no_grad():
        wanted = find_logits(model(images.clone()))[0]
    _compare(graph, images, wanted)
    return graph


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        where = str(device_of(model))
        raise CaptureError(
            f"{type(model).__name__} on {where} cannot be copied to the CPU, where networks are captured: "
            f"{error}; capture model.cpu() and give the graph its device: graph.to({where!r})"
        ) from error


def _pair(example: Tensor) -> Tensor:
    return plain_memory(torch.cat([example[:1], example[:1]]).detach())


def _capture(model: nn.Module, example: Tensor, structure: str | None) -> Graph:
    pair = _pair(example)
    with torch.no_grad(), noted_hooks(model) as watching:
        try:
            found = model(pair.clone())  # a model may write into its input
        except Exception as error:
            raise failed_run(model, pair, error) from error
    expected, index = find_logits(found)

    def finished(draft: Graph) -> Graph:
        buffers = {name for name, _ in model.named_buffers() if not name.endswith(("running_mean", "running_var"))}
        for name, tensor in draft.constants.items():
            if tensor.is_floating_point() and not bool(_usable(tensor, infinite=name in buffers).all()):
                raise NumericalError(f"NaN or infinity in {name!r}; the model is not usable as it is")
        graph = _with_shapes(simplify(draft))
        graph = _start_at_logits(replace(graph, batched=draft.batched and keeps_images_apart(graph)))
        wanted = expected
        if not graph.batched:  # then a batch may give other outputs than its images alone
            with torch.no_grad(), without_hooks(model, watching):
                wanted = find_logits(model(pair[:1].clone()))[0]
        _compare(graph, pair[: len(wanted)], wanted)
        _refuse_parameters_outside_layers(graph)
        return replace(graph, fingerprint=_fingerprint(graph, draft.constants))

    known = _known(structure, model, example, finished)
    if known is not None:
        return known
    from effpath.graph.export import exported  # torch.export imports for seconds

    with without_hooks(model, watching):
        draft = exported(model, pair.clone(), index)
    return finished(replace(draft, structure=write_structure(draft, model)))


def _known(
    structure: str | None, model: nn.Module, example: Tensor, finished: Callable[[Graph], Graph]
) -> Graph | None:
    """Return the graph of a structure, None where it does not fit this model."""
    draft = None if structure is None else read_structure(structure, model)
    if draft is None or (draft.input_shape, draft.dtype) != (tuple(example.shape[1:]), example.dtype):
        return None
    try:
        return replace(finished(draft), structure=structure)
    except Exception:  # whatever is wrong with it: a graph of the model itself says what is wrong with that
        return None


def _usable(tensor: Tensor, *, infinite: bool) -> Tensor:
    """Tell which numbers are usable; in buffers (masks, bounds), except a batch norm's, infinities are too."""
    return ~tensor.isnan() if infinite else tensor.isfinite()


def _with_shapes(graph: Graph) -> Graph:
    """Record every node's shape at batch one, and its type."""
    found = outlines(graph)
    shaped = (
        replace(node, shape=tuple(found[node.name].shape), dtype=found[node.name].dtype)
        if node.name in found
        else replace(node, shape=(), dtype=None)
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(shaped))


def _start_at_logits(graph: Graph) -> Graph:
    last = graph.by_name.get(graph.logits)
    while last is not None and last.op in ("softmax", "_softmax", "log_softmax", "_log_softmax"):
        graph = replace(graph, logits=last["self"].name)
        last = graph.by_name.get(graph.logits)
    if last is None:
        raise CaptureError(
            "expected a model that computes logits, got one that returns its input: nothing to extract"
        )
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
    """Refuse a network that multiplies with parameters, but has no layer."""
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
