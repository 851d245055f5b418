"""Operators whose outputs have few candidates, one input element per tap; compiled.

Poolings, sums of tensors, depthwise convolutions, products with attention weights.
"""

from __future__ import annotations

import numpy as np

from effpath.kernels.active import list_pairs
from effpath.kernels.arguments import SLACK, Pairs, Row, Task
from effpath.kernels.compiling import kernel, part
from effpath.kernels.decide import decide
from effpath.kernels.keep import grown, keep, nothing_kept, selected
from effpath.kernels.memory import address, float_at, hold, int_at, put_byte, put_int
from effpath.kernels.pick import scratch_in


@part
def choose_maximum(products, present, taps, all_ties, into):
    """Write the first of the largest inputs that are not padding, or all of them; their number."""
    count, best = 0, np.float32(0)
    for t in range(taps):
        if present[t] >= 0:
            c = products[t]
            if count == 0 or c > best:
                best = c
                put_int(into, 0, t)
                count = 1
            elif c == best and all_ties:
                put_int(into, count, t)
                count += 1
    return count


@kernel
def combine(operands, outputs, taps, factors, guesses, geometry, criterion, task, use):
    """Choose the synapses of the active outputs where each has few candidates.

    Args:
        operands, outputs, factors, geometry, criterion, task, use: of these names in `effpath.kernels.arguments`.
        taps: int32 [P, T] input positions; [outputs, T] elements where ``geometry.groups`` is 0; [0, 0] where
            tap t of output i is element i of operand t.
        guesses: float32 [BINS], see `effpath.kernels.decide.decide`.

    Returns:
        `effpath.kernels.arguments.Selected`.
    """
    positions, channels, groups, tap_count = geometry.positions, geometry.channels, geometry.groups, geometry.taps
    vectors, width = (tap_count + 15) // 16, task.right - task.left
    padded, per_group = vectors * 16, channels // groups if groups else channels
    tap_stride, aligned = geometry.tap_stride, len(taps) == 0
    value, pooled = outputs.value, outputs.value.shape[1] == 0
    addresses, strides, columns, starts = operands.addresses, operands.strides, operands.columns, operands.starts
    rows, coefficients, of_image, bias = factors.rows, factors.coefficients, factors.of_image, factors.bias
    guesses_p, reached_p, reached_bytes = address(guesses), address(operands.reached), operands.reached.shape[1]

    size = task.block * width
    pair_position, pair_channel = np.empty(size, np.int32), np.empty(size, np.int32)
    begins, lengths = np.empty(size, np.int64), np.empty(size, np.int32)
    pairs = Pairs(pair_position, pair_channel, begins, lengths)
    elements, reads = np.zeros(tap_count, np.int64), np.zeros(tap_count, np.int64)
    present = np.zeros(tap_count, np.int32)
    products, ones = np.zeros(padded, np.float32), np.ones(padded, np.float32)
    run, buffer = np.array([0, 0, vectors], np.int32), np.zeros((5, padded + 64), np.float32)
    scratch = scratch_in(buffer)
    row = Row(address(products), address(ones), address(run), 1, 0, vectors, address(present), tap_count, 1)
    chosen = np.empty(1 << 14, np.int32)
    kept, finite = nothing_kept(len(outputs.active), use), True

    for start in range(task.first, task.last, task.block):
        block = Task(start, min(start + task.block, task.last), task.block, task.left, task.right)
        count = list_pairs(outputs, geometry, block, pairs)
        filled = 0
        for j in range(count):
            q, channel = start + np.int64(pair_position[j]), task.left + np.int64(pair_channel[j])
            image, position = q // positions, q % positions
            output = position * channels + channel
            place = position  # of the output's row of coefficients and factors, in canonical order
            if groups == 0:
                place = channel * positions + position if geometry.channels_first else output
            group_at = channel // per_group * geometry.channel_stride if groups else 0
            squares = 0.0
            for t in range(tap_count):
                operand, element = 0, np.int64(output)  # that it reads; the element is negative for padding
                if aligned:
                    operand = t
                elif groups == 0:
                    element = np.int64(taps[output, t])
                    while element >= starts[operand + 1]:
                        operand += 1
                    element -= starts[operand]
                else:
                    element = np.int64(taps[position, t])
                present[t] = 0 if element >= 0 else -1
                c = np.float32(0)
                if element >= 0:
                    if groups:
                        element = element * tap_stride + group_at
                    reads[t], elements[t] = operand, element
                    c = float_at(addresses[operand] + 4 * image * strides[operand], element)
                    if len(rows):
                        c = c * rows[channel, t]
                    if coefficients.shape[1]:
                        c = c * coefficients[place if len(coefficients) > 1 else 0, t]
                    if of_image.shape[1]:
                        c = c * of_image[image, place * tap_count + t]
                    finite = finite and np.isfinite(c)
                products[t] = c
                squares += np.float64(c) * np.float64(c)
            if filled + padded + SLACK > len(chosen):
                chosen = grown(chosen, filled, filled + padded + SLACK)
            into = address(chosen) + 4 * filled
            if criterion.maximum:
                taken = choose_maximum(products, present, tap_count, criterion.all_ties, into)
            else:
                v = 0.0 if pooled else np.float64(value[image, output])
                own_bias = np.float64(bias[channel]) if len(bias) else 0.0
                scale = np.sqrt(squares) if tap_count > 16 and squares < 1e76 else 0.0
                taken = decide(row, v, pooled, own_bias, criterion, scale, guesses_p, scratch, into)
                if taken < 0:
                    finite, taken = False, 0
            begins[j], lengths[j] = filled, taken
            filled += taken
            for i in range(taken):
                k = int_at(into, i)
                if columns[reads[k]] >= 0:
                    put_byte(reached_p + image * reached_bytes + columns[reads[k]], elements[k], 1)
        kept = keep(use, geometry, block, pairs, count, chosen, kept)
    hold((products, ones, run, present, buffer))
    return selected(kept, finite)
