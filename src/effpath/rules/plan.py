"""The rules applied once to a graph: what a walk follows, and the layers whose sets are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from effpath.errors import OptionError, UnknownOperatorError
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_whole
from effpath.kernels.window import Window
from effpath.rules.kinds import Kind
from effpath.rules.table import rule_for

Level = Literal["synapses", "neurons", "weights"]
LEVELS: tuple[Level, ...] = ("synapses", "neurons", "weights")


@dataclass(frozen=True, eq=False)
class Layer:
    """A weighted operator with a parameter (or, as auxiliary, a pooling or an add).

    Attributes:
        name: of its node, the module path of the layer.
        sources: names of the tensors whose concatenated elements its input ids run over.
        window: which inputs can feed which output.
        parameter: name of the weight in the model; None for an auxiliary layer.
        weight: name of the constant of the graph that holds the weight; None for an auxiliary layer.
    """

    name: str
    sources: tuple[str, ...]
    window: Window
    parameter: str | None
    weight: str | None

    def universe(self, level: Level) -> int:
        """Return the number that ids of a level lie below; for synapses it counts padding slots too."""
        window = self.window
        return {"synapses": window.slots, "neurons": window.outputs, "weights": window.weights}[level]

    def total(self, level: Level) -> int:
        """Return the number of synapses (padding excluded), neurons or weights that the layer has."""
        return self.window.synapses if level == "synapses" else self.universe(level)


@dataclass(frozen=True, eq=False)
class Plan:
    """The kinds of all nodes that a walk from the logits can reach, and the layers among them.

    Attributes:
        graph: the network.
        kinds: by node name, in forward order.
        every: all weighted operators and choices, in forward order.
        prepared: what a backend made of this very plan, by its name.
    """

    graph: Graph
    kinds: dict[str, Kind]
    every: tuple[Layer, ...]
    prepared: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        """Say in one line what the plan is of."""
        return f"Plan({len(self.layers)} layers, {len(self.auxiliary)} auxiliary, of {self.graph!r})"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Weighted operators with a parameter, in forward order."""
        return tuple(layer for layer in self.every if layer.parameter)

    @property
    def auxiliary(self) -> tuple[Layer, ...]:
        """Pooling, add, resize: kept only on request."""
        return tuple(layer for layer in self.every if not layer.parameter)

    def layer(self, name: str) -> Layer:
        """Return a layer by name."""
        for layer in self.every:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise OptionError(f"expected the name of a layer, got {name!r}; the layers are {names}")

    def choose_layers(self, layers: int | str | Sequence[str] | None) -> tuple[Layer, ...]:
        """Return the last k layers, the named ones, or all (None), in forward order.

        Raises:
            OptionError: an unknown name, no name at all, or k outside 1 … number of layers.
        """
        if layers is None:
            return self.layers
        if not isinstance(layers, (str, Iterable)):
            return self.layers[-as_whole(layers, "layers", len(self.layers), "for the last k") :]
        chosen = {self.layer(name).name for name in ([layers] if isinstance(layers, str) else layers)}
        if not chosen:
            raise OptionError("expected the names of some layers, got none; leave layers out for all of them")
        return tuple(layer for layer in self.every if layer.name in chosen)

    def leading_to(self, layers: Iterable[Layer]) -> set[str]:
        """Return the nodes that a walk must visit to reach these layers: no work for the others.

        For all layers these are all nodes, so that the walk goes on to the pixels.
        """
        visited = {layer.name for layer in layers}
        if all(layer.name in visited for layer in self.layers):
            return set(self.kinds)
        for name, kind in self.kinds.items():  # forward: a node is visited if something upstream of it is
            if any(source in visited for source in kind.reaches(follow_gates=True)):
                visited.add(name)
        return visited

    def reads(self, visited: Iterable[str]) -> set[str]:
        """Return the tensors, the logits among them, that a walk over these nodes must have recorded."""
        return {self.graph.logits, *(read for name in visited for read in self.kinds[name].reads(name))}


def apply_rules(graph: Graph, *, gates: bool = False) -> tuple[dict[str, Kind], dict[str, UnknownOperatorError]]:
    """Return the kind of every node that a walk from the logits can reach, and the error of each without a rule.

    Operators that only feed a gate, or attention weights, need a rule only with ``gates``. Behind an operator
    without a rule the search goes on through everything it reads. Both are in forward order.
    """
    reached = {graph.logits}
    kinds: dict[str, Kind] = {}
    errors: dict[str, UnknownOperatorError] = {}
    for node in reversed(graph.nodes):
        if node.name not in reached or node.name not in graph.live:
            continue
        try:
            kinds[node.name] = kind = rule_for(node)(graph, node)
        except UnknownOperatorError as error:
            errors[node.name] = error
            reached.update(node.refs)
            continue
        reached.update(kind.reaches(follow_gates=gates))
    return dict(reversed(kinds.items())), dict(reversed(errors.items()))


def make_plan(graph: Graph, *, gates: bool = False) -> Plan:
    """Apply the rules from the logits back; operators that only feed a gate need none unless ``gates``.

    Raises:
        UnknownOperatorError: an operator on the way has no rule; the last one, in forward order.
    """
    kinds, errors = apply_rules(graph, gates=gates)
    if errors:
        raise [*errors.values()][-1]
    every = tuple(
        Layer(name, kind.sources, kind.window, kind.parameter, kind.weight)
        for name, kind in kinds.items()
        if kind.selects
    )
    return Plan(graph, kinds, every)


def plan_for(graph: Graph, *, gates: bool = False) -> Plan:
    """Return the plan of a graph, made once."""
    if gates not in graph.plans:
        graph.plans[gates] = make_plan(graph, gates=gates)
    plan: Plan = graph.plans[gates]
    return plan
