"""The neurons that carry half of a layer's activation, and what is known of them. Compiled at first use."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from effpath.kernels.reference import UNIT_BITS
from effpath.kernels.sets import compiled

SHIFT = 16  # of a positive float32's bits: exponent and seven bits of the mantissa are left
BINS = 1 << (32 - SHIFT - 1)


@compiled
def mark_carriers(values: NDArray[np.float32], bits: NDArray[np.uint32], marks: NDArray[np.uint8]) -> None:
    """Mark what `effpath.kernels.reference.carriers` chooses, without sorting a whole row.

    Positive floats ascend as their bits do. One pass adds up the units in each of 2^15 ranges of bits, so that
    only the values of the range in which half is reached need sorting.

    Args:
        values: float32 [B, n], finite.
        bits: the same memory.
        marks: [B, n], all 0; 1 is written where a value is chosen.
    """
    size = values.shape[1]
    sums = np.zeros(BINS, np.int64)
    alike = np.empty(size, np.float32)
    for image in range(values.shape[0]):
        largest, at_largest = np.float32(0), 0
        for i in range(size):
            if values[image, i] > largest:
                largest, at_largest = values[image, i], i
        if largest == 0:
            continue
        scale = math.ldexp(1.0, UNIT_BITS - math.frexp(np.float64(largest))[1])

        total = np.int64(0)
        for i in range(size):
            if values[image, i] > 0:
                units = np.int64(np.float64(values[image, i]) * scale)
                sums[np.int64(bits[image, i]) >> SHIFT] += units
                total += units

        place = np.int64(bits[image, at_largest]) >> SHIFT
        reached = np.int64(0)
        while reached + sums[place] < total - reached - sums[place]:
            reached += sums[place]
            place -= 1

        count = 0
        for i in range(size):
            if values[image, i] > 0 and np.int64(bits[image, i]) >> SHIFT == place:
                alike[count] = values[image, i]
                count += 1
        ranked = np.sort(alike[:count])
        last = count
        while reached < total - reached:
            last -= 1
            reached += np.int64(np.float64(ranked[last]) * scale)
        bound = ranked[last]
        ties = 0  # values equal to the smallest that is chosen
        while last + ties < count and ranked[last + ties] == bound:
            ties += 1

        for i in range(size):
            if values[image, i] > 0:
                sums[np.int64(bits[image, i]) >> SHIFT] = 0
            if values[image, i] > bound:
                marks[image, i] = 1
            elif values[image, i] == bound and ties > 0:
                marks[image, i] = 1
                ties -= 1


@compiled
def add_rows(
    bits: NDArray[np.uint8], table: NDArray[np.float32], sums: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    """Add up the rows of a table that sets name, and count them.

    Args:
        bits: uint8 [B, bytes], a set of rows each, packed, lowest bit first.
        table: float32 [rows, columns].
        sums: float64 [B, columns], all 0, added to in the order of the rows.
        counts: int64 [B], all 0.
    """
    for image in range(bits.shape[0]):
        for place in range(bits.shape[1]):
            byte = bits[image, place]
            if byte == 0:
                continue
            for bit in range(8):
                if byte >> bit & 1:
                    row = 8 * place + bit
                    counts[image] += 1
                    for column in range(table.shape[1]):
                        sums[image, column] += table[row, column]


@compiled
def add_to_places(
    bits: NDArray[np.uint8],
    table: NDArray[np.float32],
    columns: NDArray[np.int64],
    positions: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Add up what a table has of the rows that sets name, position by position.

    Args:
        bits: uint8 [B, bytes], a set of rows each, packed, lowest bit first.
        table: float32 [rows, columns].
        columns: int64 [B], the column that counts for each set; nothing is added where it is negative.
        positions: int64 [rows], of each row.
        sums: float64 [B, positions], all 0, added to in the order of the rows.
    """
    for image in range(bits.shape[0]):
        column = columns[image]
        if column < 0:
            continue
        for place in range(bits.shape[1]):
            byte = bits[image, place]
            if byte == 0:
                continue
            for bit in range(8):
                if byte >> bit & 1:
                    row = 8 * place + bit
                    sums[image, positions[row]] += table[row, column]
