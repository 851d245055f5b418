"""Decide which contributions explain the value of one neuron: target, bias, fallback, lone rule; compiled."""

from __future__ import annotations

import numpy as np

from effpath.kernels.arguments import BINS
from effpath.kernels.compiling import inner, part
from effpath.kernels.contributions import largest, positive_total, total
from effpath.kernels.memory import float_at, float_bits, int_at, put_float, put_int
from effpath.kernels.pick import contribution, pick, pick_largest


@inner
def bin_of(ratio):
    """Quarter octave of a positive ratio, 0 … BINS - 1, the middle one at 1."""
    return min(max((float_bits(np.float32(ratio)) >> 21) - 508 + BINS // 2, 0), BINS - 1)


@part
def is_lone(row, theta):
    """Tell whether one candidate is a share of θ or more of all of them."""
    inside = 0
    for t in range(row.taps):
        if int_at(row.positions, t) >= 0:
            inside += row.span
    return inside > 0 and 1.0 / inside >= theta


@inner
def is_finite(row):
    """Tell whether no contribution that is not padding is NaN or infinite."""
    for t in range(row.taps):
        if int_at(row.positions, t) >= 0:
            for k in range(t * row.span, (t + 1) * row.span):
                if not np.isfinite(contribution(row, k, 0)):
                    return False
    return True


@part
def reach(row, v, bias, criterion, scale, guesses, scratch, into):
    """Choose the contributions that reach the target; -1 where the fallback, the largest alone, is to be taken."""
    flip, theta = 1 if v < 0 else 0, criterion.theta
    target = theta * abs(v)
    if criterion.of_sum:
        target = theta * total(row.x, row.w, row.runs, row.run_count, flip)
    ranked = 0.0
    if criterion.ranks_bias:
        ranked = -bias if flip else bias
    if not target > 0:
        if criterion.falls_to_largest:
            return -1
        ranked = 0.0
        target = theta * positive_total(row.x, row.w, row.runs, row.run_count, flip)
        if not target > 0:
            return 0
    tau, place = 0.0, -1
    if scale > 0:
        ratio = target / scale
        if 0 < ratio < np.inf:
            place = bin_of(ratio)
            tau = 0.8 * scale * np.float64(float_at(guesses, place))
    count, smallest = pick(row, flip, target - 1e-12 * target, ranked, tau, scratch, into)
    if smallest > 0 and place >= 0:
        guess = np.float64(float_at(guesses, place))
        put_float(guesses, place, np.float32(guess + (smallest / scale - guess) * 0.125))
    if count == 0 and criterion.falls_to_largest and not largest(row.x, row.w, row.runs, row.run_count, flip) > 0:
        return -1
    return count


@part
def decide(row, v, pooled, bias, criterion, scale, guesses, scratch, into):
    """Choose among the contributions of one neuron of value v; -1 where the value is not finite.

    Args:
        row: see `effpath.kernels.arguments.Row`.
        v: its value; with ``pooled`` the sum of the contributions is taken instead.
        bias: of the neuron, 0 where there is none.
        criterion: see `effpath.kernels.arguments.Criterion`.
        scale: what the guesses are relative to; 0 for no guess.
        guesses: address of float32 [BINS], smallest chosen value ÷ scale by target ÷ scale: learned as it goes.
        scratch: see `effpath.kernels.arguments.Scratch`.
        into: address of int32, where the chosen candidates go.

    Returns:
        Their number.
    """
    if pooled:
        v = total(row.x, row.w, row.runs, row.run_count, 0)
    if not np.isfinite(v):
        return -1
    if not (criterion.lone and is_lone(row, criterion.theta)):
        count = reach(row, v, bias, criterion, scale, guesses, scratch, into)
        if count >= 0:
            return count
    k = pick_largest(row, 1 if v < 0 else 0, scratch.masks)
    put_int(into, 0, k)
    return 1 if k >= 0 else 0
