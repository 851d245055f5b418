"""The three forms in which a set of ids is kept: ids, rows or bits; which takes the fewest bytes, and how many."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.errors import OptionError

Ids = NDArray[np.int64]
Lows = NDArray[np.uint16]
Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]
Rows = tuple[Ids, Lows]
Held = Ids | Rows | Words
"""Sorted ids; rows: starts int64 [chunks + 1] and lows uint16 [n]; bits, 64 a word."""

CHUNK_BITS = 16


def flat(ids: Any) -> Ids:
    """Return ids as contiguous int64 [n]."""
    return np.ascontiguousarray(ids, dtype=np.int64).reshape(-1)


def check_range(ids: Ids, size: int) -> None:
    """Raise OptionError where an id is outside [0, size)."""
    if len(ids) and (ids.min() < 0 or ids.max() >= size):
        raise OptionError(f"ids must lie in [0, {size}), got {ids.min()} … {ids.max()}")


def chunks_of(size: int) -> int:
    """Number of chunks of 2^16 ids that a universe takes."""
    return -(-size >> CHUNK_BITS)


def smallest_form(length: int, size: int) -> str:
    """Return the form that takes the fewest bytes: ids, rows, bits; in this order as sets grow."""
    taken = bytes_as(length, size)
    return min(taken, key=lambda form: taken[form])


def bytes_of(length: int, size: int) -> int:
    """Return the bytes that a set of so many ids takes, in memory as in a file."""
    return min(bytes_as(length, size).values())


def bytes_as(length: int, size: int) -> dict[str, int]:
    """Return the bytes that a set of so many ids takes in each form."""
    return {"ids": 8 * length, "rows": 2 * length + 8 * (chunks_of(size) + 1), "bits": -(-size // 8)}


def length_of(held: Held) -> int:
    """Return the number of ids, in whichever form."""
    if isinstance(held, tuple):
        return len(held[1])
    return int(loops().count_bits(held, held)) if held.dtype == np.uint64 else len(held)


def as_ids(held: Held, length: int) -> Ids:
    """Return so many ids in the form of ids: itself, where it has that form."""
    array: Any = held
    if isinstance(held, tuple):
        array = loops().ids_of_rows(*held)
    elif held.dtype == np.uint64:
        array = loops().ids_of_bits(held, length)
    ids: Ids = array
    return ids


def as_rows(held: Held, length: int, size: int) -> Rows:
    """Return so many ids in the form of rows: itself, where it has that form."""
    if isinstance(held, tuple):
        return held
    rows: Rows
    if held.dtype == np.uint64:
        rows = loops().rows_of_bits(held, length, chunks_of(size))
    else:
        rows = loops().rows_of_sorted(held, chunks_of(size))
    return rows


def as_words(held: Held, size: int) -> Words:
    """Return ids in the form of bits: itself, where it has that form."""
    array: Any = held
    if isinstance(held, tuple):
        array = no_bits(size)
        loops().write_rows(array, *held, True)
    elif held.dtype != np.uint64:
        array = no_bits(size)
        loops().set_bits(array, held)
    words: Words = array
    return words


def no_bits(size: int) -> Words:
    """Return the bits of the empty set."""
    return np.zeros(-(-size // 64), dtype=np.uint64)


def loops() -> Any:
    """Return the compiled loops; imported at first use because importing Numba takes a third of a second."""
    from effpath.kernels import sets

    return sets
