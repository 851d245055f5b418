"""What a network is made of and what its class paths will cost, before any path is extracted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from effpath.errors import CaptureError, EffpathError, UnknownOperator
from effpath.graph import Graph, capture
from effpath.rules import LEVELS, Layer, Level, plan_for, rule_for
from effpath.rules.kinds import Choice, Gate, Weighted
from effpath.rules.plan import Plan, sources_of

ID_BYTES, COUNT_BYTES = 8, 4  # an element of a class path on disk, at most: its id and its use count


@dataclass(frozen=True)
class Unsupported:
    """An operator without a rule.

    Attributes:
        operator, node, module: what it is and where.
        message: what to do.
    """

    operator: str
    node: str
    module: str
    message: str


@dataclass(frozen=True)
class LayerSize:
    """Elements of one layer; ``parameter`` may be shared by several layers, and then counts once."""

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
        dense: one bit an id: Σ over the sets of ⌈ids ÷ 8⌉. A synapse's ids count padding too.
        sparse: at ``density``, at most 8 bytes an element. Without use counts a class path takes no more than
            the smaller of the two.
        counted: at ``density``, with use counts: at most 12 bytes an element.
    """

    elements: int
    dense: int
    sparse: int
    counted: int


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        supported: every operator that a walk meets has a rule.
        unsupported: those that have none, in forward order.
        input_size: (C, H, W).
        classes: number of logits.
        batched: several images can be run at once.
        operators: how often the walk meets each.
        layers: in forward order; empty where the network is not supported.
        density: that the sparse costs are stated at.
        class_path: cost by level.
        parameter_bytes: memory of parameters and buffers.
        activation_bytes: memory of the activations that a walk keeps, an image.
        forward_seconds: one forward pass of one image, measured, on one thread or as many as torch uses.
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
        """Elements of all layers."""
        return self.class_path[level].elements

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def check(
    model: nn.Module, input_size: Sequence[int], *, gates: bool = False, density: float = 0.2, layers: Any = None
) -> CheckResult:
    """Capture a model and say what is in it; nothing is extracted.

    Args:
        model: in eval mode.
        input_size: (C, H, W) of one image.
        gates: as in `Options`: the gates' own path is followed too, and needs rules.
        density: share of the elements that a class path holds, for the costs of sparse sets.
        layers: that class paths are kept for, as in `extract`.

    Raises:
        CaptureError: torch.export cannot capture the model.
        InputError: the model does not take images of this size.
        OptionError: no such layers.

    Example:
        >>> from effpath.lenet import LeNet5
        >>> check(LeNet5().eval(), (1, 28, 28)).total("weights")
        61470
    """
    try:
        graph = capture(model, torch.zeros(1, *input_size))
    except EffpathError:
        raise
    except Exception as error:
        name = type(getattr(model, "network", model)).__name__
        raise CaptureError(
            f"{name} cannot be captured: {type(error).__name__}: {error}; wrap the part that classifies one image "
            "batch in a module of its own, or report it with the model"
        ) from error
    unsupported = find_unsupported(graph, gates=gates)
    chosen: tuple[Layer, ...] = ()
    if not unsupported:
        chosen = plan_for(graph, gates=gates).choose_layers(layers)
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
        layers=tuple(_size(graph, layer) for layer in chosen),
        density=density,
        class_path={level: _cost(chosen, level, density) for level in LEVELS},
        parameter_bytes=sum(value.nbytes for value in graph.constants.values()),
        activation_bytes=width
        * sum(map(graph.size, _kept(plan_for(graph, gates=gates), chosen) if chosen else ())),
        forward_seconds=seconds,
    )


def find_unsupported(graph: Graph, *, gates: bool = False) -> tuple[Unsupported, ...]:
    """Return every operator without a rule that a walk from the logits could meet, in forward order.

    Behind such an operator the search goes on through everything it reads.
    """
    reached, found = {graph.logits}, []
    for node in reversed(graph.nodes):
        if node.name not in reached or node.name not in graph.live:
            continue
        try:
            kind = rule_for(node)(graph, node)
        except UnknownOperator as error:
            found.append(Unsupported(node.op, node.name, node.module, str(error)))
            reached.update(node.refs)
            continue
        follow_all = gates or (isinstance(kind, Gate) and kind.equal)
        reached.update(kind.data.sources if isinstance(kind, Gate) and not follow_all else sources_of(kind))
    return tuple(reversed(found))


def _kept(plan: Plan, layers: Sequence[Layer]) -> set[str]:
    """Return the names of the activations that a walk over these layers needs."""
    kept: set[str] = set()
    for name in plan.leading_to(layers):
        kind = plan.kinds[name]
        if isinstance(kind, (Weighted, Choice)):
            kept.update(kind.sources)
        if isinstance(kind, Weighted) and not kind.pooled:
            kept.add(name)
    return kept


def _size(graph: Graph, layer: Layer) -> LayerSize:
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
    held = round(density * elements)
    return Cost(
        elements=elements,
        dense=sum((layer.universe(level) + 7) // 8 for layer in sets.values()),
        sparse=held * ID_BYTES,
        counted=held * (ID_BYTES + COUNT_BYTES),
    )
