"""A set of ids below a known size, as ids, rows or bits, whichever is smallest; it behaves like Python's set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.errors import OptionError

Ids = NDArray[np.int64]
Lows = NDArray[np.uint16]
Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Rows = tuple[Ids, Lows]
Held = Ids | Rows | Words
"""Sorted ids; rows: starts int64 [chunks + 1] and lows uint16 [n]; bits, 64 per word."""

CHUNK_BITS = 16
SKEW = 16  # a set so many times smaller than the other is looked up in it, id by id
PIECE = 1 << 16  # ids turned into Python's integers at a time


class IdSet:
    """An immutable set of integers in [0, size).

    Kept in the form that takes the fewest bytes: sorted ids (8 bytes per id), rows (2 bytes per id, 8 per
    chunk of 2^16 of the universe), or bits (one bit per id of the universe). Equal sets are kept alike. Beside its
    result an operation takes no more memory than its operands as rows or bits. Loops are compiled at first use.

    Example:
        >>> a, b = IdSet([1, 2, 5], size=8), IdSet([2, 3], size=8)
        >>> sorted(a | b), sorted(a & b), sorted(a - b), a.jaccard(b), 5 in a
        ([1, 2, 3, 5], [2], [1, 5], 0.25, True)
    """

    __slots__ = ("_form", "_held", "_length", "size")

    def __init__(self, ids: Iterable[int] | Ids = (), *, size: int) -> None:
        """Make a set of the ids, in any order, repeated or not; OptionError where one is outside [0, size)."""
        array = flat(ids if isinstance(ids, np.ndarray) else list(ids))
        check_range(array, size)
        form = smallest_form(len(array), size)
        if form == "ids":
            self._keep(np.unique(array), size)
        elif form == "rows":
            starts, lows, _ = loops().group(array, np.empty(0, np.uint32), chunks_of(size))
            self._keep(loops().sort_rows(starts, lows), size)
        else:
            self._keep(as_bits(array, len(array), size), size)

    def _keep(self, held: Held, size: int) -> None:
        """Hold sorted ids, rows or bits in the smallest form."""
        self.size, self._length = size, length_of(held)
        self._form = smallest_form(self._length, size)
        self._held: Any = FORMS[self._form](held, self._length, size)

    @classmethod
    def _of(cls, held: Held, size: int) -> IdSet:
        made = cls.__new__(cls)
        made._keep(held, size)
        return made

    @classmethod
    def from_sorted(cls, ids: Ids, *, size: int) -> IdSet:
        """Make a set of sorted, unique ids; OptionError where they are not, or outside [0, size)."""
        array = flat(ids)
        if not (array[1:] > array[:-1]).all():
            raise OptionError("expected ids that are sorted and unique; give others to IdSet(ids, size=…)")
        check_range(array[:: max(1, len(array) - 1)], size)  # the first and the last
        if np.may_share_memory(array, ids) and smallest_form(len(array), size) == "ids":
            array = array.copy()  # what is held must neither change nor keep a larger array alive
        return cls._of(array, size)

    @classmethod
    def from_mask(cls, mask: Mask) -> IdSet:
        """Make a set of the positions where the mask is true."""
        return cls.from_bits(np.packbits(mask, bitorder="little"), size=len(mask))

    @classmethod
    def from_bits(cls, bits: Bits, *, size: int) -> IdSet:
        """Make a set of packed bits, lowest bit first; OptionError where their number does not fit the size."""
        if len(bits) != (size + 7) // 8 or (size % 8 and len(bits) and bits[-1] >> (size % 8)):
            raise OptionError(f"expected {(size + 7) // 8} bytes of bits for {size} ids, got {len(bits)}")
        words = no_bits(size)
        words.view(np.uint8)[: len(bits)] = bits
        return cls._of(words, size)

    @classmethod
    def from_rows(cls, starts: Ids, lows: Lows, *, size: int) -> IdSet:
        """Make a set of rows as in `rows`; OptionError where they are not rows of this universe."""
        starts, lows = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(lows, np.uint16)
        fit = starts.shape == (chunks_of(size) + 1,) and starts[0] == 0 and starts[-1] == len(lows)
        if not fit or (starts[1:] < starts[:-1]).any():
            raise OptionError(
                f"expected {chunks_of(size) + 1} ascending starts from 0 to {len(lows)} for rows of {size} ids, "
                f"got {len(starts)} from {starts[:1]} to {starts[-1:]}"
            )
        falls = np.flatnonzero(lows[1:] <= lows[:-1]) + 1
        chunk = int(np.searchsorted(starts, len(lows))) - 1  # of the last id
        at_starts = starts[np.searchsorted(starts, falls)] == falls  # falls are below the last start
        if not at_starts.all() or (len(lows) and (chunk << CHUNK_BITS) + int(lows[-1]) >= size):
            raise OptionError(f"expected rows that ascend within each chunk and stay below {size}")
        return cls._of((starts, lows), size)

    @property
    def ids(self) -> Ids:
        """All ids, sorted, int64."""
        return as_ids(self._held, self._length, self.size)

    @property
    def rows(self) -> Rows:
        """Starts int64 [chunks of 2^16 + 1] and lows uint16 [n], made anew where the set is kept otherwise.

        Chunk c holds the ids c · 2^16 + lows[starts[c]:starts[c + 1]], ascending.
        """
        return as_rows(self._held, self._length, self.size)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept, by name: ids; or starts and lows, see `rows`; or bits, lowest first, uint8 [size ÷ 8]."""
        if self._form == "rows":
            return dict(zip(("starts", "lows"), self._held, strict=True))
        held = self._held if self._form == "ids" else self._held.view(np.uint8)[: (self.size + 7) // 8]
        return {self._form: held}

    @property
    def nbytes(self) -> int:
        """Memory of the set in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def mask(self) -> Mask:
        """Return bool [size], true at the members; one byte per id of the universe, so for small ones only."""
        mask = np.zeros(self.size, dtype=bool)
        mask[self.ids] = True
        return mask

    def contains(self, ids: Ids) -> Mask:
        """Tell for each id, any integer, whether it is a member: bool of the shape of ``ids``."""
        asked = flat(ids)
        inside: Mask
        if self._form == "bits":
            inside = loops().ids_in_bits(self._held, asked, self.size)
        elif self._form == "rows":
            inside = loops().ids_in_rows(*self._held, asked, self.size)
        elif len(self):
            at = np.searchsorted(self._held, asked)
            inside = self._held[np.minimum(at, len(self) - 1)] == asked
        else:
            inside = np.zeros(len(asked), dtype=bool)
        return inside.reshape(np.shape(ids))

    def _inside(self, other: IdSet) -> Mask:
        """Tell for each member of this set, which is not kept as bits, whether it is one of the other."""
        inside: Mask
        if self._form == "ids" or len(self) * SKEW < len(other):
            return other.contains(self.ids)
        if other._form == "bits":
            inside = loops().rows_in_bits(*self.rows, other._held)
        else:
            inside = loops().rows_in_rows(*self.rows, *other.rows)
        return inside

    def jaccard(self, other: IdSet) -> float:
        """Return |A ∩ B| ÷ |A ∪ B| (Eq. 5); NaN where both are empty."""
        both = self.intersection_size(other)
        either = len(self) + len(other) - both
        return both / either if either else float("nan")

    def intersection_size(self, other: IdSet) -> int:
        """Return |A ∩ B| without making the set."""
        if self._both_bits(other):
            return int(loops().count_bits(self._held, other._held))
        few, many = sorted((self, other), key=len)  # bits, where there are any, are the many
        return int(np.count_nonzero(few._inside(many)))

    def _both_bits(self, other: IdSet) -> bool:
        """Tell whether both are kept as bits; OptionError where they are of different universes."""
        if self.size != other.size:
            raise OptionError(f"sets of different universes: {self.size} and {other.size} ids")
        return self._form == other._form == "bits"

    def __or__(self, other: IdSet) -> IdSet:
        """Union."""
        if self._both_bits(other):
            return IdSet._of(self._held | other._held, self.size)
        few, many = sorted((self, other), key=len)
        if many._form != "bits":
            return IdSet._of(loops().unite_rows(*few.rows, *many.rows), self.size)
        words = many._held.copy()
        loops().write_rows(words, *few.rows, True)
        return IdSet._of(words, self.size)

    def __and__(self, other: IdSet) -> IdSet:
        """Intersection."""
        if self._both_bits(other):
            return IdSet._of(self._held & other._held, self.size)
        few, many = sorted((self, other), key=len)
        return few._chosen(few._inside(many))

    def __sub__(self, other: IdSet) -> IdSet:
        """Difference."""
        if self._both_bits(other):
            return IdSet._of(self._held & ~other._held, self.size)
        if self._form != "bits":
            return self._chosen(~self._inside(other))
        words = self._held.copy()
        loops().write_rows(words, *other.rows, False)
        return IdSet._of(words, self.size)

    def _chosen(self, chosen: Mask) -> IdSet:
        """Keep some of the members of this set, which is not kept as bits."""
        kept = self._held[chosen] if self._form == "ids" else loops().choose_rows(*self.rows, chosen)
        return IdSet._of(kept, self.size)

    def __len__(self) -> int:
        """Return the number of members."""
        return self._length

    def __iter__(self) -> Iterator[int]:
        """Members in ascending order."""
        ids = self.ids
        for start in range(0, len(ids), PIECE):
            yield from ids[start : start + PIECE].tolist()

    def __contains__(self, item: object) -> bool:
        """Membership of one integer."""
        if not isinstance(item, (int, np.integer)) or not 0 <= int(item) < self.size:
            return False
        return bool(self.contains(np.array([item], dtype=np.int64))[0])

    def __le__(self, other: IdSet) -> bool:
        """Subset."""
        return self.intersection_size(other) == len(self)

    def __eq__(self, other: object) -> bool:
        """Equal members of equal universes."""
        if not isinstance(other, IdSet):
            return NotImplemented
        if self.size != other.size or len(self) != len(other):
            return False
        return all(map(np.array_equal, self.arrays.values(), other.arrays.values()))

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((self.size, *(array.tobytes() for array in self.arrays.values())))

    def __repr__(self) -> str:
        return f"IdSet({len(self)} of {self.size}, {self._form})"


def flat(ids: Any) -> Ids:
    """Return ids as contiguous int64 [n]."""
    return np.ascontiguousarray(ids, dtype=np.int64).reshape(-1)


def check_range(ids: Ids, size: int) -> None:
    """Raise OptionError where an id is outside [0, size)."""
    if len(ids) and (ids.min() < 0 or ids.max() >= size):
        raise OptionError(f"ids must lie in [0, {size}), got {ids.min()} … {ids.max()}")


def chunks_of(size: int) -> int:
    """Return the number of chunks of 2^16 ids that a universe takes."""
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


def as_ids(held: Held, length: int, size: int) -> Ids:
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


def as_bits(held: Held, length: int, size: int) -> Words:
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


FORMS: dict[str, Callable[[Held, int, int], Held]] = {"ids": as_ids, "rows": as_rows, "bits": as_bits}


def no_bits(size: int) -> Words:
    """Return the bits of the empty set."""
    return np.zeros(-(-size // 64), dtype=np.uint64)


def loops() -> Any:
    """Return the compiled loops; imported at first use because importing Numba takes a third of a second."""
    from effpath.kernels import sets

    return sets
