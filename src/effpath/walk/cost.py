"""The layers of a network and the cost of its class paths, before any path is extracted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from effpath.errors import NO_LAYER, CaptureError
from effpath.graph import Graph, capture
from effpath.paths.idset import bytes_of
from effpath.rules import LEVELS, Layer, Level, plan_for
from effpath.rules.plan import apply_rules

COUNT_BYTES = 2  # per use count on disk, as long as no element was used by more than 65,535 images


@dataclass(frozen=True)
class Unsupported:
    """An operator without a rule.

    Attributes:
        operator: name of the operator.
        node: name of its node.
        module: path of the module that calls it.
        message: what to do.
    """

    operator: str
    node: str
    module: str
    message: str


@dataclass(frozen=True)
class LayerSize:
    """Elements of one layer; a ``parameter`` that several layers share counts once."""

    name: str
    operator: str
    shape: tuple[int, ...]  # of its output
    neurons: int
    synapses: int
    weights: int
    parameter: str


@dataclass(frozen=True)
class Cost:
    """Bytes on disk of one class path, at one level.

    Attributes:
        elements: neurons, synapses (in bounds) or weights of all layers.
        held: bytes at the given density, each set in its smallest form (see `IdSet`).
        counted: the same with use counts, 2 more bytes per element.
        at_most: bytes of any class path without counts, one bit per id: Σ over the sets of ⌈ids ÷ 8⌉. The ids of
            synapses include padding.
    """

    elements: int
    held: int
    counted: int
    at_most: int


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        supported: whether every operator that a walk meets has a rule.
        unsupported: the operators without a rule, in forward order.
        input_size: (C, H, W).
        classes: number of logits.
        batched: whether several images can be run at once.
        operators: how often the walk meets each operator.
        layers: in forward order; empty where the network is not supported.
        density: fraction of each set's elements that the costs assume.
        class_path: cost by level.
        parameter_bytes: memory of parameters and buffers.
        activation_bytes: memory of the activations that a walk stores, per image.
        forward_seconds: measured time of one forward pass of one image, on as many threads as torch uses.
    """

    supported: bool
    unsupported: tuple[Unsupported, ...]
    input_size: tuple[int, ...]
    classes: int
    batched: bool
    operators: dict[str, int]
    layers: tuple[LayerSize, ...]
    density: float
    class_path: dict[Level, Cost]
    parameter_bytes: int
    activation_bytes: int
    forward_seconds: float

    def total(self, level: Level) -> int:
        """Return the number of elements of all layers."""
        return self.class_path[level].elements

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def check(
    model: nn.Module, input_size: Sequence[int], *, gates: bool = False, density: float = 0.2, layers: Any = None
) -> CheckResult:
    """Capture a model and report what is in it; nothing is extracted.

    Args:
        model: in eval mode.
        input_size: (C, H, W) of one image.
        gates: as in `Options`: the gates' own paths are followed too, and need rules.
        density: fraction of the elements that a class path contains, for the costs.
        layers: the layers that class paths store, as in `extract`.

    Raises:
        CaptureError: torch.export cannot capture the model, or it has no layer.
        InputError: the model does not take images of this size.
        OptionError: no such layers.

    Example:
        >>> from effpath.demo.lenet import LeNet5
        >>> check(LeNet5().eval(), (1, 28, 28)).total("weights")
        61470
    """
    graph = capture(model, torch.zeros(1, *input_size))
    unsupported = find_unsupported(graph, gates=gates)
    chosen: tuple[Layer, ...] = ()
    if not unsupported:
        plan = plan_for(graph, gates=gates)
        if not plan.layers:
            raise CaptureError(NO_LAYER)
        chosen = plan.choose_layers(layers)
    operators: dict[str, int] = {}
    for node in graph.nodes:
        if node.name in graph.live:
            operators[node.op] = operators.get(node.op, 0) + 1
    image = torch.zeros(1, *input_size, dtype=graph.dtype, device=graph.device)
    graph.run(image)
    start = time.perf_counter()
    graph.run(image)
    seconds = time.perf_counter() - start
    width = torch.empty(0, dtype=graph.dtype).element_size()
    return CheckResult(
        supported=not unsupported,
        unsupported=unsupported,
        input_size=tuple(input_size),
        classes=graph.classes,
        batched=graph.batched,
        operators=dict(sorted(operators.items(), key=lambda item: (-item[1], item[0]))),
        layers=tuple(layer_size(graph, layer) for layer in chosen),
        density=density,
        class_path={level: _cost(chosen, level, density) for level in LEVELS},
        parameter_bytes=sum(value.nbytes for value in graph.constants.values()),
        activation_bytes=width * _recorded_elements(graph, chosen, gates) if chosen else 0,
        forward_seconds=seconds,
    )


def find_unsupported(graph: Graph, *, gates: bool = False) -> tuple[Unsupported, ...]:
    """Return every operator without a rule that a walk from the logits could meet, in forward order.

    Behind such an operator the search continues through everything it reads.
    """
    _, errors = apply_rules(graph, gates=gates)
    nodes = [graph.by_name[name] for name in errors]
    return tuple(Unsupported(node.op, node.name, node.module, str(errors[node.name])) for node in nodes)


def _recorded_elements(graph: Graph, layers: Sequence[Layer], gates: bool) -> int:
    """Return how many activations a walk over these layers stores per image."""
    plan = plan_for(graph, gates=gates)
    return sum(map(graph.size, plan.reads(plan.leading_to(layers))))


def layer_size(graph: Graph, layer: Layer) -> LayerSize:
    """Return how many elements a layer has."""
    node = graph.by_name[layer.name]
    return LayerSize(
        layer.name,
        node.op,
        node.shape[1:],
        layer.total("neurons"),
        layer.total("synapses"),
        layer.total("weights"),
        layer.parameter or "",
    )


def _cost(layers: Sequence[Layer], level: Level, density: float) -> Cost:
    sets = {layer.parameter if level == "weights" else layer.name: layer for layer in layers}
    elements = sum(layer.total(level) for layer in sets.values())
    shares = [(round(density * layer.total(level)), layer.universe(level)) for layer in sets.values()]
    held = sum(bytes_of(share, universe) for share, universe in shares)
    return Cost(
        elements=elements,
        held=held,
        counted=held + COUNT_BYTES * sum(share for share, _ in shares),
        at_most=sum(bytes_of(universe, universe) for _, universe in shares),
    )
