"""The walk's work on one operator over a batch, compiled for the CPU.

Activations and masks are channels last where the operator has channels: element (position, channel) of an image
lies at position · channels + channel. A task is a range of output positions of the batch, cut into blocks; in a
block of a linear layer or convolution the active (position, channel) pairs are sorted by channel, so that one row
of weights serves all of its positions.
"""

from __future__ import annotations

import numpy as np

from effpath.kernels.cpu_select import compiled, pick, pick_largest
from effpath.kernels.vector import (
    byte_at,
    copy_floats,
    copy_halves,
    copy_ints,
    float_at,
    float_bits,
    half_at,
    int_at,
    largest,
    or_byte,
    positive_total,
    prefetch,
    put_byte,
    put_float,
    put_int,
    put_word,
    square_sum,
    total,
    trailing_zeros,
    word_at,
)

BINS = 256  # of target ÷ scale, 4 an octave
FINE, NOT_FINITE = 0, 1
SUM, BIAS, LARGEST, LONE = 1, 2, 4, 8  # bits of a choice: target, bias as candidate, fallback, lone rule
MAXIMUM, ALL_TIES = 16, 32  # of a max pooling: the first of the largest, or all of them
COLLECT, SKIP, COMPARE, UNITE = 0, 1, 2, 3  # what is done with the chosen
SLACK = 16  # elements that a copy may overwrite behind its last


@compiled
def bin_of(ratio):
    """Quarter octave of a positive ratio, 0 … BINS - 1, the middle one at 1."""
    return min(max((float_bits(np.float32(ratio)) >> 21) - 508 + BINS // 2, 0), BINS - 1)


@compiled
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


@compiled
def list_pairs(active, shape, first, last, left, right, value, pair_at, pair_channel):
    """Write the active (position - first, channel - left) pairs of a block in storage order; their number.

    Their values, float32 [B, P · O] at an address (0: none), are fetched on the way.
    """
    positions, outputs, active_at = shape[0], shape[1], shape[8]
    width, pairs = right - left, 0
    for q in range(first, last):
        image, position = q // positions, q % positions
        at = position * outputs + left
        base = active.ctypes.data + image * active.shape[1] + active_at + at
        values = value + 4 * (image * positions * outputs + at)
        channel = next_active(base, 0, width)
        while channel < width:
            pair_at[pairs] = q - first
            pair_channel[pairs] = channel
            pairs += 1
            if value != 0:
                prefetch(values + 4 * channel)
            channel = next_active(base, channel + 1, width)
    return pairs


@compiled
def is_member(kind, one, other, slot):
    """Tell whether a set holds an id.

    Kind 0 is the empty set; 1 packed bits at the address ``one``; 2 rows, int64 starts at ``one`` and uint16 lows
    at ``other``; 3 sorted int64 ids at ``one``, ``other`` of them.
    """
    if kind == 1:
        return (byte_at(one, slot >> 3) >> (slot & 7)) & 1
    if kind == 2:
        low = slot & 65535
        begin, end = word_at(one, slot >> 16), word_at(one, (slot >> 16) + 1)
        while begin < end:
            middle = (begin + end) >> 1
            here = half_at(other, middle) & 65535
            if here == low:
                return 1
            if here < low:
                begin = middle + 1
            else:
                end = middle
    elif kind == 3:
        begin, end = 0, other
        while begin < end:
            middle = (begin + end) >> 1
            here = word_at(one, middle)
            if here == slot:
                return 1
            if here < slot:
                begin = middle + 1
            else:
                end = middle
    return 0


@compiled
def count_members(active, at, positions, channels, sets, hits):  # fmt: skip
    """Count the active outputs of each image, hits[:, 1], and those that its set holds, hits[:, 0].

    ``active`` is uint8 [B, …] with the mask from column ``at``, stored by (position, channel); ids are in
    canonical order.
    """
    for image in range(len(active)):
        base = active.ctypes.data + image * active.shape[1] + at
        for i in range(positions * channels):
            if byte_at(base, i) != 0:
                neuron = i % channels * positions + i // channels
                hits[image, 1] += 1
                hits[image, 0] += is_member(sets[image, 0], sets[image, 1], sets[image, 2], neuron)


@compiled
def finish(
    mode, sets, shape, first, left, pairs, pair_at, pair_channel, begins, lengths, chosen,
    neurons, counts, found, used, total_found, of_image, hits,
):  # fmt: skip
    """Keep the chosen of a block in storage order, or compare them with a set of each image, or unite them.

    Returns the arrays, grown where there was no room, and how much of them is used.
    """
    positions, outputs, candidates, channels_first = shape[0], shape[1], shape[10], shape[11]
    if mode == SKIP:
        return neurons, counts, found, used, total_found
    if mode == COLLECT:
        filled = 0
        for j in range(pairs):
            filled += lengths[j]
        if used + pairs > len(neurons):
            more = np.empty(max(used + pairs, 2 * len(neurons)), np.int32)
            more[:used] = neurons[:used]
            neurons = more
            more = np.empty(len(more), np.int32)
            more[:used] = counts[:used]
            counts = more
        if total_found + filled + SLACK > len(found):
            wider = np.empty(max(total_found + filled + SLACK, 2 * len(found)), found.dtype)
            wider[:total_found] = found[:total_found]
            found = wider
    found_p, chosen_p = found.ctypes.data, chosen.ctypes.data
    local, image, position, base = -1, 0, 0, 0
    for j in range(pairs):
        if pair_at[j] != local:
            local = pair_at[j]
            q = first + np.int64(local)
            image, position = q // positions, q % positions
            base = position * outputs + left
        begin, length = begins[j], np.int64(lengths[j])
        of_image[image] += 1
        if mode == COLLECT:
            neurons[used] = base + pair_channel[j]
            counts[used] = length
            used += 1
            if found.itemsize == 2:
                copy_halves(chosen_p + 4 * begin, found_p + 2 * total_found, length)
            else:
                copy_ints(chosen_p + 4 * begin, found_p + 4 * total_found, length)
            total_found += length
        else:
            kind, one, other = sets[image, 0], sets[image, 1], sets[image, 2]
            channel = left + pair_channel[j]
            slot = (
                channel * positions + position if channels_first else position * outputs + channel
            ) * candidates
            hits[image, 1] += length
            if mode == COMPARE:
                for i in range(begin, begin + length):
                    hits[image, 0] += is_member(kind, one, other, slot + chosen[i])
            else:
                for i in range(begin, begin + length):
                    at = slot + chosen[i]
                    or_byte(one + (at >> 3), 1 << (at & 7))
    return neurons, counts, found, used, total_found


@compiled
def decide(
    x, w, runs, run_count, offsets, vectors, v, pooled, bias, choice, theta, scale, guesses,
    taps, kernel, span, room, scratch, into,
):  # fmt: skip
    """Choose among the contributions x·w of one neuron of value v; -1 where the value is not finite.

    Args:
        x, w, runs, run_count, offsets, vectors: its row, see `pick`.
        v: its value; with ``pooled`` the sum of the contributions is taken instead.
        bias: of the neuron, 0 where there is none.
        choice: bits: target is the sum, bias is a candidate, fallback is the largest, lone.
        theta: θ.
        scale: what the guesses are relative to; 0 for no guess.
        guesses: address of float32 [BINS], smallest chosen value ÷ scale by target ÷ scale: learned as it goes.
        taps, kernel, span: the row's taps, for padding.
        room, scratch: see `pick`.
        into: where the candidates go.
    """
    if pooled:
        v = total(x, w, runs, run_count, 0)
    if not np.isfinite(v):
        return -1
    flip = 1 if v < 0 else 0
    if choice & LONE:
        inside = 0
        for t in range(kernel):
            if int_at(taps, t) >= 0:
                inside += span
        if inside > 0 and 1.0 / inside >= theta:
            k = pick_largest(
                x, w, runs, run_count, offsets, vectors, flip, taps, span, kernel * span, scratch
            )  # fmt: skip
            put_int(into, 0, k)
            return 1
    target = theta * total(x, w, runs, run_count, flip) if choice & SUM else theta * abs(v)
    own = 0.0
    if choice & BIAS:
        own = -bias if flip else bias
    if not target > 0:
        if choice & LARGEST:
            k = pick_largest(
                x, w, runs, run_count, offsets, vectors, flip, taps, span, kernel * span, scratch
            )  # fmt: skip
            put_int(into, 0, k)
            return 1 if k >= 0 else 0
        own = 0.0
        target = theta * positive_total(x, w, runs, run_count, flip)
        if not target > 0:
            return 0
    tau, place = 0.0, -1
    if scale > 0:
        ratio = target / scale
        if 0 < ratio < np.inf:
            place = bin_of(ratio)
            tau = 0.8 * scale * np.float64(float_at(guesses, place))
    count, smallest = pick(
        x, w, runs, run_count, offsets, vectors, flip, target - 1e-12 * target, own, tau, room, scratch, into
    )  # fmt: skip
    if smallest > 0 and place >= 0:
        guess = np.float64(float_at(guesses, place))
        put_float(guesses, place, np.float32(guess + (smallest / scale - guess) * 0.125))
    if count == 0 and choice & LARGEST and not largest(x, w, runs, run_count, flip) > 0:
        k = pick_largest(x, w, runs, run_count, offsets, vectors, flip, taps, span, kernel * span, scratch)
        put_int(into, 0, k)
        return 1 if k >= 0 else 0
    return count


@compiled
def weigh(
    x, value, active, reached, rows, norms, bias, taps, runs, run_of, tap_of, offsets, origins, guesses,
    shape, choice, theta, task, slots, mode, sets,
):  # fmt: skip
    """Choose the synapses of the active outputs of a linear layer or a convolution.

    Inputs are read where they lie if whole vectors of them lie side by side; else each position's are copied.

    Args:
        x: float32 [B, positions · channels], the input.
        value: float32 [B, P · O].
        active: uint8 [B, …], the mask of the outputs begins at column shape[8].
        reached: uint8 [B, …], the mask of the inputs begins at column shape[9].
        rows: float32 [O, padded K], weights in canonical order.
        norms: float32 [O], root of the sum of squares of each row.
        bias: float32 [O], or empty.
        taps: int32 [P, T], input position of each tap, negative for padding.
        runs: int32 [R, 3], taps whose inputs lie side by side: first tap, its input position, their number.
        run_of: int32 [P + 1], the runs of each position.
        tap_of: int32 [K, 2], tap and channel of each candidate.
        offsets: int32 [K], where the input of a candidate lies, from its position's origin; empty: copy.
        origins: int32 [P], input position that the offsets of a position count from.
        guesses: float32 [BINS], see `decide`.
        shape: int64: P, O, C, groups, T, tap stride and channel stride of the inputs' mask, channels of x,
            first column of the outputs' mask, of the inputs' mask (negative: do not mark), K, channels first.
        choice, theta: see `decide`.
        task: int64: first and last output position of the batch, block length, first and last channel.
        slots: an empty array of the dtype of the candidates in the result.
        mode, sets: what to do with the chosen, see `finish`.

    Returns:
        neurons int32 [N] (position · O + channel), counts int32 [N], candidates [ΣN], neurons of each image
        int64 [B], hits and synapses of each image int64 [B, 2], and a status.
    """
    positions, outputs, span, groups, kernel = shape[0], shape[1], shape[2], shape[3], shape[4]
    tap_stride, channel_stride, inner, reached_at = shape[5], shape[6], shape[7], shape[9]
    first, last, block, left, right = task[0], task[1], task[2], task[3], task[4]
    candidates, padded, per_group = kernel * span, rows.shape[1], outputs // groups
    vectors, width = padded // 16, right - left
    in_place = len(offsets) > 0
    row_bytes, x_bytes = 4 * padded, 4 * x.shape[1]
    pixels = x.shape[1] // inner
    same_mask = in_place and tap_stride == inner and channel_stride == 1

    pair_at, pair_channel = np.empty(block * width, np.int32), np.empty(block * width, np.int32)
    order, counting = np.empty(block * width, np.int32), np.empty(width + 1, np.int64)
    begins, lengths = np.empty(block * width, np.int64), np.empty(block * width, np.int32)
    patch_group, sources = np.empty(block, np.int64), np.empty(block, np.int64)
    image_of, position_of = np.empty(block, np.int64), np.empty(block, np.int64)
    patch_norm = np.empty(block, np.float64)
    pixel_norm = np.empty((len(x), pixels * groups if in_place else 0), np.float64)
    pixel_norm[first // positions : (last - 1) // positions + 1] = -1
    patches = np.zeros((1 if in_place else block, padded), np.float32)
    most = kernel if in_place else 1
    windows = np.zeros((block, most, 3), np.int32)
    window_count, gaps = np.zeros(block, np.int64), np.zeros(block, np.int64)
    room = padded + 64
    scratch = np.zeros(5 * room, np.float32)
    chosen = np.empty(1 << 14, np.int32)
    neurons, counts = np.empty(64, np.int32), np.empty(64, np.int32)
    found = np.empty(1024, slots.dtype)
    of_image, hits = np.zeros(len(x), np.int64), np.zeros((len(x), 2), np.int64)
    used, total_found, status = 0, 0, FINE
    x_p, taps_p, rows_p, guesses_p = x.ctypes.data, taps.ctypes.data, rows.ctypes.data, guesses.ctypes.data
    patches_p, windows_p, scratch_p = patches.ctypes.data, windows.ctypes.data, scratch.ctypes.data
    offset_p = offsets.ctypes.data if in_place else 0
    reached_p, reached_bytes = reached.ctypes.data + reached_at, reached.shape[1]
    marked = reached_at >= 0
    chosen_p = chosen.ctypes.data

    for start in range(first, last, block):
        stop = min(start + block, last)
        pairs = list_pairs(active, shape, start, stop, left, right, value.ctypes.data, pair_at, pair_channel)
        if pairs == 0:
            continue
        counting[:] = 0
        for j in range(pairs):
            counting[pair_channel[j] + 1] += 1
        for c in range(width):
            counting[c + 1] += counting[c]
        for j in range(pairs):
            c = pair_channel[j]
            order[counting[c]] = j
            counting[c] += 1
        patch_group[: stop - start] = -1
        for local in range(stop - start):
            image_of[local], position_of[local] = (start + local) // positions, (start + local) % positions
        filled = 0
        for turn in range(pairs):
            j = np.int64(order[turn])
            local, channel = np.int64(pair_at[j]), left + np.int64(pair_channel[j])
            image, position = image_of[local], position_of[local]
            group = channel // per_group if groups > 1 else 0
            tap_row = taps_p + 4 * position * kernel
            if patch_group[local] != group:
                patch_group[local] = group
                picture = x_p + image * x_bytes
                if in_place:
                    origin = np.int64(origins[position])
                    sources[local] = picture + 4 * (origin * inner + group * span)
                    squares, covered = 0.0, 0
                    window_count[local] = run_of[position + 1] - run_of[position]
                    for r in range(window_count[local]):
                        run = run_of[position] + r
                        tap, at, taps_here = np.int64(runs[run, 0]), np.int64(runs[run, 1]), np.int64(runs[run, 2])
                        windows[local, r, 0] = tap * span // 16
                        windows[local, r, 1] = (at - origin) * inner
                        windows[local, r, 2] = taps_here * span // 16
                        covered += taps_here
                        for pixel in range(at, at + taps_here):
                            place = pixel * groups + group
                            if pixel_norm[image, place] < 0:
                                pixel_norm[image, place] = np.float64(
                                    square_sum(picture + 4 * (pixel * inner + group * span), span // 16)
                                )
                            squares += pixel_norm[image, place]
                    gaps[local] = 1 if covered < kernel else 0
                    patch_norm[local] = np.sqrt(squares)
                else:
                    patch = patches_p + local * row_bytes
                    sources[local] = patch
                    for c in range(padded):
                        put_float(patch, c, np.float32(0))
                    for r in range(run_of[position], run_of[position + 1]):
                        row = picture + 4 * (np.int64(runs[r, 1]) * inner + group * span)
                        copy_floats(row, patch + 4 * np.int64(runs[r, 0]) * span, np.int64(runs[r, 2]) * span)
                    windows[local, 0, 2] = vectors
                    window_count[local], gaps[local] = 1, 0
                    patch_norm[local] = np.sqrt(np.float64(square_sum(patch, vectors)))
            source, w = sources[local], rows_p + channel * row_bytes
            scale = patch_norm[local] * np.float64(norms[channel])
            if not scale < 3e38:  # NaN, infinity, or a product that might overflow: look at each
                for k in range(candidates):
                    if int_at(tap_row, tap_of[k, 0]) >= 0:
                        c = float_at(source, int_at(offset_p, k) if in_place else k) * float_at(w, k)
                        if not np.isfinite(c):
                            status = NOT_FINITE
                scale = 0.0
            if filled + padded + SLACK > len(chosen):
                longer = np.empty(2 * len(chosen) + padded + SLACK, np.int32)
                longer[:filled] = chosen[:filled]
                chosen = longer
                chosen_p = chosen.ctypes.data
            into = chosen_p + 4 * filled
            if gaps[local]:
                for word in range((vectors + 3) >> 2):
                    put_word(scratch_p, word, 0)
            v = np.float64(value[image, position * outputs + channel])
            own = np.float64(bias[channel]) if len(bias) else 0.0
            count = decide(
                source, w, windows_p + 12 * local * most, window_count[local], offset_p, vectors,
                v, False, own, choice, theta, scale, guesses_p, tap_row, kernel, span,
                room, scratch_p, into,
            )  # fmt: skip
            if count < 0:
                status, count = NOT_FINITE, 0
            begins[j], lengths[j] = filled, count
            filled += count
            if marked:
                base = reached_p + image * reached_bytes
                if same_mask:
                    base += np.int64(origins[position]) * inner + group * span
                    for i in range(count):
                        put_byte(base, int_at(offset_p, int_at(into, i)), 1)
                else:
                    for i in range(count):
                        k = int_at(into, i)
                        tap = int_at(tap_row, tap_of[k, 0])
                        put_byte(base, tap * tap_stride + (group * span + tap_of[k, 1]) * channel_stride, 1)
        neurons, counts, found, used, total_found = finish(
            mode, sets, shape, start, left, pairs, pair_at, pair_channel, begins, lengths, chosen,
            neurons, counts, found, used, total_found, of_image, hits,
        )  # fmt: skip
    patches[0, 0], windows[0, 0, 0], scratch[0] = 0, 0, 0  # Numba frees an array after its last mention
    return neurons[:used], counts[:used], found[:total_found], of_image, hits, status


@compiled
def combine(
    bases, strides, splits, marks, taps, coefficients, factors, rows, value, active, reached, bias, guesses,
    shape, choice, theta, task, slots, mode, sets,
):  # fmt: skip
    """Choose where an output has few candidates, one input element a tap.

    Pooling by the mean, sums of tensors, depthwise convolutions, products with attention weights.

    Args:
        bases: int64 [n], addresses of the operands, float32 each.
        strides: int64 [n], elements of an image of each.
        splits: int64 [n + 1], where the operands begin in the tap table's numbering.
        marks: int64 [n], first column of each operand's mask in ``reached``, negative: do not mark.
        taps: int32 [P, T] input positions; [outputs, T] elements where shape[3] is 0; [0, 0] where tap t of
            output i is element i of operand t.
        coefficients: float32 [P or 1, T] or [0, 0].
        factors: float32 [B, P · T], of each image, or [B, 0].
        rows: float32 [O, T], weights, or [0, 0].
        value: float32 [B, P · O]; [B, 0] where the value is the sum of the contributions.

    The rest is as for `weigh`; shape[3] is 0 for a sum of operands, shape[4] is always T.
    """
    positions, outputs, groups, kernel = shape[0], shape[1], shape[3], shape[4]
    tap_stride, channel_stride = shape[5], shape[6]
    first, last, block = task[0], task[1], task[2]
    left, right = task[3], task[4]
    vectors = (kernel + 15) // 16
    padded, width = vectors * 16, right - left
    per_group = outputs // groups if groups else outputs
    aligned, pooled = len(taps) == 0, value.shape[1] == 0
    pair_at, pair_channel = np.empty(block * width, np.int32), np.empty(block * width, np.int32)
    begins, lengths = np.empty(block * width, np.int64), np.empty(block * width, np.int32)
    room = padded + 64
    scratch, products = np.zeros(5 * room, np.float32), np.zeros(padded, np.float32)
    ones = np.ones(padded, np.float32)
    elements, operands = np.zeros(kernel, np.int64), np.zeros(kernel, np.int64)
    present = np.zeros(kernel, np.int32)
    run = np.array([0, 0, vectors], np.int32)
    chosen = np.empty(1 << 14, np.int32)
    neurons, counts = np.empty(64, np.int32), np.empty(64, np.int32)
    found = np.empty(1024, slots.dtype)
    of_image, hits = np.zeros(len(active), np.int64), np.zeros((len(active), 2), np.int64)
    used, total_found, status = 0, 0, FINE
    products_p, ones_p, run_p, present_p = (
        products.ctypes.data, ones.ctypes.data, run.ctypes.data, present.ctypes.data,
    )  # fmt: skip
    guesses_p, scratch_p = guesses.ctypes.data, scratch.ctypes.data
    reached_p, reached_bytes = reached.ctypes.data, reached.shape[1]
    chosen_p = chosen.ctypes.data

    for start in range(first, last, block):
        stop = min(start + block, last)
        pairs = list_pairs(
            active, shape, start, stop, left, right, 0 if pooled else value.ctypes.data, pair_at, pair_channel
        )
        filled = 0
        for j in range(pairs):
            q, channel = start + np.int64(pair_at[j]), left + np.int64(pair_channel[j])
            image, position = q // positions, q % positions
            output = position * outputs + channel
            place = position  # of the output's row of coefficients and factors, in canonical order
            if groups == 0:
                place = channel * positions + position if shape[11] else output
            squares = 0.0
            for t in range(kernel):
                operand, element = 0, np.int64(output)
                if aligned:
                    operand = t
                elif groups == 0:
                    element = np.int64(taps[output, t])
                    while element >= splits[operand + 1]:
                        operand += 1
                    element -= splits[operand]
                else:
                    element = np.int64(taps[position, t])
                present[t] = 0 if element >= 0 else -1
                operands[t], elements[t] = operand, element
                c = np.float32(0)
                if element >= 0:
                    at = element
                    if groups:
                        at = element * tap_stride + channel // per_group * channel_stride
                    c = float_at(bases[operand] + 4 * image * strides[operand], at)
                    if len(rows):
                        c = c * rows[channel, t]
                    if coefficients.shape[1]:
                        c = c * coefficients[place if len(coefficients) > 1 else 0, t]
                    if factors.shape[1]:
                        c = c * factors[image, place * kernel + t]
                    if not np.isfinite(c):
                        status = NOT_FINITE
                products[t] = c
                squares += np.float64(c) * np.float64(c)
            if filled + padded + SLACK > len(chosen):
                longer = np.empty(2 * len(chosen) + padded + SLACK, np.int32)
                longer[:filled] = chosen[:filled]
                chosen = longer
                chosen_p = chosen.ctypes.data
            into = chosen_p + 4 * filled
            if choice & MAXIMUM:
                count, best = 0, np.float32(0)
                for t in range(kernel):
                    if present[t] >= 0:
                        c = products[t]
                        if count == 0 or c > best:
                            best = c
                            put_int(into, 0, t)
                            count = 1
                        elif c == best and choice & ALL_TIES:
                            put_int(into, count, t)
                            count += 1
            else:
                v = 0.0 if pooled else np.float64(value[image, output])
                own = np.float64(bias[channel]) if len(bias) else 0.0
                scale = np.sqrt(squares) if kernel > 16 and squares < 1e76 else 0.0
                count = decide(
                    products_p, ones_p, run_p, 1, 0, vectors, v, pooled, own, choice, theta, scale, guesses_p,
                    present_p, kernel, 1, room, scratch_p, into,
                )  # fmt: skip
                if count < 0:
                    status, count = NOT_FINITE, 0
            begins[j], lengths[j] = filled, count
            filled += count
            for i in range(count):
                k = int_at(into, i)
                operand, element = operands[k], elements[k]
                if marks[operand] >= 0:
                    at = element
                    if groups:
                        at = element * tap_stride + channel // per_group * channel_stride
                    put_byte(reached_p + image * reached_bytes + marks[operand], at, 1)
        neurons, counts, found, used, total_found = finish(
            mode, sets, shape, start, left, pairs, pair_at, pair_channel, begins, lengths, chosen,
            neurons, counts, found, used, total_found, of_image, hits,
        )  # fmt: skip
    products[0], scratch[0], ones[0] = 0, 0, 0  # Numba frees an array after its last mention
    run[0], present[0] = 0, 0
    return neurons[:used], counts[:used], found[:total_found], of_image, hits, status


@compiled
def choose_of_two(a, b, v, choice, theta):
    """Tell which of two contributions, float32, explain a value v; see `decide`."""
    c, d = (-np.float64(a), -np.float64(b)) if v < 0 else (np.float64(a), np.float64(b))
    target = theta * ((c + d) if choice & SUM else abs(v))
    lone = choice & LONE and theta <= 0.5
    if lone or (not (target > 0 and max(c, d) > 0) and choice & LARGEST):
        return c >= d, c < d
    if not target > 0:
        target = theta * (max(c, 0.0) + max(d, 0.0))
    wanted = target - 1e-12 * target
    if not wanted > 0:
        return False, False
    return c > 0 and (c >= d or d < wanted), d > 0 and (d > c or c < wanted)


@compiled
def add_two(
    one, other, value, active, reached, factor, other_factor, one_at, other_at, active_at,
    choice, theta, first, last,
):  # fmt: skip
    """Choose between the two operands of a plain sum, for the active outputs of images first … last - 1.

    Args:
        one, other, value: float32 [B, n], operands and result, stored alike.
        active, reached: uint8 [B, …], masks of the result (from column active_at) and of the operands (from
            columns one_at and other_at, negative: do not mark).
        factor, other_factor: float32, of the operands.
        choice, theta: see `decide`.

    Returns:
        A status.
    """
    size, status = value.shape[1], FINE
    for image in range(first, last):
        base = active.ctypes.data + image * active.shape[1] + active_at
        goal = reached.ctypes.data + image * reached.shape[1]
        ones, others = one.ctypes.data + 4 * image * size, other.ctypes.data + 4 * image * size
        values = value.ctypes.data + 4 * image * size
        i = next_active(base, 0, size)
        while i < size:
            a, b = float_at(ones, i) * factor, float_at(others, i) * other_factor
            v = np.float64(float_at(values, i))
            if np.isfinite(a) and np.isfinite(b) and np.isfinite(v):
                takes_a, takes_b = choose_of_two(a, b, v, choice, theta)
                if takes_a and one_at >= 0:
                    put_byte(goal, one_at + i, 1)
                if takes_b and other_at >= 0:
                    put_byte(goal, other_at + i, 1)
            else:
                status = NOT_FINITE
            i = next_active(base, i + 1, size)
    return status


@compiled
def push(active, reached, active_at, outputs, targets):
    """Make the elements that active outputs stand for active: output i stands for column targets[i], if any."""
    for image in range(len(active)):
        base = active.ctypes.data + image * active.shape[1] + active_at
        goal = reached.ctypes.data + image * reached.shape[1]
        i = next_active(base, 0, outputs)
        while i < outputs:
            if targets[i] >= 0:
                put_byte(goal, targets[i], 1)
            i = next_active(base, i + 1, outputs)
