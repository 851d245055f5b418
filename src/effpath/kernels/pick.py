"""Pick among the contributions of one neuron, compiled: predict a cut, scan once, settle what lies above exactly.

Rows are float32, padded with zeros to whole vectors; all arrays come as addresses.
"""

from __future__ import annotations

import numpy as np

from effpath.kernels.arguments import Scratch
from effpath.kernels.compiling import inner, part
from effpath.kernels.contributions import largest, scan
from effpath.kernels.memory import (
    address,
    bits_float,
    float_at,
    float_bits,
    int_at,
    put_float,
    put_int,
    trailing_zeros,
    word_at,
)
from effpath.kernels.settle import MARGIN, settle


@inner
def scratch_in(buffer):
    """Cut a buffer, float32 [5, room] of zeros, into the arrays that `pick` works in."""
    begin, room = address(buffer), 4 * buffer.shape[1]
    return Scratch(begin, begin + room, begin + 2 * room, begin + 3 * room, begin + 4 * room)


@inner
def contribution(row, k, flip):
    """Contribution of candidate k, its sign turned where ``flip`` is 1."""
    c = float_at(row.x, int_at(row.offsets, k) if row.offsets != 0 else k) * float_at(row.w, k)
    return -c if flip else c


@part
def gather(row, flip, scratch):
    """Collect the contributions whose bit is set in the masks: values, indices, their number and float64 sum."""
    if row.run_count == 0:  # all padding
        return 0, 0.0
    words, inside = (row.vectors + 3) >> 2, int_at(row.runs, 0) << 4
    count, found, word, bits = 0, 0.0, 0, word_at(scratch.masks, 0)
    while word < words:  # without a branch on the bits, which cannot be predicted
        some = 1 if bits != 0 else 0
        k = ((word << 6) + trailing_zeros(bits)) * some + inside * (1 - some)  # always one that can be read
        c = contribution(row, k, flip)
        put_float(scratch.values, count, c)
        put_int(scratch.indices, count, k)
        found += np.float64(c) * some
        count += some
        following = word_at(scratch.masks, word + 1)
        word += 1 - some
        bits = bits & (bits - 1) if some else following
    return count, found


@part
def pick(row, flip, wanted, bias, tau, scratch, chosen):
    """Choose the smallest set of contributions that reaches ``wanted``; all positive ones if none does.

    Args:
        row: see `effpath.kernels.arguments.Row`.
        flip: 1 where the signs are to be turned.
        wanted: the target less its tolerance, positive.
        bias: ranked among the contributions where it is positive.
        tau: guess of the smallest chosen value; changes the time, never the result.
        scratch: see `effpath.kernels.arguments.Scratch`.
        chosen: address of int32, where the indices go, ascending.

    Returns:
        Their number, and the smallest chosen value (0 where it says nothing about tau).
    """
    tries, tau = 0, np.float64(np.float32(tau))  # as the scan sees it
    while True:
        approximate = np.float64(scan(row.x, row.w, row.runs, row.run_count, flip, np.float32(tau), scratch.masks))
        ranked = bias if bias > tau else 0.0
        if tau > 0 and approximate + ranked < wanted * 0.999999:
            tries += 1
            tau = np.float64(np.float32(tau * 0.4)) if tries < 3 else 0.0
            continue
        count, exact = gather(row, flip, scratch)
        if tau > 0 and exact + ranked < wanted * (1 + MARGIN):
            tries += 1
            tau = np.float64(np.float32(tau * 0.4)) if tries < 3 else 0.0
            continue
        break
    if exact + ranked < wanted * (1 - MARGIN):  # tau is 0: nothing reaches it
        for i in range(count):
            put_int(chosen, i, int_at(scratch.indices, i))
        return count, 0.0
    return settle(scratch.values, scratch.indices, count, exact, wanted, bias, scratch.work, scratch.at, chosen)


@inner
def pick_largest(row, flip, masks):
    """Index of the largest contribution that is not padding, ties to the lower; -1 where all are padding."""
    top = largest(row.x, row.w, row.runs, row.run_count, flip)
    if top > 0:
        below = bits_float(float_bits(top) - 1)
        scan(row.x, row.w, row.runs, row.run_count, flip, below, masks)
        for word in range((row.vectors + 3) >> 2):
            bits = word_at(masks, word)
            if bits != 0:
                return (word << 6) + trailing_zeros(bits)
    best, found = np.float32(-np.inf), -1
    for t in range(row.taps):
        if int_at(row.positions, t) >= 0:
            for k in range(t * row.span, (t + 1) * row.span):
                c = contribution(row, k, flip)
                if found < 0 or c > best:
                    best, found = c, k
    return found
