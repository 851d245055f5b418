"""What the compiled kernels read of an operator, made once per plan: weights as rows, tables of geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.backends.layout import Layout, by_element, same_order
from effpath.backends.operators import Operator, RowOperator, TapOperator
from effpath.kernels.arguments import BINS, Array, Factors, Geometry, Taps, Weights
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice
from effpath.rules.plan import Plan

_EMPTY = np.zeros((0, 0), np.float32)


def operator_for(name: str, plan: Plan, layouts: Mapping[str, Layout], places: Mapping[str, int]) -> Operator:
    """Prepare a weighted operator or choice for its kernel; ``places`` are columns of the arena."""
    kind = plan.kinds[name]
    assert kind.selects
    window, out = kind.window, layouts[name]
    tap_count, span, total = window.taps.shape[1], window.group_channels, window.groups * window.group_channels
    bias = np.zeros(0, np.float32)
    if kind.bias is not None:
        bias = np.tile(plan.graph.constants[kind.bias].numpy(), window.maps)
    common: dict[str, Any] = {
        "window": window,
        "columns": np.array([places[source] for source in kind.sources], np.int64),
        "guesses": np.full(BINS, 0.05, np.float32),
        "slots": np.empty(0, np.uint16 if window.candidates <= 1 << 16 else np.int32),
    }
    coefficients = _EMPTY if window.coefficients is None else window.coefficients.float().numpy()
    if by_element(kind):
        sources = [layouts[source] for source in kind.sources]
        aligned = window.channels != 1  # tap t of output i is element i of operand t
        return TapOperator(
            layout=out,
            geometry=Geometry(
                out.positions, out.channels, 1, 0, tap_count, window.candidates, not out.plain, 0, 0, 0
            ),
            block=max(1, 4096 // max(1, out.channels)),
            adds_two=aligned and len(sources) == 2 and not isinstance(kind, Choice),
            starts=np.cumsum([0, *(source.size for source in sources)]).astype(np.int64),
            taps=np.zeros((0, 0), np.int32) if aligned else _stored_taps(window.taps, sources, out),
            factors=Factors(_EMPTY, coefficients, _EMPTY, bias),
            **common,
        )
    source = layouts[kind.sources[0]]
    within = window.inputs // total
    rowwise = Layout(window.inputs, total if window.channels_first else 1)
    in_canonical = span == 1 and window.channels_first and source.plain  # one input per tap can be read anywhere
    strides = (1, within) if in_canonical else (total, 1)
    common |= {
        "layout": Layout(out.size, window.channels if window.channels_first else 1),
        "geometry": Geometry(
            window.positions, window.channels, span, window.groups, tap_count, window.candidates,
            window.channels_first, *strides, total,
        ),
        "reads": None if in_canonical or same_order(rowwise, source) else rowwise,
    }  # fmt: skip
    taps = window.taps.to(torch.int32).contiguous().numpy()
    rows = _EMPTY if kind.weight is None else _rows(window, plan.graph.constants[kind.weight])
    if span == 1:
        return TapOperator(
            block=max(1, 4096 // window.channels),
            starts=np.array([0, window.inputs], np.int64),
            taps=taps,
            factors=Factors(rows, coefficients, _EMPTY, bias),
            **common,
        )
    padded = -(-window.candidates // 16) * 16
    if rows.shape[1] != padded:
        rows = np.pad(rows, ((0, 0), (0, padded - rows.shape[1])))
    norms = np.sqrt(np.einsum("ok,ok->o", rows, rows, dtype=np.float64)).astype(np.float32)
    of = np.arange(window.candidates, dtype=np.int32)
    tap_of = np.stack([of // span, of % span], axis=1)
    offsets, origins = np.zeros(0, np.int32), np.zeros(0, np.int32)
    block = int(np.clip((1 << 16) // padded, 8, 64))  # the copies of a block stay in the second-level cache
    found = _origins(taps) if span % 16 == 0 else None
    if found is not None:
        origins, deltas = found
        offsets = deltas[tap_of[:, 0]] * total + tap_of[:, 1]
        block = int(np.clip((1 << 17) // max(1, total * within // window.positions), 16, 4096))
    return RowOperator(
        block=block,
        weights=Weights(rows, norms, bias),
        taps=Taps(taps, *_runs(taps, window.groups), tap_of, offsets, origins),
        **common,
    )


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
