"""Loops over the two forms of a set of ids, rows and bits. Compiled at first use: import this only there.

Rows: the ids of each chunk of 2^16 together. ``starts`` int64 [chunks + 1], ``lows`` uint16 [n]: chunk c holds
the ids c · 2^16 + lows[starts[c]:starts[c + 1]], ascending. Bits: ``words`` uint64 [⌈size / 64⌉], lowest first.

Arrays are contiguous and of the types named, and ids lie in the universe unless the docstring says "any integer";
nothing is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from effpath.kernels.compiling import compiled_with

Ids = NDArray[np.int64]
Lows = NDArray[np.uint16]
Words = NDArray[np.uint64]
Counts = NDArray[np.uint32]
Mask = NDArray[np.bool_]
Rows = tuple[Ids, Lows]

CHUNK_BITS = 16
CHUNK = 1 << CHUNK_BITS
ONE = np.uint64(1)
TOGETHER = 32  # searches done in step, so that they wait for memory together


compiled = compiled_with()


@intrinsic  # type: ignore[untyped-decorator]
def bit_count(_: Any, word: Any) -> Any:
    """Count the bits that are set: one machine instruction, vectorised in loops."""
    return types.uint64(types.uint64), lambda context, builder, signature, words: builder.ctpop(words[0])


@compiled
def lowest(word: Any) -> Any:
    """Position of the lowest bit that is set; 64 for none."""
    return np.int64(bit_count((word - ONE) & ~word))


@compiled
def rows_of_sorted(ids: Ids, chunks: int) -> Rows:
    """Rows of ids that are sorted and unique."""
    starts = np.zeros(chunks + 1, np.int64)
    lows = np.empty(len(ids), np.uint16)
    for i in range(len(ids)):
        starts[(ids[i] >> CHUNK_BITS) + 1] += 1
        lows[i] = ids[i] & (CHUNK - 1)
    for c in range(chunks):
        starts[c + 1] += starts[c]
    return starts, lows


@compiled
def group(ids: Ids, weights: Counts, chunks: int) -> tuple[Ids, Lows, Counts]:
    """Rows of ids in any order, repeats kept, no row sorted; the weights, one an id or none, in the same order."""
    starts = np.zeros(chunks + 1, np.int64)
    for i in range(len(ids)):
        starts[(ids[i] >> CHUNK_BITS) + 1] += 1
    for c in range(chunks):
        starts[c + 1] += starts[c]
    at = starts[:-1].copy()
    lows = np.empty(len(ids), np.uint16)
    moved = np.empty_like(weights)
    for i in range(len(ids)):
        place = at[ids[i] >> CHUNK_BITS]
        at[ids[i] >> CHUNK_BITS] += 1
        lows[place] = ids[i] & (CHUNK - 1)
        if len(weights):
            moved[place] = weights[i]
    return starts, lows, moved


@compiled
def mark(low: Any, words: Words, used: Words) -> None:
    """Set a bit of a chunk, and the bit of ``used`` that says which word it is in."""
    words[low >> 6] |= ONE << np.uint64(low & 63)
    used[low >> 12] |= ONE << np.uint64((low >> 6) & 63)


@compiled
def take(lows: Lows, at: Any, words: Words, used: Words) -> Any:
    """Write the marked lows, ascending, from ``lows[at]`` on; unmark them; return where they end."""
    for g in range(len(used)):
        touched = used[g]
        used[g] = 0
        while touched:
            w = (g << 6) + lowest(touched)
            touched &= touched - ONE
            word = words[w]
            words[w] = 0
            while word:
                lows[at] = (w << 6) + lowest(word)
                word &= word - ONE
                at += 1
    return at


@compiled
def sort_rows(starts: Ids, lows: Lows) -> Rows:
    """Sort each row and drop its repeats, without comparing."""
    made_starts, made = np.zeros(len(starts), np.int64), np.empty(len(lows), np.uint16)
    words, used = np.zeros(CHUNK // 64, np.uint64), np.zeros(CHUNK // 4096, np.uint64)
    at = np.int64(0)  # of one type with what take returns
    for c in range(len(starts) - 1):
        for i in range(starts[c], starts[c + 1]):
            mark(np.int64(lows[i]), words, used)
        if starts[c] < starts[c + 1]:
            at = take(made, at, words, used)
        made_starts[c + 1] = at
    return made_starts, made[:at].copy()


@compiled
def count_rows(
    starts: Ids, lows: Lows, counts: Counts, more_starts: Ids, more: Lows, weights: Counts
) -> tuple[Ids, Lows, Counts]:
    """Add to counted rows what `group` gave, each id once for each time it appears, or by its weight."""
    made_starts = np.zeros(len(starts), np.int64)
    made, made_counts = np.empty(len(lows) + len(more), np.uint16), np.empty(len(lows) + len(more), np.uint32)
    words, used = np.zeros(CHUNK // 64, np.uint64), np.zeros(CHUNK // 4096, np.uint64)
    tally = np.zeros(CHUNK, np.uint32)
    at = np.int64(0)
    for c in range(len(starts) - 1):
        for i in range(starts[c], starts[c + 1]):
            mark(np.int64(lows[i]), words, used)
            tally[lows[i]] = counts[i]
        for i in range(more_starts[c], more_starts[c + 1]):
            mark(np.int64(more[i]), words, used)
            tally[more[i]] += weights[i] if len(weights) else np.uint32(1)
        begin, at = at, take(made, at, words, used)
        for i in range(begin, at):
            made_counts[i] = tally[made[i]]
            tally[made[i]] = 0
        made_starts[c + 1] = at
    return made_starts, made[:at].copy(), made_counts[:at].copy()


@compiled
def count_dense(counters: Counts, ids: Ids, weights: Counts) -> None:
    """Add to one counter an id: 1, or the weight, for each time an id appears."""
    for i in range(len(ids)):
        counters[ids[i]] += weights[i] if len(weights) else np.uint32(1)


@compiled
def ids_of_rows(starts: Ids, lows: Lows) -> Ids:
    """All ids, ascending."""
    ids = np.empty(len(lows), np.int64)
    for c in range(len(starts) - 1):
        for i in range(starts[c], starts[c + 1]):
            ids[i] = (c << CHUNK_BITS) + lows[i]
    return ids


@compiled
def ids_of_bits(words: Words, length: int) -> Ids:
    """All ids, ascending; ``length`` of them."""
    ids = np.empty(length, np.int64)
    at = 0
    for w in range(len(words)):
        word = words[w]
        while word:
            ids[at] = (w << 6) + lowest(word)
            word &= word - ONE
            at += 1
    return ids


@compiled
def rows_of_bits(words: Words, length: int, chunks: int) -> Rows:
    """Rows of the ids whose bits are set; ``length`` of them."""
    starts, lows = np.zeros(chunks + 1, np.int64), np.empty(length, np.uint16)
    at = 0
    for c in range(chunks):
        first = c * (CHUNK // 64)
        for w in range(first, min(first + CHUNK // 64, len(words))):
            word = words[w]
            while word:
                lows[at] = ((w - first) << 6) + lowest(word)
                word &= word - ONE
                at += 1
        starts[c + 1] = at
    return starts, lows


@compiled
def set_bits(words: Words, ids: Ids) -> None:
    """Set the bits of ids in any order."""
    for i in range(len(ids)):
        words[ids[i] >> 6] |= ONE << np.uint64(ids[i] & 63)


@compiled
def write_rows(words: Words, starts: Ids, lows: Lows, value: bool) -> None:
    """Set the bits of rows, or clear them."""
    for c in range(len(starts) - 1):
        first = c * (CHUNK // 64)
        for i in range(starts[c], starts[c + 1]):
            bit = ONE << np.uint64(lows[i] & 63)
            if value:
                words[first + (lows[i] >> 6)] |= bit
            else:
                words[first + (lows[i] >> 6)] &= ~bit


@compiled
def count_bits(words: Words, other: Words) -> Any:
    """Count the bits that are set in both."""
    count = np.int64(0)
    for w in range(len(words)):
        count += np.int64(bit_count(words[w] & other[w]))
    return count


@compiled
def ids_in_bits(words: Words, ids: Ids, size: int) -> Mask:
    """Tell for each id, any integer, whether its bit is set."""
    inside = np.empty(len(ids), np.bool_)
    for i in range(len(ids)):
        known = 0 <= ids[i] < size
        w = ids[i] >> 6 if known else 0
        inside[i] = known and (words[w] >> np.uint64(ids[i] & 63)) & ONE
    return inside


@compiled
def ids_in_rows(starts: Ids, lows: Lows, ids: Ids, size: int) -> Mask:
    """Tell for each id, any integer in any order, whether the rows have it: binary searches, many in step."""
    inside = np.zeros(len(ids), np.bool_)
    if not len(lows):
        return inside
    at, left = np.zeros(TOGETHER, np.int64), np.zeros(TOGETHER, np.int64)
    wanted = np.zeros(TOGETHER, np.uint16)
    for begin in range(0, len(ids), TOGETHER):
        some = min(TOGETHER, len(ids) - begin)
        most = 0
        for k in range(some):
            i = ids[begin + k]
            at[k], left[k], wanted[k] = 0, 0, i & (CHUNK - 1)
            if 0 <= i < size:
                row = starts[i >> CHUNK_BITS]
                length = starts[(i >> CHUNK_BITS) + 1] - row
                at[k], left[k] = row if length else 0, length
                most = max(most, length)
        while most > 1:
            for k in range(some):
                half = left[k] >> 1
                at[k] += half if lows[at[k] + half] <= wanted[k] else 0
                left[k] -= half
            most -= most >> 1
        for k in range(some):
            inside[begin + k] = left[k] > 0 and lows[at[k]] == wanted[k]
    return inside


@compiled
def rows_in_rows(starts: Ids, lows: Lows, other_starts: Ids, other: Lows) -> Mask:
    """Tell for each member of the first set whether it is one of the second."""
    inside = np.zeros(len(lows), np.bool_)
    stamps, stamp = np.zeros(CHUNK, np.uint8), 0  # a new stamp a chunk, so that they are rarely cleared
    for c in range(len(starts) - 1):
        if starts[c] == starts[c + 1]:
            continue
        stamp += 1
        if stamp == 256:
            stamps[:] = 0
            stamp = 1
        for j in range(other_starts[c], other_starts[c + 1]):
            stamps[other[j]] = stamp
        for i in range(starts[c], starts[c + 1]):
            inside[i] = stamps[lows[i]] == stamp
    return inside


@compiled
def rows_in_bits(starts: Ids, lows: Lows, words: Words) -> Mask:
    """Tell for each member of the first set whether it is one of the second."""
    inside = np.empty(len(lows), np.bool_)
    for c in range(len(starts) - 1):
        first = c * (CHUNK // 64)
        for i in range(starts[c], starts[c + 1]):
            inside[i] = (words[first + (lows[i] >> 6)] >> np.uint64(lows[i] & 63)) & ONE
    return inside


@compiled
def choose_rows(starts: Ids, lows: Lows, chosen: Mask) -> Rows:
    """Keep the members that are chosen."""
    made_starts, made = np.zeros(len(starts), np.int64), np.empty(len(lows) + 1, np.uint16)
    at = 0
    for c in range(len(starts) - 1):
        for i in range(starts[c], starts[c + 1]):
            made[at] = lows[i]  # overwritten by the next one where this one is not chosen
            at += chosen[i]
        made_starts[c + 1] = at
    return made_starts, made[:at].copy()


@compiled
def unite_rows(starts: Ids, lows: Lows, other_starts: Ids, other: Lows) -> Rows:
    """Union of two sets."""
    made_starts, made = np.zeros(len(starts), np.int64), np.empty(len(lows) + len(other), np.uint16)
    at = 0
    for c in range(len(starts) - 1):
        i, stop, j, other_stop = starts[c], starts[c + 1], other_starts[c], other_starts[c + 1]
        while i < stop and j < other_stop:
            low, other_low = lows[i], other[j]
            made[at] = min(low, other_low)
            i += low <= other_low
            j += other_low <= low
            at += 1
        while i < stop:
            made[at] = lows[i]
            i += 1
            at += 1
        while j < other_stop:
            made[at] = other[j]
            j += 1
            at += 1
        made_starts[c + 1] = at
    return made_starts, made[:at].copy()
