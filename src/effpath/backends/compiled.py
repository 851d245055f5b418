"""The walk on the CPU by compiled kernels: all masks in one arena, channels last, nothing sorted.

It chooses the sets of `effpath.backends.plain` from the same recorded activations, float32 networks only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from effpath.backends.layout import Layout
from effpath.backends.operators import Array, Operator, kernels, prepare, same_order
from effpath.errors import NumericalError
from effpath.kernels.options import Options
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice, Route, Weighted
from effpath.rules.plan import Plan

WORTH_A_THREAD = 1 << 20  # candidates of active outputs below which a second thread costs more than it saves


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return Python threads for kernels that release its lock, made once."""
    return ThreadPoolExecutor(threads, thread_name_prefix="effpath")


def misfit(plan: Plan, visited: Collection[str], recorded: Mapping[str, Tensor]) -> str:
    """Say what the kernels cannot take, as they read nothing but float32 on a CPU; "" where they can take all.

    Args:
        plan, visited: rules, and the nodes of a walk.
        recorded: what it reads, as the forward pass gave it: a network may change types on the way.
    """
    read = dict(recorded)
    for name in visited:
        kind = plan.kinds[name]
        if isinstance(kind, Weighted):
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
_NOT_FINITE = "NaN or infinity in a contribution or a value"


@dataclass(frozen=True, eq=False)
class Sets:
    """A set for each image of a batch, over the slots of one layer.

    Attributes:
        table: int64 [B, 3], form and addresses of each, see `effpath.kernels.cpu.is_member`.
        unite: add the chosen to the sets, which are packed bits, instead of counting how many are members.
        held: keeps what the addresses point to.
    """

    table: Array
    unite: bool
    held: tuple[Array, ...]


class _Work(NamedTuple):
    """The arrays of a batch that an operator's kernel reads and marks, see `effpath.kernels.cpu.weigh`."""

    wanted: list[bool]  # of each source: the walk goes on there
    xs: list[Array]
    value: Array
    active: Array
    reached: Array
    factors: Array
    shape: Array
    choice: int

    def marks(self, operator: Operator) -> Array:
        """First column of each operand's mask in ``reached``, -1 where the walk does not go on."""
        marks: Array = np.where(self.wanted, 0 if operator.reads else operator.tables[1], -1)
        return marks


Run = Callable[[Array], Any]


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
        start = plan.graph.logits
        at = self.prepared.places[start]
        self.arena[:, at : at + active.shape[1]] = self.prepared.layouts[start].store(active).numpy()
        self.touched.add(at)

    def holds(self, name: str) -> bool:
        """Whether anything may be active in a tensor."""
        return self.prepared.places[name] in self.touched

    def _touch(self, sources: Sequence[str]) -> list[bool]:
        wanted = [s in self.visited or s == self.prepared.plan.graph.input for s in sources]
        self.touched.update(self.prepared.places[s] for s, w in zip(sources, wanted, strict=True) if w)
        return wanted

    def follow(self, name: str, routes: Sequence[Route]) -> None:
        """Make active what the active outputs of a route stand for."""
        prepared = self.prepared
        for number, route in enumerate(routes):
            self._touch(route.sources)
            if not prepared.same_place(name, route):
                targets = prepared.targets_of(name, number, route)
                kernels().push(self.arena, self.arena, prepared.places[name], prepared.layouts[name].size, targets)

    def decide(self, name: str, kind: Weighted | Choice, *, keep: bool = True, sets: Sets | None = None) -> Found:
        """Let the kernel choose among the candidates of the active outputs.

        Args:
            name, kind: of the node.
            keep: return what was chosen; else only go on to the sources.
            sets: compare the chosen with these, or unite them into these, instead of returning them.
        """
        cpu, options = kernels(), self.options
        factors = kind.factors if isinstance(kind, Weighted) and options.gates else None
        if sets is not None:
            mode, table = (cpu.UNITE if sets.unite else cpu.COMPARE), sets.table
        else:
            mode = cpu.COLLECT if keep or factors else cpu.SKIP
            table = np.zeros((self.images, 3), np.int64)
        operator = self.prepared.operator(name)
        work = self._work(name, kind, operator)
        finish = (operator.slots, mode, table)
        if len(operator.tables) == 8:
            run = self._weigh(kind, operator, work, finish)
        elif mode == cpu.SKIP and isinstance(kind, Weighted) and _is_plain_sum(kind, operator):
            self._add_two(name, kind, operator, work)
            return NOTHING
        else:
            run = self._combine(kind, operator, work, finish)
        parts = _in_parts(run, work.active, operator, work.shape, self.threads)
        if any(status != cpu.FINE for *_, status in parts):
            raise NumericalError(_NOT_FINITE)
        if operator.reads and work.wanted[0]:
            self._take_over(kind.sources[0], operator.reads, work.reached)
        of = (operator.window.candidates, operator.own.channels, operator.own.positions)
        found = _join([Found(a, b, c, d, e, *of) for a, b, c, d, e, _ in parts])
        if factors:
            self._follow_factors(factors, found, operator.window)
        return found

    def _work(self, name: str, kind: Weighted | Choice, operator: Operator) -> _Work:
        """Find or make the arrays of a batch that an operator's kernel reads and marks."""
        cpu, options, layouts = kernels(), self.options, self.prepared.layouts
        wanted = self._touch(kind.sources)
        shape, active = operator.shape.copy(), self.arena
        if not same_order(operator.own, layouts[name]):
            active, shape[8] = operator.own.store(torch.from_numpy(self.mask(name))).numpy().view(np.uint8), 0
        xs, reached = [self.values[source].numpy() for source in kind.sources], self.arena
        if operator.reads:
            source = kind.sources[0]
            xs = [operator.reads.store(layouts[source].restore(self.values[source])).numpy()]
            reached, shape[9] = np.zeros((self.images, operator.reads.size), np.uint8), 0
        if not wanted[0]:
            shape[9] = -1
        none = np.zeros((self.images, 0), np.float32)
        if isinstance(kind, Choice):
            choice = cpu.MAXIMUM + (options.ties == "all") * cpu.ALL_TIES
            return _Work(wanted, xs, none, active, reached, none, shape, choice)
        choice = (
            (options.target == "sum") * cpu.SUM
            + (options.bias == "candidate") * cpu.BIAS
            + (options.fallback == "argmax") * cpu.LARGEST
            + options.lone * cpu.LONE
        )
        factors = none if kind.factors is None else self._plain_value(kind.factors)
        value = none if kind.pooled else self._value(name, operator)
        return _Work(wanted, xs, value, active, reached, factors, shape, choice)

    def _weigh(self, kind: Weighted | Choice, operator: Operator, work: _Work, finish: tuple[Any, ...]) -> Run:
        """Return the kernel of a linear layer or a convolution, but for its task."""
        rows, norms, *geometry = operator.tables
        theta = float(self.options.theta)

        def run(task: Array) -> Any:
            return kernels().weigh(
                work.xs[0], work.value, work.active, work.reached, rows, norms, operator.bias, *geometry,
                operator.guesses, work.shape, work.choice, theta, task, *finish,
            )  # fmt: skip

        return run

    def _combine(self, kind: Weighted | Choice, operator: Operator, work: _Work, finish: tuple[Any, ...]) -> Run:
        """Return the kernel of an operator whose outputs have few candidates, but for its task."""
        splits, _, taps, coefficients, rows = operator.tables
        bases = np.array([x.ctypes.data for x in work.xs], np.int64)
        strides = np.array([x.shape[1] for x in work.xs], np.int64)
        marks, theta = work.marks(operator), float(self.options.theta)

        def run(task: Array) -> Any:
            return kernels().combine(
                bases, strides, splits, marks, taps, coefficients, work.factors, rows, work.value, work.active,
                work.reached, operator.bias, operator.guesses, work.shape, work.choice, theta, task, *finish,
            )  # fmt: skip

        return run

    def _take_over(self, source: str, reads: Layout, reached: Array) -> None:
        """Add marks in an operator's own layout of its input to the arena."""
        stored = self.prepared.layouts[source].store(reads.restore(torch.from_numpy(reached))).numpy()
        at = self.prepared.places[source]
        self.arena[:, at : at + reads.size] |= stored

    def _plain_value(self, name: str) -> Array:
        """A recorded tensor in canonical order."""
        return self.prepared.layouts[name].restore(self.values[name]).numpy()

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

    def _add_two(self, name: str, kind: Weighted, operator: Operator, work: _Work) -> None:
        """Go on from the sum of two tensors, the skip connection of a residual network."""
        cpu, at, theta = kernels(), self.prepared.places[name], float(self.options.theta)
        factors = operator.tables[3]
        first, second = factors[0] if len(factors) else np.ones(2, np.float32)
        marks = work.marks(operator)

        def run(rows: tuple[int, int]) -> int:
            status: int = cpu.add_two(
                *work.xs, work.value, self.arena, self.arena, first, second, *marks, at, work.choice, theta, *rows
            )  # fmt: skip
            return status

        threads = min(self.threads, self.images)
        edges = np.linspace(0, self.images, threads + 1).astype(int).tolist()
        parts = list(itertools.pairwise(edges))
        if any(
            status != cpu.FINE
            for status in (map(run, parts) if threads == 1 else thread_pool(threads).map(run, parts))
        ):
            raise NumericalError(_NOT_FINITE)

    def _value(self, name: str, operator: Operator) -> Array:
        """The recorded output in the operator's own layout."""
        stored = self.values[name]
        if not same_order(operator.own, self.prepared.layouts[name]):
            stored = operator.own.store(self.prepared.layouts[name].restore(stored))
        return stored.numpy()

    def count_members(self, name: str, sets: Sets) -> Array:
        """Count a tensor's active elements that each image's set holds, and all of them, int64 [B, 2]."""
        layout, hits = self.prepared.layouts[name], np.zeros((self.images, 2), np.int64)
        at = self.prepared.places[name]
        kernels().count_members(self.arena, at, layout.positions, layout.channels, sets.table, hits)
        return hits

    def mask(self, name: str) -> Array:
        """Mask of a tensor's active elements, bool [B, size] in canonical order."""
        layout, at = self.prepared.layouts[name], self.prepared.places[name]
        region = torch.from_numpy(self.arena[:, at : at + layout.size]).view(torch.bool)
        return layout.restore(region.contiguous()).numpy()


def _is_plain_sum(kind: Weighted, operator: Operator) -> bool:
    """Whether an operator adds two tensors of one shape."""
    return len(kind.sources) == 2 and not len(operator.tables[2])


def _in_parts(run: Run, active: Array, operator: Operator, shape: Array, threads: int) -> list[Any]:
    """Run the kernel over all outputs, by several threads where there is work for them."""
    positions, outputs, at = int(shape[0]), int(shape[1]), int(shape[8])
    total = len(active) * positions
    whole = np.array([0, total, operator.block, 0, outputs], np.int64)
    if threads == 1:
        return [run(whole)]
    region = active[:, at : at + positions * outputs]
    if np.count_nonzero(region) * int(shape[10]) < WORTH_A_THREAD:
        return [run(whole)]
    tasks = _equal_parts(region, whole, threads)
    if total < 2 * threads and positions == 1:
        edges = np.linspace(0, outputs, threads + 1).astype(np.int64)
        tasks = [
            np.array([image, image + 1, 1, left, right], np.int64)
            for image in range(total)
            for left, right in itertools.pairwise(edges)
        ]
    return list(thread_pool(threads).map(run, tasks))


def _equal_parts(region: Array, whole: Array, threads: int) -> list[Array]:
    """Cut the positions of a batch into one range a thread, of about as many active outputs each."""
    total, block, outputs = int(whole[1]), int(whole[2]), int(whole[4])
    flat = region.reshape(total, outputs)
    edges = np.unique([*(np.linspace(0, total, 16 * threads + 1).astype(np.int64) // block * block), total])
    counts = [np.count_nonzero(flat[a:b]) for a, b in itertools.pairwise(edges)]
    reached = np.concatenate([[0], np.cumsum(counts)])
    goals = np.linspace(0, reached[-1], threads + 1)[1:-1]
    cuts = np.unique([0, *edges[np.searchsorted(reached, goals)], total])
    return [np.array([a, b, block, 0, outputs], np.int64) for a, b in itertools.pairwise(cuts)]


def _join(parts: list[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    return Found(
        np.concatenate([part.neurons for part in parts]),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.candidates for part in parts]),
        np.sum([part.of_image for part in parts], axis=0),
        np.sum([part.hits for part in parts], axis=0),
        parts[0].inputs,
        parts[0].channels,
        parts[0].positions,
    )
