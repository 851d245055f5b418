"""Active outputs, one byte each: find them, list them, pass them on; compiled."""

from __future__ import annotations

from effpath.kernels.compiling import inner, kernel
from effpath.kernels.memory import address, byte_at, prefetch, put_byte, trailing_zeros, word_at


@inner
def next_active(base, at, end):
    """Index of the first non-zero byte behind an address in [at, end), ``end`` if there is none."""
    while at + 8 <= end:
        word = word_at(base + at, 0)
        if word != 0:
            return at + (trailing_zeros(word) >> 3)
        at += 8
    while at < end and byte_at(base, at) == 0:
        at += 1
    return at


@inner
def list_pairs(outputs, geometry, block, pairs):
    """Write the active pairs of a block and fetch their values, where there are some, on the way; their number."""
    pair_position, pair_channel = pairs.position, pairs.channel
    active, width, count = outputs.active, block.right - block.left, 0
    fetch = outputs.value.shape[1] > 0
    for q in range(block.first, block.last):
        image, position = q // geometry.positions, q % geometry.positions
        at = position * geometry.channels + block.left
        base = address(active) + image * active.shape[1] + outputs.column + at
        values = address(outputs.value) + 4 * (image * geometry.positions * geometry.channels + at)
        channel = next_active(base, 0, width)
        while channel < width:
            pair_position[count] = q - block.first
            pair_channel[count] = channel
            count += 1
            if fetch:
                prefetch(values + 4 * channel)
            channel = next_active(base, channel + 1, width)
    return count


@kernel
def push(active, reached, column, outputs, targets):
    """Make the elements that active outputs stand for active: output i stands for column targets[i], if any."""
    for image in range(len(active)):
        base = address(active) + image * active.shape[1] + column
        goal = address(reached) + image * reached.shape[1]
        i = next_active(base, 0, outputs)
        while i < outputs:
            if targets[i] >= 0:
                put_byte(goal, targets[i], 1)
            i = next_active(base, i + 1, outputs)
