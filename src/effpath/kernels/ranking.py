"""Intrinsics over a list of float32 values: sums, what lies above a limit, and a choice by ranking."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from effpath.kernels.ir import (
    F32,
    F64,
    I16,
    I32,
    I64,
    LANES,
    V32,
    V64,
    constant,
    halve,
    lane_numbers,
    load,
    splat,
    variable,
)


@intrinsic
def sum_above(typingctx, values, vectors, pivot):
    """Float64 sum of the values above a pivot, which is not negative; rows are padded with zeros."""
    signature = types.float64(types.int64, types.int64, types.float32)

    def generate(context, builder, signature, args):
        pivots, place = splat(builder, args[2]), variable(builder, constant(V64, 0.0))
        with cgutils.for_range(builder, args[1]) as loop:
            values = load(builder, args[0], loop.index, V32, 64)
            kept = builder.select(builder.fcmp_ordered(">", values, pivots), values, constant(V32, 0.0))
            builder.store(builder.fadd(builder.load(place), builder.fpext(kept, V64)), place)
        return halve(builder, builder.load(place), builder.fadd)

    return signature, generate


@intrinsic
def square_sum(typingctx, x, vectors):
    """Float32 sum of squares: NaN or infinite where an element is, or where a square overflows."""
    signature = types.float32(types.int64, types.int64)

    def generate(context, builder, signature, args):
        x, vectors = args
        place = variable(builder, constant(V32, 0.0))
        with cgutils.for_range(builder, vectors) as loop:
            loaded = load(builder, x, loop.index, V32, 64)
            builder.store(builder.fadd(builder.load(place), builder.fmul(loaded, loaded)), place)
        return halve(builder, builder.load(place), builder.fadd)

    return signature, generate


@intrinsic
def down_to(typingctx, values, count, limit, last):
    """Mark those of the first ``count`` of 16 values above a limit, or equal to it and not behind ``last``."""
    signature = types.int64(types.int64, types.int64, types.float32, types.int64)

    def generate(context, builder, signature, args):
        values, lanes = load(builder, args[0], I64(0), V32, 64), lane_numbers()
        limits, lasts, counts = (
            splat(builder, args[2]),
            *(splat(builder, builder.trunc(args[j], I32)) for j in (3, 1)),
        )
        equal = builder.and_(builder.fcmp_ordered("==", values, limits), builder.icmp_signed("<=", lanes, lasts))
        marked = builder.or_(builder.fcmp_ordered(">", values, limits), equal)
        marked = builder.and_(marked, builder.icmp_signed("<", lanes, counts))
        return builder.zext(builder.bitcast(marked, I16), I64)

    return signature, generate


@intrinsic
def cut(typingctx, values, count, wanted, base, bias):
    """Choose among at most 32 positive candidates by ranking: bit i is set where candidate i is chosen.

    Candidate i is chosen where ``base`` plus all before it (larger, or equal and earlier; the bias if it is
    larger) is below ``wanted``. Bit 62 is set where that was decided by less than the rounding of a sum
    could be. ``values`` must hold 32 floats, those behind ``count`` of any value.
    """
    signature = types.int64(types.int64, types.int64, types.float64, types.float64, types.float64)

    def generate(context, builder, signature, args):
        values, count, wanted, base, bias = args
        lanes = lane_numbers()
        found = variable(builder, I64(0))
        wants = splat(builder, wanted)
        margin = builder.fmul(builder.fadd(wanted, base), ir.Constant(F64, 1e-13))
        low, high = splat(builder, builder.fsub(wanted, margin)), splat(builder, builder.fadd(wanted, margin))
        groups = builder.lshr(builder.add(count, I64(LANES - 1)), I64(4))
        with cgutils.for_range(builder, groups) as group:
            lane = load(builder, values, group.index, V32, 64)
            first = builder.shl(group.index, I64(4))
            at = builder.add(lanes, splat(builder, builder.trunc(first, I32)))
            bias_first = builder.fcmp_ordered(">", splat(builder, bias), builder.fpext(lane, V64))
            ahead_of_all = builder.select(bias_first, splat(builder, bias), constant(V64, 0.0))
            before = variable(builder, builder.fadd(ahead_of_all, splat(builder, base)))
            with cgutils.for_range(builder, count) as loop:
                other = load(builder, values, loop.index, F32, 4)
                others = splat(builder, other)
                earlier = builder.icmp_signed(">", at, splat(builder, builder.trunc(loop.index, I32)))
                ahead = builder.or_(
                    builder.fcmp_ordered(">", others, lane),
                    builder.and_(builder.fcmp_ordered("==", others, lane), earlier),
                )
                old = builder.load(before)
                grown = builder.fadd(old, splat(builder, builder.fpext(other, F64)))
                builder.store(builder.select(ahead, grown, old), before)
            sums = builder.load(before)
            real = builder.icmp_signed("<", at, splat(builder, builder.trunc(count, I32)))
            chosen = builder.and_(builder.fcmp_ordered("<", sums, wants), real)
            unsure = builder.and_(
                builder.and_(builder.fcmp_ordered(">", sums, low), builder.fcmp_ordered("<", sums, high)), real
            )
            bits = builder.shl(builder.zext(builder.bitcast(chosen, I16), I64), first)
            doubt = builder.icmp_unsigned("!=", builder.bitcast(unsure, I16), I16(0))
            flag = builder.select(doubt, I64(1 << 62), I64(0))
            builder.store(builder.or_(builder.load(found), builder.or_(bits, flag)), found)
        return builder.load(found)

    return signature, generate
