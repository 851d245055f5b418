"""Settle which of one neuron's candidates are chosen, compiled: never sorts where a ranking or halves suffice.

It gives the sets of `effpath.kernels.reference`: a decision that the rounding of a sum could turn is made again in
the reference's own order. Arrays come as addresses.
"""

from __future__ import annotations

import numpy as np

from effpath.kernels.compiling import inner
from effpath.kernels.memory import float_at, int_at, put_float, put_int, trailing_zeros
from effpath.kernels.ranking import cut, down_to, sum_above

MARGIN = 1e-13  # relative; a sum of positive float64 is exact to much less
RANKED = 32  # candidates that `cut` ranks at once
UNSURE = 1 << 62


@inner
def settle_exactly(values: int, count: int, wanted: float, bias: float) -> tuple[float, int]:
    """Rank by sorting and add in that order, as the reference does; the last chosen (value, position)."""
    negative = np.empty(count, np.float64)
    for i in range(count):
        negative[i] = -np.float64(float_at(values, i))
    order = np.argsort(negative, kind="mergesort")
    running, last_value, last = 0.0, np.inf, -1
    waiting = bias > 0
    for i in order:
        c = -negative[i]
        if waiting and bias > c:
            if running >= wanted:
                break
            running += bias
            waiting = False
        if running >= wanted:
            break
        running += c
        last_value, last = c, i
    return last_value, last


@inner
def settle_many(values, count, total, wanted, bias, work, at):
    """Choose among any number of candidates by halving: the last chosen (value, position), (inf, -1) for none.

    ``total`` is their sum; ``work`` and ``at`` have room for all of them and a vector more.
    """
    for i in range(count):
        put_float(work, i, float_at(values, i))
        put_int(at, i, i)
    m, base, waiting, rest = count, 0.0, bias, total
    while m > RANKED:
        for i in range(m, ((m + 15) >> 4) << 4):
            put_float(work, i, np.float32(0))
        pivot = np.float32(rest / m)
        above = sum_above(work, (m + 15) >> 4, pivot)
        bias_above = waiting > np.float64(pivot)
        reached = base + above + (waiting if bias_above else 0.0)
        if abs(reached - wanted) <= MARGIN * (wanted + reached):
            return settle_exactly(values, count, wanted, bias)
        keep_larger = reached > wanted
        if bias_above != keep_larger:
            waiting = 0.0
        kept = 0
        for i in range(m):  # without a branch: which side a value falls on cannot be predicted
            c = float_at(work, i)
            put_float(work, kept, c)
            put_int(at, kept, int_at(at, i))
            kept += 1 if (c > pivot) == keep_larger else 0
        if kept == m or kept == 0:
            return settle_exactly(values, count, wanted, bias)
        rest = above if keep_larger else rest - above
        if not keep_larger:
            base = reached
        m = kept
    bits = cut(work, m, wanted, base, waiting)
    if bits & UNSURE:
        return settle_exactly(values, count, wanted, bias)
    last_value, last = np.inf, -1
    if bits == 0:  # all that was put aside is chosen: what is larger than the rest
        top = 0.0
        for i in range(m):
            top = max(top, np.float64(float_at(work, i)))
        for i in range(count):
            c = np.float64(float_at(values, i))
            if c > top and c <= last_value:
                last_value, last = c, i
        return last_value, last
    for i in range(m):
        if bits >> i & 1:
            c = np.float64(float_at(work, i))
            if c <= last_value:
                last_value, last = c, int_at(at, i)
    return last_value, last


@inner
def settle(values, index, count, total, wanted, bias, work, at, chosen):
    """Write the chosen candidates' indices, ascending; their number and the smallest chosen value (0 if none)."""
    if count == 0:
        return 0, 0.0
    taken, smallest = 0, np.inf
    if count <= RANKED:
        bits = cut(values, count, wanted, 0.0, bias)
        if not bits & UNSURE:
            while bits != 0:
                i = trailing_zeros(bits)
                bits &= bits - 1
                smallest = min(smallest, np.float64(float_at(values, i)))
                put_int(chosen, taken, int_at(index, i))
                taken += 1
            return taken, (smallest if taken else 0.0)
        last_value, last = settle_exactly(values, count, wanted, bias)
    else:
        last_value, last = settle_many(values, count, total, wanted, bias, work, at)
    for first in range(0, count, 16):
        bits = down_to(values + 4 * first, count - first, np.float32(last_value), last - first)
        while bits != 0:
            put_int(chosen, taken, int_at(index, first + trailing_zeros(bits)))
            bits &= bits - 1
            taken += 1
    return taken, (last_value if taken else 0.0)
