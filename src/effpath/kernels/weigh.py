"""Linear layers and convolutions: choose the synapses of the active outputs of a batch; compiled.

A task is a range of output positions of the batch, cut into blocks. In a block the active (position, channel)
pairs are sorted by channel, so that one row of weights serves all of its positions. Inputs are read where they lie
if whole vectors of them lie side by side; else each position's are copied.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from effpath.kernels.active import list_pairs
from effpath.kernels.arguments import SLACK, Array, Pairs, Row, Task
from effpath.kernels.compiling import inner, kernel, part
from effpath.kernels.decide import decide, is_finite
from effpath.kernels.keep import grown, keep, nothing_kept, selected
from effpath.kernels.memory import address, copy_floats, hold, int_at, put_byte, put_float, put_word
from effpath.kernels.pick import scratch_in
from effpath.kernels.ranking import square_sum

LARGE = 3e38  # a scale from which on a product might overflow


class Patches(NamedTuple):
    """What each position of a block reads."""

    image: Array  # int64 [block], where it is
    position: Array  # int64 [block]
    group: Array  # int64 [block], the channel group that the rest is of; -1 for none yet
    source: Array  # int64 [block], address that its inputs are counted from
    norm: Array  # float64 [block], root of their sum of squares
    windows: Array  # int32 [block, most, 3], the runs of its row, see `Row`
    window_count: Array  # int64 [block]
    gaps: Array  # int64 [block], 1 where the runs leave gaps
    copies: Array  # float32 [block, padded K], where inputs are copied
    pixel_norm: Array  # float64 [B, pixels · groups], where they are not: sums of squares; negative for none yet


@inner
def patches_for(inputs, taps, weights, geometry, task):
    """Return room for what the positions of a block read."""
    block, positions, padded = task.block, geometry.positions, weights.rows.shape[1]
    in_place = len(taps.offsets) > 0
    pixels = inputs.x.shape[1] // geometry.inner
    pixel_norm = np.empty((len(inputs.x), pixels * geometry.groups if in_place else 0), np.float64)
    pixel_norm[task.first // positions : (task.last - 1) // positions + 1] = -1
    return Patches(
        np.empty(block, np.int64), np.empty(block, np.int64), np.empty(block, np.int64),
        np.empty(block, np.int64), np.empty(block, np.float64),
        np.zeros((block, geometry.taps if in_place else 1, 3), np.int32),
        np.zeros(block, np.int64), np.zeros(block, np.int64),
        np.zeros((1 if in_place else block, padded), np.float32), pixel_norm,
    )  # fmt: skip


@part
def read_in_place(local, group, inputs, taps, geometry, patches):
    """Find a position's runs where they lie; its norm is made of those of pixels, which are made once."""
    inner, span, image, position = geometry.inner, geometry.span, patches.image[local], patches.position[local]
    runs, windows, pixel_norm = taps.runs, patches.windows, patches.pixel_norm
    picture = address(inputs.x) + 4 * image * inputs.x.shape[1]
    origin, first = np.int64(taps.origins[position]), np.int64(taps.run_of[position])
    patches.source[local] = picture + 4 * (origin * inner + group * span)
    count = taps.run_of[position + 1] - first
    squares, covered = 0.0, 0
    for r in range(count):
        tap, at, length = np.int64(runs[first + r, 0]), np.int64(runs[first + r, 1]), np.int64(runs[first + r, 2])
        windows[local, r, 0] = tap * span // 16
        windows[local, r, 1] = (at - origin) * inner
        windows[local, r, 2] = length * span // 16
        covered += length
        for pixel in range(at, at + length):
            place = pixel * geometry.groups + group
            if pixel_norm[image, place] < 0:
                channels = picture + 4 * (pixel * inner + group * span)
                pixel_norm[image, place] = np.float64(square_sum(channels, span // 16))
            squares += pixel_norm[image, place]
    patches.window_count[local], patches.gaps[local] = count, 1 if covered < geometry.taps else 0
    patches.norm[local] = np.sqrt(squares)


@part
def read_copied(local, group, inputs, taps, geometry, patches):
    """Copy a position's inputs side by side, zeros where there are none."""
    inner, span, image, position = geometry.inner, geometry.span, patches.image[local], patches.position[local]
    picture = address(inputs.x) + 4 * image * inputs.x.shape[1]
    runs, padded = taps.runs, patches.copies.shape[1]
    patch = address(patches.copies) + 4 * local * padded
    patches.source[local] = patch
    for c in range(padded):
        put_float(patch, c, np.float32(0))
    for r in range(taps.run_of[position], taps.run_of[position + 1]):
        row = picture + 4 * (np.int64(runs[r, 1]) * inner + group * span)
        copy_floats(row, patch + 4 * np.int64(runs[r, 0]) * span, np.int64(runs[r, 2]) * span)
    patches.windows[local, 0, 2] = padded // 16
    patches.window_count[local], patches.gaps[local] = 1, 0
    patches.norm[local] = np.sqrt(np.float64(square_sum(patch, padded // 16)))


@inner
def order_by_channel(channel, count, order, counting):
    """Write the indices of the first ``count`` pairs, sorted by channel."""
    counting[:] = 0
    for j in range(count):
        counting[channel[j] + 1] += 1
    for c in range(len(counting) - 1):
        counting[c + 1] += counting[c]
    for j in range(count):
        c = channel[j]
        order[counting[c]] = j
        counting[c] += 1


@kernel
def weigh(inputs, outputs, taps, weights, guesses, geometry, criterion, task, use):
    """Choose the synapses of the active outputs of a linear layer or a convolution.

    Args:
        inputs, outputs, taps, weights, geometry, criterion, task, use: of these names in
            `effpath.kernels.arguments`.
        guesses: float32 [BINS], see `effpath.kernels.decide.decide`.

    Returns:
        `effpath.kernels.arguments.Selected`.
    """
    positions, channels, span, groups = geometry.positions, geometry.channels, geometry.span, geometry.groups
    tap_count, tap_stride, channel_stride = geometry.taps, geometry.tap_stride, geometry.channel_stride
    padded, per_group, width = weights.rows.shape[1], channels // groups, task.right - task.left
    vectors = padded // 16
    in_place, marked = len(taps.offsets) > 0, inputs.column >= 0
    same_mask = in_place and tap_stride == geometry.inner and channel_stride == 1
    value, norms, bias, tap_of, origins = outputs.value, weights.norms, weights.bias, taps.tap_of, taps.origins
    guesses_p, rows_p, taps_p = address(guesses), address(weights.rows), address(taps.taps)
    offsets_p = address(taps.offsets) if in_place else 0
    reached_p, reached_bytes = address(inputs.reached) + inputs.column, inputs.reached.shape[1]

    size = task.block * width
    pair_position, pair_channel = np.empty(size, np.int32), np.empty(size, np.int32)
    begins, lengths = np.empty(size, np.int64), np.empty(size, np.int32)
    pairs = Pairs(pair_position, pair_channel, begins, lengths)
    order, counting = np.empty(size, np.int32), np.empty(width + 1, np.int64)
    patches = patches_for(inputs, taps, weights, geometry, task)
    image_of, position_of, group_of, source_of = patches.image, patches.position, patches.group, patches.source
    norm_of, window_count, gaps = patches.norm, patches.window_count, patches.gaps
    windows_p, window_bytes = address(patches.windows), 12 * patches.windows.shape[1]
    buffer = np.zeros((5, padded + 64), np.float32)
    scratch = scratch_in(buffer)
    chosen = np.empty(1 << 14, np.int32)
    kept, finite = nothing_kept(len(inputs.x), use), True

    for start in range(task.first, task.last, task.block):
        block = Task(start, min(start + task.block, task.last), task.block, task.left, task.right)
        count = list_pairs(outputs, geometry, block, pairs)
        if count == 0:
            continue
        order_by_channel(pair_channel, count, order, counting)
        group_of[: block.last - start] = -1
        for local in range(block.last - start):
            image_of[local], position_of[local] = (start + local) // positions, (start + local) % positions
        filled = 0
        for turn in range(count):
            j = np.int64(order[turn])
            local, channel = np.int64(pair_position[j]), task.left + np.int64(pair_channel[j])
            image, position = image_of[local], position_of[local]
            group = channel // per_group if groups > 1 else 0
            if group_of[local] != group:
                group_of[local] = group
                if in_place:
                    read_in_place(local, group, inputs, taps, geometry, patches)
                else:
                    read_copied(local, group, inputs, taps, geometry, patches)
            row = Row(
                source_of[local], rows_p + 4 * channel * padded, windows_p + window_bytes * local,
                window_count[local], offsets_p, vectors, taps_p + 4 * position * tap_count, tap_count, span,
            )  # fmt: skip
            scale = norm_of[local] * np.float64(norms[channel])
            if not scale < LARGE:  # NaN, infinity, or a product that might overflow: look at each
                finite = finite and is_finite(row)
                scale = 0.0
            if filled + padded + SLACK > len(chosen):
                chosen = grown(chosen, filled, filled + padded + SLACK)
            into = address(chosen) + 4 * filled
            if gaps[local]:
                for word in range((vectors + 3) >> 2):
                    put_word(scratch.masks, word, 0)
            v = np.float64(value[image, position * channels + channel])
            own_bias = np.float64(bias[channel]) if len(bias) else 0.0
            taken = decide(row, v, False, own_bias, criterion, scale, guesses_p, scratch, into)
            if taken < 0:
                finite, taken = False, 0
            begins[j], lengths[j] = filled, taken
            filled += taken
            if marked:
                base = reached_p + image * reached_bytes
                if same_mask:
                    base += np.int64(origins[position]) * geometry.inner + group * span
                    for i in range(taken):
                        put_byte(base, int_at(offsets_p, int_at(into, i)), 1)
                else:
                    for i in range(taken):
                        k = int_at(into, i)
                        tap = int_at(row.positions, tap_of[k, 0])
                        put_byte(base, tap * tap_stride + (group * span + tap_of[k, 1]) * channel_stride, 1)
        kept = keep(use, geometry, block, pairs, count, chosen, kept)
    hold((patches.copies, patches.windows, buffer))
    return selected(kept, finite)
