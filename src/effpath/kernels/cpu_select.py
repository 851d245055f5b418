"""Selection for one neuron, compiled: predict a cut, scan once, settle what lies above it exactly.

Never sorts, but gives the sets of `effpath.kernels.reference`: a decision that the rounding of a sum could turn is
made again in the reference's own order. Rows are float32, padded with zeros to whole vectors; all arrays come as
addresses.
"""

from __future__ import annotations

import numpy as np

from effpath.kernels.compiling import compiled_with
from effpath.kernels.vector import (
    bits_float,
    cut,
    down_to,
    float_at,
    float_bits,
    int_at,
    largest,
    put_float,
    put_int,
    scan,
    sum_above,
    trailing_zeros,
    word_at,
)

compiled = compiled_with(error_model="numpy")
MARGIN = 1e-13  # relative; a sum of positive float64 is exact to much less
RANKED = 32  # candidates that `cut` ranks at once
UNSURE = 1 << 62


@compiled
def gather(x, w, offsets, vectors, flip, masks, values, index):
    """Collect the contributions whose bit is set: values, indices, their number and float64 sum.

    The input of candidate k lies ``offsets[k]`` floats behind x (int32; address 0: k itself).
    """
    words = (vectors + 3) >> 2
    count, found, word, bits = 0, 0.0, 0, word_at(masks, 0)
    while word < words:  # without a branch on the bits, which cannot be predicted
        some = 1 if bits != 0 else 0
        k = ((word << 6) + trailing_zeros(bits)) * some
        c = float_at(x, int_at(offsets, k) if offsets != 0 else k) * float_at(w, k)
        c = -c if flip else c
        put_float(values, count, c)
        put_int(index, count, k)
        found += np.float64(c) * some
        count += some
        following = word_at(masks, word + 1)
        word += 1 - some
        bits = bits & (bits - 1) if some else following
    return count, found


@compiled
def settle_exactly(values: int, count: int, wanted: float, bias: float) -> tuple[float, int]:
    """Rank by sorting and add in that order, as the reference does; the last chosen (value, position)."""
    own = np.empty(count, np.float64)
    for i in range(count):
        own[i] = -np.float64(float_at(values, i))
    order = np.argsort(own, kind="mergesort")
    running, last_value, last = 0.0, np.inf, -1
    waiting = bias > 0
    for i in order:
        c = -own[i]
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


@compiled
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


@compiled
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


@compiled
def pick(x, w, runs, run_count, offsets, vectors, flip, wanted, bias, tau, room, scratch, chosen):
    """Choose the smallest set of contributions x·w that reaches ``wanted``; all positive ones if none does.

    Args:
        x, w, runs, run_count: a row, see `effpath.kernels.vector`.
        offsets: see `gather`.
        vectors: of the weights' row.
        flip: 1 where the signs are to be turned.
        wanted: the target less its tolerance, positive.
        bias: ranked among the contributions where it is positive.
        tau: guess of the smallest chosen value; changes the time, never the result.
        room, scratch: five arrays of ``room`` 4-byte elements, more than a row has; the first is zero where the
            runs leave gaps.
        chosen: where the indices go, ascending.

    Returns:
        Their number, and the smallest chosen value (0 where it says nothing about tau).
    """
    masks, values, index = scratch, scratch + 4 * room, scratch + 8 * room
    work, at = scratch + 12 * room, scratch + 16 * room
    tries, tau = 0, np.float64(np.float32(tau))  # as the scan sees it
    while True:
        approximate = np.float64(scan(x, w, runs, run_count, flip, np.float32(tau), masks))
        own = bias if bias > tau else 0.0
        if tau > 0 and approximate + own < wanted * 0.999999:
            tries += 1
            tau = np.float64(np.float32(tau * 0.4)) if tries < 3 else 0.0
            continue
        count, exact = gather(x, w, offsets, vectors, flip, masks, values, index)
        if tau > 0 and exact + own < wanted * (1 + MARGIN):
            tries += 1
            tau = np.float64(np.float32(tau * 0.4)) if tries < 3 else 0.0
            continue
        break
    if exact + own < wanted * (1 - MARGIN):  # tau is 0: nothing reaches it
        for i in range(count):
            put_int(chosen, i, int_at(index, i))
        return count, 0.0
    return settle(values, index, count, exact, wanted, bias, work, at, chosen)


@compiled
def pick_largest(x, w, runs, run_count, offsets, vectors, flip, taps, span, count, masks):
    """Index of the largest contribution that is not padding, ties to the lower; -1 where all are padding.

    ``taps`` are the int32 input positions of the row's taps, negative for padding, ``span`` candidates each.
    """
    top = largest(x, w, runs, run_count, flip)
    if top > 0:
        below = bits_float(float_bits(top) - 1)
        scan(x, w, runs, run_count, flip, below, masks)
        for word in range((vectors + 3) >> 2):
            bits = word_at(masks, word)
            if bits != 0:
                return (word << 6) + trailing_zeros(bits)
    best, found = np.float32(-np.inf), -1
    for t in range(count // span):
        if int_at(taps, t) >= 0:
            for k in range(t * span, (t + 1) * span):
                c = float_at(x, int_at(offsets, k) if offsets != 0 else k) * float_at(w, k)
                c = -c if flip else c
                if found < 0 or c > best:
                    best, found = c, k
    return found
