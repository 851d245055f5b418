"""A set of ids below a known size, as ids, rows or bits, whichever is smallest; it behaves like Python's set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.errors import OptionError

Ids = NDArray[np.int64]
Lows = NDArray[np.uint16]
Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]
Words = NDArray[np.uint64]

CHUNK_BITS = 16
SKEW = 16  # a set so many times smaller than the other is looked up in it, id by id
PIECE = 1 << 16  # ids turned into Python's integers at a time


class IdSet:
    """An immutable set of integers in [0, size).

    Kept in the form that takes the fewest bytes: sorted ids (8 bytes an id), rows (2 bytes an id, 8 a chunk of
    2^16 of the universe), or bits (one bit an id of the universe). Sets that are equal are kept alike. What an
    operation takes beside its result is no more than its operands as rows or bits. Loops are compiled at their
    first use.

    Example:
        >>> a, b = IdSet([1, 2, 5], size=8), IdSet([2, 3], size=8)
        >>> sorted(a | b), sorted(a & b), sorted(a - b), a.jaccard(b), 5 in a
        ([1, 2, 3, 5], [2], [1, 5], 0.25, True)
    """

    __slots__ = ("_ids", "_length", "_rows", "_words", "size")

    def __init__(self, ids: Iterable[int] | Ids = (), *, size: int) -> None:
        """Make a set of the ids, in any order, repeated or not; OptionError where one is outside [0, size)."""
        given: Any = ids if isinstance(ids, np.ndarray) else list(ids)
        array = flat(given)
        check_range(array, size)
        form = _smallest(len(array), size)
        if form == "ids":
            self._keep_ids(np.unique(array), size)
        elif form == "rows":
            starts, lows, _ = loops().group(array, np.empty(0, np.uint32), chunks_of(size))
            self._keep_rows(loops().sort_rows(starts, lows), size)
        else:
            words = _no_bits(size)
            loops().set_bits(words, array)
            self._keep_words(words, size)

    def _keep_ids(self, ids: Ids, size: int) -> None:
        """Hold sorted ids in the smallest form."""
        self.size, self._length = size, len(ids)
        self._ids: Ids | None = None
        self._rows: tuple[Ids, Lows] | None = None
        self._words: Words | None = None
        form = _smallest(len(ids), size)
        if form == "ids":
            self._ids = ids
        elif form == "rows":
            self._rows = loops().rows_of_sorted(ids, chunks_of(size))
        else:
            self._words = _no_bits(size)
            loops().set_bits(self._words, ids)

    def _keep_rows(self, rows: tuple[Ids, Lows], size: int) -> None:
        """Hold rows in the smallest form."""
        self.size, self._length = size, len(rows[1])
        self._ids, self._rows, self._words = None, None, None
        form = _smallest(self._length, size)
        if form == "ids":
            self._ids = loops().ids_of_rows(*rows)
        elif form == "rows":
            self._rows = rows
        else:
            self._words = _no_bits(size)
            loops().write_rows(self._words, *rows, True)

    def _keep_words(self, words: Words, size: int) -> None:
        """Hold bits in the smallest form."""
        self.size, self._length = size, int(loops().count_bits(words, words))
        self._ids, self._rows, self._words = None, None, None
        form = _smallest(self._length, size)
        if form == "ids":
            self._ids = loops().ids_of_bits(words, self._length)
        elif form == "rows":
            self._rows = loops().rows_of_bits(words, self._length, chunks_of(size))
        else:
            self._words = words

    @classmethod
    def _of_ids(cls, ids: Ids, size: int) -> IdSet:
        made = cls.__new__(cls)
        made._keep_ids(ids, size)
        return made

    @classmethod
    def _of_rows(cls, rows: tuple[Ids, Lows], size: int) -> IdSet:
        made = cls.__new__(cls)
        made._keep_rows(rows, size)
        return made

    @classmethod
    def _of_words(cls, words: Words, size: int) -> IdSet:
        made = cls.__new__(cls)
        made._keep_words(words, size)
        return made

    @classmethod
    def from_sorted(cls, ids: Ids, *, size: int) -> IdSet:
        """Make a set of sorted, unique ids; OptionError where they are not, or outside [0, size)."""
        array = flat(ids)
        if not (array[1:] > array[:-1]).all():
            raise OptionError("expected ids that are sorted and unique; give others to IdSet(ids, size=…)")
        if len(array) and (array[0] < 0 or array[-1] >= size):
            raise OptionError(f"ids must lie in [0, {size}), got {array[0]} … {array[-1]}")
        if np.may_share_memory(array, ids) and _smallest(len(array), size) == "ids":
            array = array.copy()  # what is held must neither change nor keep a larger array alive
        return cls._of_ids(array, size)

    @classmethod
    def from_mask(cls, mask: Mask) -> IdSet:
        """Make a set of the positions where the mask is true."""
        return cls.from_bits(np.packbits(mask, bitorder="little"), size=len(mask))

    @classmethod
    def from_bits(cls, bits: Bits, *, size: int) -> IdSet:
        """Make a set of packed bits, lowest bit first; OptionError where their number does not fit the size."""
        if len(bits) != (size + 7) // 8 or (size % 8 and len(bits) and bits[-1] >> (size % 8)):
            raise OptionError(f"expected {(size + 7) // 8} bytes of bits for {size} ids, got {len(bits)}")
        words = _no_bits(size)
        words.view(np.uint8)[: len(bits)] = bits
        return cls._of_words(words, size)

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
        if not np.isin(falls, starts).all() or (len(lows) and (chunk << CHUNK_BITS) + int(lows[-1]) >= size):
            raise OptionError(f"expected rows that ascend within each chunk and stay below {size}")
        return cls._of_rows((starts, lows), size)

    @property
    def ids(self) -> Ids:
        """All ids, sorted, int64."""
        if self._ids is not None:
            return self._ids
        found: Ids
        if self._rows is not None:
            found = loops().ids_of_rows(*self._rows)
        else:
            found = loops().ids_of_bits(self._words, self._length)
        return found

    @property
    def rows(self) -> tuple[Ids, Lows] | None:
        """Starts int64 [chunks of 2^16 + 1] and lows uint16 [n], or None where the set is kept as bits.

        Chunk c holds the ids c · 2^16 + lows[starts[c]:starts[c + 1]], ascending. Made anew at each call where the
        set is kept as ids.
        """
        return None if self._words is not None else self._as_rows()

    def _as_rows(self) -> tuple[Ids, Lows]:
        if self._ids is not None:
            made: tuple[Ids, Lows] = loops().rows_of_sorted(self._ids, chunks_of(self.size))
            return made
        assert self._rows is not None
        return self._rows

    @property
    def bits(self) -> Bits | None:
        """The packed bits, lowest first, uint8 [⌈size / 8⌉], or None where the set is not kept as bits."""
        return None if self._words is None else self._words.view(np.uint8)[: (self.size + 7) // 8]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is kept, by name: ids, or starts and lows, or bits."""
        if self._ids is not None:
            return {"ids": self._ids}
        if self._rows is not None:
            return dict(zip(("starts", "lows"), self._rows, strict=True))
        assert self.bits is not None
        return {"bits": self.bits}

    @property
    def nbytes(self) -> int:
        """Memory of the set in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def mask(self) -> Mask:
        """Return bool [size], true at the members: a byte an id of the universe, so for small ones only."""
        mask = np.zeros(self.size, dtype=bool)
        mask[self.ids] = True
        return mask

    def contains(self, ids: Ids) -> Mask:
        """Tell for each id, any integer, whether it is a member: bool of the shape of ``ids``."""
        asked = flat(ids)
        inside: Mask
        if self._ids is not None:
            inside = np.zeros(len(asked), dtype=bool)
            if len(self):
                at = np.searchsorted(self._ids, asked)
                inside = self._ids[np.minimum(at, len(self) - 1)] == asked
        elif self._rows is not None:
            inside = loops().ids_in_rows(*self._rows, asked, self.size)
        else:
            inside = loops().ids_in_bits(self._words, asked, self.size)
        return inside.reshape(np.shape(ids))

    def _inside(self, other: IdSet) -> Mask:
        """Tell for each member of this set, which is not kept as bits, whether it is one of the other."""
        inside: Mask
        if self._ids is not None or len(self) * SKEW < len(other):
            return other.contains(self.ids)
        if other._words is not None:
            inside = loops().rows_in_bits(*self._as_rows(), other._words)
        else:
            inside = loops().rows_in_rows(*self._as_rows(), *other._as_rows())
        return inside

    def jaccard(self, other: IdSet) -> float:
        """|A ∩ B| ÷ |A ∪ B| (Eq. 5); NaN where both are empty."""
        both = self.intersection_size(other)
        either = len(self) + len(other) - both
        return both / either if either else float("nan")

    def intersection_size(self, other: IdSet) -> int:
        """|A ∩ B| without making the set."""
        self._same_size(other)
        if self._words is not None and other._words is not None:
            return int(loops().count_bits(self._words, other._words))
        few, many = sorted((self, other), key=len)  # bits, where there are any, are the many
        return int(np.count_nonzero(few._inside(many)))

    def _same_size(self, other: IdSet) -> None:
        if self.size != other.size:
            raise OptionError(f"sets of different universes: {self.size} and {other.size} ids")

    def __or__(self, other: IdSet) -> IdSet:
        """Union."""
        self._same_size(other)
        if self._words is not None and other._words is not None:
            return IdSet._of_words(self._words | other._words, self.size)
        few, many = sorted((self, other), key=len)
        if many._words is None:
            return IdSet._of_rows(loops().unite_rows(*few._as_rows(), *many._as_rows()), self.size)
        words = many._words.copy()
        loops().write_rows(words, *few._as_rows(), True)
        return IdSet._of_words(words, self.size)

    def __and__(self, other: IdSet) -> IdSet:
        """Intersection."""
        self._same_size(other)
        if self._words is not None and other._words is not None:
            return IdSet._of_words(self._words & other._words, self.size)
        few, many = sorted((self, other), key=len)
        return few._chosen(few._inside(many))

    def __sub__(self, other: IdSet) -> IdSet:
        """Difference."""
        self._same_size(other)
        if self._words is None:
            return self._chosen(~self._inside(other))
        if other._words is not None:
            return IdSet._of_words(self._words & ~other._words, self.size)
        words = self._words.copy()
        loops().write_rows(words, *other._as_rows(), False)
        return IdSet._of_words(words, self.size)

    def _chosen(self, chosen: Mask) -> IdSet:
        """Keep some of the members of this set, which is not kept as bits."""
        if self._ids is not None:
            return IdSet._of_ids(self._ids[chosen], self.size)
        return IdSet._of_rows(loops().choose_rows(*self._as_rows(), chosen), self.size)

    def __len__(self) -> int:
        """Number of members."""
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
        """Length, universe and form."""
        return f"IdSet({len(self)} of {self.size}, {_smallest(len(self), self.size)})"


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


def _smallest(length: int, size: int) -> str:
    """Return the form that takes the fewest bytes: ids, rows, bits; in this order as sets grow."""
    taken = _bytes_as(length, size)
    return min(taken, key=lambda form: taken[form])


def bytes_of(length: int, size: int) -> int:
    """Return the bytes that a set of so many ids takes, in memory as in a file."""
    return min(_bytes_as(length, size).values())


def _bytes_as(length: int, size: int) -> dict[str, int]:
    return {"ids": 8 * length, "rows": 2 * length + 8 * (chunks_of(size) + 1), "bits": -(-size // 8)}


def _no_bits(size: int) -> Words:
    return np.zeros(-(-size // 64), dtype=np.uint64)


def loops() -> Any:
    """Return the compiled loops; imported at first use because importing Numba takes a third of a second."""
    from effpath.kernels import sets

    return sets
