"""Keep what was chosen, compare it with a set of each image, or unite it into one; compiled."""

from __future__ import annotations

import numpy as np

from effpath.kernels.arguments import BITS, COLLECT, COMPARE, IDS, ROWS, SKIP, SLACK, Kept, Selected
from effpath.kernels.compiling import inner, kernel
from effpath.kernels.memory import address, byte_at, copy_halves, copy_ints, half_at, or_byte, word_at


@inner
def is_member(form, one, other, slot):
    """Tell whether a set holds an id.

    Its form is EMPTY; BITS, packed at the address ``one``; ROWS, int64 starts at ``one`` and uint16 lows at
    ``other``; or IDS, sorted int64 at ``one``, ``other`` of them.
    """
    if form == BITS:
        return (byte_at(one, slot >> 3) >> (slot & 7)) & 1
    if form == ROWS:
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
    elif form == IDS:
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


@kernel
def count_members(active, column, positions, channels, sets, hits):
    """Count the active outputs of each image, hits[:, 1], and those that its set holds, hits[:, 0].

    ``active`` is uint8 [B, …] with the mask from a column on, stored by (position, channel); ids are in canonical
    order.
    """
    for image in range(len(active)):
        base = address(active) + image * active.shape[1] + column
        for i in range(positions * channels):
            if byte_at(base, i) != 0:
                neuron = i % channels * positions + i // channels
                hits[image, 1] += 1
                hits[image, 0] += is_member(sets[image, 0], sets[image, 1], sets[image, 2], neuron)


@inner
def grown(array, used, room):
    """Return an array of at least so much room, with what is used of the old one."""
    more = np.empty(max(room, 2 * len(array)), array.dtype)
    more[:used] = array[:used]
    return more


@inner
def nothing_kept(images, use):
    """Return room for what a task chooses."""
    return Kept(
        np.empty(64, np.int32), np.empty(64, np.int32), np.empty(1024, use.slots.dtype), 0, 0,
        np.zeros(images, np.int64), np.zeros((images, 2), np.int64),
    )  # fmt: skip


@inner
def keep(use, geometry, block, pairs, count, chosen, kept):
    """Keep the chosen of a block's pairs in storage order, or compare them with sets, or unite them; see `Use`.

    Returns what is kept so far, its arrays grown where there was no room.
    """
    if use.mode == SKIP:
        return kept
    pair_position, pair_channel, begins, lengths = pairs.position, pairs.channel, pairs.begins, pairs.lengths
    neurons, counts, candidates = kept.neurons, kept.counts, kept.candidates
    used, filled, of_image, hits = kept.used, kept.filled, kept.of_image, kept.hits
    if use.mode == COLLECT:
        coming = 0
        for j in range(count):
            coming += lengths[j]
        if used + count > len(neurons):
            neurons, counts = grown(neurons, used, used + count), grown(counts, used, used + count)
        if filled + coming + SLACK > len(candidates):
            candidates = grown(candidates, filled, filled + coming + SLACK)
    candidates_p, chosen_p = address(candidates), address(chosen)
    local, image, position, base = -1, 0, 0, 0
    for j in range(count):
        if pair_position[j] != local:
            local = pair_position[j]
            q = block.first + np.int64(local)
            image, position = q // geometry.positions, q % geometry.positions
            base = position * geometry.channels + block.left
        begin, length = begins[j], np.int64(lengths[j])
        of_image[image] += 1
        if use.mode == COLLECT:
            neurons[used] = base + pair_channel[j]
            counts[used] = length
            used += 1
            if candidates.itemsize == 2:
                copy_halves(chosen_p + 4 * begin, candidates_p + 2 * filled, length)
            else:
                copy_ints(chosen_p + 4 * begin, candidates_p + 4 * filled, length)
            filled += length
        else:
            form, one, other = use.sets[image, 0], use.sets[image, 1], use.sets[image, 2]
            channel = block.left + pair_channel[j]
            neuron = position * geometry.channels + channel
            if geometry.channels_first:
                neuron = channel * geometry.positions + position
            slot = neuron * geometry.candidates
            hits[image, 1] += length
            if use.mode == COMPARE:
                for i in range(begin, begin + length):
                    hits[image, 0] += is_member(form, one, other, slot + chosen[i])
            else:
                for i in range(begin, begin + length):
                    at = slot + chosen[i]
                    or_byte(one + (at >> 3), 1 << (at & 7))
    return Kept(neurons, counts, candidates, used, filled, of_image, hits)


@inner
def selected(kept, finite):
    """Return what is kept without the room that was not used."""
    return Selected(
        kept.neurons[: kept.used], kept.counts[: kept.used], kept.candidates[: kept.filled],
        kept.of_image, kept.hits, finite,
    )  # fmt: skip
