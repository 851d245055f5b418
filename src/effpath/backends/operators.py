"""What the compiled walk prepares once a plan: places of masks, weights as rows, tables of geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.backends.layout import Layout, by_element, layouts_of, one_to_one
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice, Gate, Route, Weighted
from effpath.rules.plan import Plan

Array = NDArray[Any]


@cache
def kernels() -> Any:
    """Return the compiled kernels; at first use they are compiled, or read from Numba's cache."""
    from effpath.kernels import cpu

    return cpu


@dataclass(frozen=True, eq=False)
class Operator:
    """A weighted operator or choice, ready for its kernel: everything that does not depend on the image."""

    window: Window
    own: Layout  # of the outputs, as the kernel wants them
    shape: Array
    block: int
    tables: tuple[Array, ...]
    guesses: Array
    slots: Array
    bias: Array  # float32 [channels], or empty
    reads: Layout | None = None  # of the input, where other readers have it stored as the kernel cannot read it


@dataclass(eq=False)
class Prepared:
    """What the compiled walk knows of a plan: layouts, places in the arena, weights as rows. Made once a plan."""

    plan: Plan
    layouts: dict[str, Layout]
    places: dict[str, int]
    width: int
    operators: dict[str, Operator] = field(default_factory=dict)
    targets: dict[tuple[str, int], Array] = field(default_factory=dict)

    def operator(self, name: str) -> Operator:
        """Return an operator, prepared at its first use."""
        if name not in self.operators:
            self.operators[name] = _prepare_operator(self, name)
        return self.operators[name]

    def same_place(self, name: str, route: Route) -> bool:
        """Whether a route's source has the mask of its result."""
        return len(route.sources) == 1 and self.places[route.sources[0]] == self.places[name]

    def targets_of(self, name: str, number: int, route: Route) -> Array:
        """Return the column of the arena that each stored output of a route stands for, int64, -1 for none."""
        if (name, number) not in self.targets:
            graph = self.plan.graph
            columns = torch.cat([self.layouts[s].table + self.places[s] for s in route.sources])
            ids = torch.arange(graph.size(name)) if route.ids is None else route.ids
            columns = torch.where(ids >= 0, columns[ids.clamp(min=0)], -1)
            stored = torch.empty_like(columns)
            stored[self.layouts[name].table] = columns
            self.targets[name, number] = stored.numpy()
        return self.targets[name, number]


def prepare(plan: Plan) -> Prepared:
    """Lay out the arena of a plan: tensors that are one another element by element share a place."""
    if "compiled" not in plan.prepared:
        layouts = layouts_of(plan)
        places: dict[str, int] = {}
        width = 0
        for name in reversed([plan.graph.input, *plan.kinds]):
            if name not in places:
                places[name] = width
                width += -(-layouts[name].size // 64) * 64
            kind = plan.kinds.get(name)
            if isinstance(kind, (Weighted, Choice)) or kind is None or _needs_own_mask(kind, plan):
                continue
            for source in one_to_one(kind, name, plan):
                if source not in places and layouts[source] == layouts[name]:
                    places[source] = places[name]
        plan.prepared["compiled"] = Prepared(plan, layouts, places, width)
    prepared: Prepared = plan.prepared["compiled"]
    return prepared


def _needs_own_mask(kind: Route | Gate, plan: Plan) -> bool:
    """Whether a mask also says which gates are used, so that other readers of the data may not add to it."""
    gates = [source for gate in kind.gates for source in gate.sources] if isinstance(kind, Gate) else []
    return any(source in plan.kinds or source == plan.graph.input for source in gates)


def _prepare_operator(prepared: Prepared, name: str) -> Operator:
    kind = prepared.plan.kinds[name]
    assert isinstance(kind, (Weighted, Choice))
    window, layouts, places = kind.window, prepared.layouts, prepared.places
    kernel, span, groups = window.taps.shape[1], window.group_channels, window.groups
    out, total = layouts[name], groups * span
    shape = np.zeros(12, np.int64)
    marks = np.array([places[source] for source in kind.sources], np.int64)
    shape[4], shape[8], shape[9], shape[10] = kernel, places[name], marks[0], window.candidates
    empty = np.zeros((0, 0), np.float32)
    coefficients = empty if window.coefficients is None else window.coefficients.float().numpy()
    slots = np.empty(0, np.uint16 if window.candidates <= 1 << 16 else np.int32)
    bias = np.zeros(0, np.float32)
    if isinstance(kind, Weighted) and kind.bias is not None:
        bias = np.tile(prepared.plan.graph.constants[kind.bias].numpy(), window.maps)
    guesses = np.full(kernels().BINS, 0.05, np.float32)
    own = Layout(out.size, window.channels if window.channels_first else 1)
    if by_element(kind):
        own = out
        shape[0], shape[1], shape[2], shape[3], shape[11] = out.positions, out.channels, 1, 0, int(not out.plain)
        splits = np.cumsum([0, *(layouts[source].size for source in kind.sources)]).astype(np.int64)
        taps = np.zeros((0, 0), np.int32)
        if window.channels == 1:  # else tap t of output i is element i of operand t
            taps = _stored_taps(window.taps, [layouts[source] for source in kind.sources], out)
        block = max(1, 4096 // max(1, out.channels))
        return Operator(
            window, own, shape, block, (splits, marks, taps, coefficients, empty), guesses, slots, bias
        )
    source = layouts[kind.sources[0]]
    within = window.inputs // total
    rowwise = Layout(window.inputs, total if window.channels_first else 1)
    in_canonical = span == 1 and window.channels_first and source.plain  # one input a tap can be read anywhere
    reads = None if in_canonical or same_order(rowwise, source) else rowwise
    strides = (1, within) if in_canonical else (total, 1)
    shape[0], shape[1], shape[2], shape[3], shape[7] = window.positions, window.channels, span, groups, total
    shape[5], shape[6] = strides
    shape[11] = int(window.channels_first)
    taps = window.taps.to(torch.int32).contiguous().numpy()
    block = max(1, 4096 // window.channels)
    rows = empty
    if isinstance(kind, Weighted) and kind.weight is not None:
        rows = _rows(window, prepared.plan.graph.constants[kind.weight])
    if span == 1:
        splits = np.array([0, window.inputs], np.int64)
        return Operator(
            window, own, shape, block, (splits, marks, taps, coefficients, rows), guesses, slots, bias, reads
        )
    padded = -(-window.candidates // 16) * 16
    if rows.shape[1] != padded:
        rows = np.pad(rows, ((0, 0), (0, padded - rows.shape[1])))
    norms = np.sqrt(np.einsum("ok,ok->o", rows, rows, dtype=np.float64)).astype(np.float32)
    runs, run_of = _runs(taps, groups)
    of = np.arange(window.candidates, dtype=np.int32)
    tap_of = np.stack([of // span, of % span], axis=1)
    offsets, origins = np.zeros(0, np.int32), np.zeros(0, np.int32)
    found = _origins(taps) if span % 16 == 0 else None
    if found is not None:
        origins, deltas = found
        offsets = deltas[tap_of[:, 0]] * total + tap_of[:, 1]
        block = int(np.clip((1 << 17) // max(1, total * within // window.positions), 16, 4096))
    else:
        block = int(np.clip((1 << 16) // padded, 8, 64))  # the copies of a block stay in the second-level cache
    tables = (rows, norms, taps, runs, run_of, tap_of, offsets, origins)
    return Operator(window, own, shape, block, tables, guesses, slots, bias, reads)


def _origins(taps: Array) -> tuple[Array, Array] | None:
    """Split a tap table into origins [P] + deltas [T], where it can be (all but transposed convolutions)."""
    valid = taps >= 0
    deltas = np.zeros(taps.shape[1], np.int64)
    whole = np.flatnonzero(valid.all(1))
    if not len(whole):
        return None
    deltas = taps[whole[0]].astype(np.int64) - taps[whole[0], 0]
    first = valid.argmax(1)
    origins = taps[np.arange(len(taps)), first] - deltas[first]
    origins[~valid.any(1)] = 0
    if np.any(valid & (taps != origins[:, None] + deltas)):
        return None
    return origins.astype(np.int32), deltas.astype(np.int32)


def _rows(window: Window, weight: Tensor) -> Array:
    """Return weights as float32 [O, K], candidates in canonical order; a view where they are so already."""
    if window.maps > 1:
        weight = weight.repeat(window.maps, *(1 for _ in weight.shape[1:]))
    kernel, span = window.taps.shape[1], window.group_channels
    if window.transposed:
        per_group = window.channels // window.groups
        split = weight.reshape(window.groups, span, per_group, kernel)
        return split.permute(0, 2, 3, 1).reshape(window.channels, -1).contiguous().numpy()
    return (
        weight.reshape(window.channels, span, kernel)
        .transpose(1, 2)
        .reshape(window.channels, -1)
        .contiguous()
        .numpy()
    )


def _runs(taps: Array, groups: int) -> tuple[Array, Array]:
    """Return runs of taps whose inputs lie side by side, int32 [R, 3], and each position's first, [P + 1]."""
    valid = taps >= 0
    joined = valid.copy()
    joined[:, 0] = False
    joined[:, 1:] &= valid[:, :-1] & (taps[:, 1:] == taps[:, :-1] + 1) & (groups == 1)
    heads = valid & ~joined
    position, first = np.nonzero(heads)
    run = np.cumsum(heads.ravel())[valid.ravel()] - 1
    lengths = np.bincount(run, minlength=len(first))
    runs = np.stack([first, taps[position, first], lengths], axis=1).astype(np.int32)
    return runs, np.concatenate([[0], heads.sum(1).cumsum()]).astype(np.int32)


def _stored_taps(taps: Tensor, sources: Sequence[Layout], out: Layout) -> Array:
    """Return a table by stored output of stored elements, int32 [outputs, T]."""
    columns, offset = [], 0
    for source in sources:
        columns.append(source.table + offset)
        offset += source.size
    table = torch.cat([*columns, torch.tensor([-1])])
    moved = torch.empty_like(taps)
    moved[out.table] = table[taps]
    return moved.to(torch.int32).numpy()


def same_order(one: Layout, other: Layout) -> bool:
    """Whether two layouts of a tensor store its elements in the same order."""
    return one.channels == other.channels or (one.plain and other.plain)
