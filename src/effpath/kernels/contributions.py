"""Intrinsics over the contributions x·w of one row: mark those above a cut, add up, find the largest.

A row is x, w, and the runs that the inputs are read in: their address and number, see
`effpath.kernels.arguments.Row`. ``flip`` is 1 where the signs of the contributions are to be turned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from effpath.kernels.ir import (
    F32,
    I32,
    I64,
    V32,
    V64,
    VI32,
    constant,
    halve,
    joined,
    load,
    splat,
    store,
    variable,
)

_ROW = (types.int64, types.int64, types.int64, types.int64)  # x, w, runs, their number


def _sign_bits(builder: Any, flip: Any) -> Any:
    return splat(builder, builder.shl(builder.trunc(flip, I32), I32(31)))


def _products(builder: Any, x: Any, w: Any, flips: Any) -> Any:
    """16 contributions, their signs turned where ``flips`` (a vector of sign bits) says so."""
    product = builder.fmul(load(builder, x, I64(0), V32, 64), load(builder, w, I64(0), V32, 64))
    return builder.bitcast(builder.xor(builder.bitcast(product, VI32), flips), V32)


def _over_runs(
    builder: Any,
    row: Sequence[Any],
    step: Callable[[Any, Any, int], Any],
    keep: Callable[[Any, Sequence[Any]], None] | None = None,
) -> None:
    """Visit the vectors of a row: ``step(x address, w address, which of four)``, four at a time where there are.

    ``keep(index of the first, results)`` takes what one or four steps returned.
    """
    x, w, runs, count = row
    with cgutils.for_range(builder, count) as run:
        at = builder.mul(run.index, I64(3))
        first, offset, vectors = (
            builder.sext(load(builder, runs, builder.add(at, I64(j)), I32, 4), I64) for j in range(3)
        )
        inputs = builder.add(x, builder.shl(offset, I64(2)))
        weights = builder.add(w, builder.shl(first, I64(6)))

        def some(begin: Any, count: int) -> None:
            results = []
            for j in range(count):
                behind = builder.shl(builder.add(begin, I64(j)), I64(6))
                results.append(step(builder.add(inputs, behind), builder.add(weights, behind), j))
            if keep is not None:
                keep(builder.add(first, begin), results)

        fours = builder.lshr(vectors, I64(2))
        with cgutils.for_range(builder, fours) as loop:
            some(builder.shl(loop.index, I64(2)), 4)
        with cgutils.for_range(builder, vectors, start=builder.shl(fours, I64(2))) as loop:
            some(loop.index, 1)


@intrinsic
def scan(typingctx, x, w, runs, count, flip, tau, masks):
    """Mark the contributions above tau, one bit each, in uint16 ``masks``; return their float32 sum."""
    signature = types.float32(*_ROW, types.int64, types.float32, types.int64)

    def generate(context, builder, signature, args):
        flips, above = _sign_bits(builder, args[4]), splat(builder, args[5])
        sums = [variable(builder, constant(V32, 0.0)) for _ in range(4)]

        def step(x: Any, w: Any, which: int) -> Any:
            products = _products(builder, x, w, flips)
            marked = builder.fcmp_ordered(">", products, above)
            old = builder.load(sums[which])
            builder.store(builder.select(marked, builder.fadd(old, products), old), sums[which])
            return marked

        def keep(index: Any, marked: Sequence[Any]) -> None:
            lanes = marked[0]
            if len(marked) == 4:  # in one piece, as it is read again at once
                lanes = joined(builder, joined(builder, *marked[:2]), joined(builder, *marked[2:]))
            store(builder, builder.bitcast(lanes, ir.IntType(lanes.type.count)), args[6], index, 2, align=2)

        _over_runs(builder, args[:4], step, keep)
        a, b, c, d = (builder.load(place) for place in sums)
        return halve(builder, builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), builder.fadd)

    return signature, generate


def _reduction(name: str, initial: Any, add: Callable[..., Any], doc: str) -> Any:
    """Make an intrinsic that reduces a row's contributions: lane by lane in ascending order, then halves."""
    result = types.float32 if initial.type.element == F32 else types.float64

    def reduce(typingctx, x, w, runs, count, flip):
        def generate(context, builder, signature, args):
            flips, place = _sign_bits(builder, args[4]), variable(builder, initial)

            def step(x: Any, w: Any, which: int) -> None:
                builder.store(add(builder, builder.load(place), _products(builder, x, w, flips)), place)

            _over_runs(builder, args[:4], step)
            return halve(builder, builder.load(place), lambda one, other: add(builder, one, other))

        return result(*_ROW, types.int64), generate

    reduce.__name__, reduce.__doc__ = name, doc
    return intrinsic(reduce)


def _add(builder: Any, one: Any, other: Any) -> Any:
    return builder.fadd(one, other if other.type == one.type else builder.fpext(other, one.type))


def _add_positive(builder: Any, one: Any, other: Any) -> Any:
    if other.type == one.type:
        return builder.fadd(one, other)
    kept = builder.select(builder.fcmp_ordered(">", other, constant(V32, 0.0)), other, constant(V32, 0.0))
    return builder.fadd(one, builder.fpext(kept, one.type))


def _larger(builder: Any, one: Any, other: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", other, one), other, one)


total = _reduction(
    "total", constant(V64, 0.0), _add, "Float64 sum of all contributions, in the order of `reference.ordered_sum`."
)
positive_total = _reduction(
    "positive_total", constant(V64, 0.0), _add_positive, "Float64 sum of the positive contributions."
)
largest = _reduction("largest", constant(V32, float("-inf")), _larger, "Largest contribution that lies in a run.")
