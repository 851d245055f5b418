"""The walk on the CPU by compiled kernels: all masks in one arena, channels last, nothing sorted.

It chooses the sets of `effpath.backends.plain` from the same recorded activations, float32 networks only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from effpath.backends.layout import Layout, same_order
from effpath.backends.operators import Batch, Operator, TapOperator, kernels
from effpath.backends.prepared import prepare
from effpath.backends.threads import over_images, over_outputs
from effpath.errors import NumericalError
from effpath.kernels.arguments import COLLECT, COMPARE, SKIP, UNITE, Array, Criterion, Outputs, Selected, Use
from effpath.kernels.options import Options
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice, Route, Selection
from effpath.rules.plan import Plan


def misfit(plan: Plan, visited: Collection[str], recorded: Mapping[str, Tensor]) -> str:
    """Say what the kernels cannot take, as they read nothing but float32 on a CPU; "" where they can take all.

    Args:
        plan, visited: rules, and the nodes of a walk.
        recorded: what it reads, as the forward pass gave it: a network may change types on the way.
    """
    read = dict(recorded)
    for name in visited:
        kind = plan.kinds[name]
        if kind.selects:
            read |= {key: plan.graph.constants[key] for key in (kind.weight, kind.bias) if key is not None}
    for name, value in read.items():
        if value.dtype != torch.float32 or value.device.type != "cpu":
            return f"{name!r} is {value.dtype} on {value.device}"
    return ""


class Found(NamedTuple):
    """What one operator chose over a batch: its active outputs as stored in its own layout, image by image."""

    neurons: Array  # int32 [N], stored
    counts: Array  # int32 [N], chosen candidates of each
    candidates: Array  # uint16 or int32 [Σ counts], ascending for each neuron
    of_image: Array  # int64 [B], neurons of each image
    hits: Array  # int64 [B, 2], members of a compared set, and chosen synapses
    inputs: int  # candidates that an output has
    channels: int  # stored output position · channels + channel is output channel · positions + position
    positions: int


_none = np.zeros(0, np.int64)
NOTHING = Found(_none, _none, _none, _none, _none, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class Sets:
    """A set for each image of a batch, over the slots of one layer.

    Attributes:
        table: int64 [B, 3], form and addresses of each, see `effpath.kernels.keep.is_member`.
        unite: add the chosen to the sets, which are packed bits, instead of counting how many are members.
        held: keeps what the addresses point to.
    """

    table: Array
    unite: bool
    held: tuple[Array, ...]


class CompiledWalk:
    """The masks of one walk, and what decides and follows them."""

    def __init__(
        self,
        plan: Plan,
        options: Options,
        values: Mapping[str, Tensor],
        active: Tensor,
        visited: frozenset[str],
        *,
        threads: int = 1,
    ) -> None:
        """Start at the active logits, bool [B, classes]; ``values`` are in the plan's layouts.

        So many ``threads`` share the work of each operator.
        """
        self.prepared = prepare(plan)
        self.threads = threads
        self.options, self.values, self.visited = options, values, visited
        self.images = len(active)
        self.arena = np.zeros((self.images, self.prepared.width), np.uint8)
        self.touched: set[int] = set()
        self.criteria = {choice: _criterion(options, maximum=choice) for choice in (False, True)}
        self.no_sets: Array = np.zeros((self.images, 3), np.int64)
        self.no_value: Array = np.zeros((self.images, 0), np.float32)
        start = plan.graph.logits
        at = self.prepared.places[start]
        self.arena[:, at : at + active.shape[1]] = self.prepared.layouts[start].store(active).numpy()
        self.touched.add(at)

    def holds(self, name: str) -> bool:
        """Whether anything may be active in a tensor."""
        return self.prepared.places[name] in self.touched

    def mask(self, name: str) -> Array:
        """Mask of a tensor's active elements, bool [B, size] in canonical order."""
        layout, at = self.prepared.layouts[name], self.prepared.places[name]
        region = torch.from_numpy(self.arena[:, at : at + layout.size]).view(torch.bool)
        return layout.restore(region.contiguous()).numpy()

    def count_members(self, name: str, sets: Sets) -> Array:
        """Count a tensor's active elements that each image's set holds, and all of them, int64 [B, 2]."""
        layout, hits = self.prepared.layouts[name], np.zeros((self.images, 2), np.int64)
        at = self.prepared.places[name]
        kernels().count_members(self.arena, at, layout.positions, layout.channels, sets.table, hits)
        return hits

    def follow(self, name: str, routes: Sequence[Route]) -> None:
        """Make active what the active outputs of a route stand for."""
        prepared = self.prepared
        for number, route in enumerate(routes):
            self._touch(route.sources)
            if not prepared.same_place(name, route):
                targets = prepared.targets_of(name, number, route)
                kernels().push(self.arena, self.arena, prepared.places[name], prepared.layouts[name].size, targets)

    def decide(self, name: str, kind: Selection, *, keep: bool = True, sets: Sets | None = None) -> Found:
        """Let the kernel choose among the candidates of the active outputs.

        Args:
            name, kind: of the node.
            keep: return what was chosen; else only go on to the sources.
            sets: compare the chosen with these, or unite them into these, instead of returning them.

        Raises:
            NumericalError: NaN or infinity in a contribution or a value.
        """
        operator = self.prepared.operator(name)
        batch, criterion = self._batch(name, kind, operator), self.criteria[isinstance(kind, Choice)]
        factors = kind.factors if self.options.gates else None
        use = self._use(operator, keep or factors is not None, sets)
        if use.mode == SKIP and isinstance(operator, TapOperator) and operator.adds_two:
            _check_finite(over_images(operator.bind_sum(batch, criterion), self.images, self.threads))
            return NOTHING
        parts = over_outputs(operator.bind(batch, criterion, use), batch.outputs, operator, self.threads)
        _check_finite([part.finite for part in parts])
        if operator.reads and batch.columns[0] >= 0:
            self._take_over(kind.sources[0], operator.reads, batch.reached)
        found = _joined(parts, operator)
        if factors:
            self._follow_factors(factors, found, operator.window)
        return found

    def _touch(self, sources: Sequence[str]) -> list[bool]:
        """Note that elements of tensors become active; tell for each whether the walk goes on there."""
        goes_on = [s in self.visited or s == self.prepared.plan.graph.input for s in sources]
        self.touched.update(self.prepared.places[s] for s, on in zip(sources, goes_on, strict=True) if on)
        return goes_on

    def _use(self, operator: Operator, keep: bool, sets: Sets | None) -> Use:
        if sets is not None:
            return Use(UNITE if sets.unite else COMPARE, sets.table, operator.slots)
        return Use(COLLECT if keep else SKIP, self.no_sets, operator.slots)

    def _batch(self, name: str, kind: Selection, operator: Operator) -> Batch:
        """Find or make the arrays of a batch that an operator's kernel reads and marks."""
        layouts, goes_on = self.prepared.layouts, self._touch(kind.sources)
        xs, reached = [self.values[source].numpy() for source in kind.sources], self.arena
        columns: Array = operator.columns if all(goes_on) else np.where(goes_on, operator.columns, -1)
        if operator.reads:
            source = kind.sources[0]
            xs = [operator.reads.store(layouts[source].restore(self.values[source])).numpy()]
            reached, columns = np.zeros((self.images, operator.reads.size), np.uint8), np.where(goes_on, 0, -1)
        value = self._value(name, operator) if name in kind.reads(name) else self.no_value
        factors = self.no_value if kind.factors is None else self._plain_value(kind.factors)
        active, column = self.arena, self.prepared.places[name]
        if not same_order(operator.layout, layouts[name]):
            active, column = operator.layout.store(torch.from_numpy(self.mask(name))).numpy().view(np.uint8), 0
        return Batch(xs, Outputs(value, active, column), factors, reached, columns)

    def _value(self, name: str, operator: Operator) -> Array:
        """Return the recorded output as the operator's kernel reads it."""
        stored = self.values[name]
        if not same_order(operator.layout, self.prepared.layouts[name]):
            stored = operator.layout.store(self.prepared.layouts[name].restore(stored))
        return stored.numpy()

    def _plain_value(self, name: str) -> Array:
        """Return a recorded tensor in canonical order."""
        return self.prepared.layouts[name].restore(self.values[name]).numpy()

    def _take_over(self, source: str, reads: Layout, reached: Array) -> None:
        """Add marks in an operator's own layout of its input to the arena."""
        stored = self.prepared.layouts[source].store(reads.restore(torch.from_numpy(reached))).numpy()
        at = self.prepared.places[source]
        self.arena[:, at : at + reads.size] |= stored

    def _follow_factors(self, name: str, found: Found, window: Window) -> None:
        """Make active the attention weights that chosen synapses used: element position · taps + tap."""
        if not all(self._touch((name,))):
            return
        image = np.repeat(np.repeat(np.arange(self.images), found.of_image), found.counts)
        stored = found.neurons.astype(np.int64)
        outputs = torch.from_numpy(stored % found.channels * found.positions + stored // found.channels)
        position = np.repeat(window.locate(outputs)[1].numpy(), found.counts)
        element = torch.from_numpy(position * found.inputs + found.candidates)
        marked = self.prepared.layouts[name].table[element].numpy()
        self.arena[image, self.prepared.places[name] + marked] = 1


def _criterion(options: Options, *, maximum: bool) -> Criterion:
    """Return the options as the kernels read them; ``maximum`` for a choice of the largest."""
    return Criterion(
        theta=float(options.theta),
        of_sum=options.target == "sum",
        ranks_bias=options.bias == "candidate",
        falls_to_largest=options.fallback == "argmax",
        lone=bool(options.lone),
        maximum=maximum,
        all_ties=options.ties == "all",
    )


def _check_finite(finite: Sequence[bool]) -> None:
    if not all(finite):
        raise NumericalError("NaN or infinity in a contribution or a value")


def _joined(parts: Sequence[Selected], operator: Operator) -> Found:
    """Return what the parts of a batch chose, one behind the other."""
    shape = (operator.window.candidates, operator.layout.channels, operator.layout.positions)
    if len(parts) == 1:
        return Found(*parts[0][:5], *shape)
    return Found(
        np.concatenate([part.neurons for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.candidates for part in parts]),
        np.sum([part.of_image for part in parts], axis=0),
        np.sum([part.hits for part in parts], axis=0),
        *shape,
    )
