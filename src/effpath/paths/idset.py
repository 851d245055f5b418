"""A set of ids below a known size, dense or sparse, whichever is smaller; it behaves like Python's set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.errors import OptionError

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]


class IdSet:
    """An immutable set of integers in [0, size).

    Kept as sorted int64 ids, or as one bit an id where that takes less room. The form is an
    implementation detail: equal sets are equal whatever their form.

    Example:
        >>> a, b = IdSet([1, 2, 5], size=8), IdSet([2, 3], size=8)
        >>> sorted(a | b), sorted(a & b), sorted(a - b), a.jaccard(b), 5 in a
        ([1, 2, 3, 5], [2], [1, 5], 0.25, True)
    """

    __slots__ = ("_bits", "_ids", "_length", "size")

    def __init__(self, ids: Iterable[int] | Ids = (), *, size: int) -> None:
        """Make a set of the ids; OptionError where one is outside [0, size)."""
        given: Any = ids if isinstance(ids, np.ndarray) else list(ids)
        array = np.unique(np.asarray(given, dtype=np.int64))
        if len(array) and (array[0] < 0 or array[-1] >= size):
            raise OptionError(f"ids must lie in [0, {size}), got {array[0]} … {array[-1]}")
        self._fill(array, size)

    def _fill(self, ids: Ids, size: int) -> None:
        self.size = size
        self._length = len(ids)
        self._ids: Ids | None = None
        self._bits: NDArray[np.uint8] | None = None
        if ids.nbytes <= (size + 7) // 8:
            self._ids = ids
        else:
            mask = np.zeros(size, dtype=bool)
            mask[ids] = True
            self._bits = np.packbits(mask, bitorder="little")

    @classmethod
    def from_sorted(cls, ids: Ids, *, size: int) -> IdSet:
        """Make a set of ids known to be sorted and unique; nothing is checked."""
        made = cls.__new__(cls)
        made._fill(ids, size)
        return made

    @classmethod
    def from_mask(cls, mask: Mask) -> IdSet:
        """Make a set of the positions where the mask is true."""
        return cls.from_sorted(np.flatnonzero(mask).astype(np.int64), size=len(mask))

    @classmethod
    def from_bits(cls, bits: NDArray[np.uint8], *, size: int) -> IdSet:
        """Make a set of packed bits, lowest bit first; OptionError where their number does not fit the size."""
        if len(bits) != (size + 7) // 8 or (size % 8 and len(bits) and bits[-1] >> (size % 8)):
            raise OptionError(f"wanted {(size + 7) // 8} bytes of bits for {size} ids, got {len(bits)}")
        return cls.from_mask(np.unpackbits(bits, count=size, bitorder="little").astype(bool))

    @property
    def ids(self) -> Ids:
        """All ids, sorted, int64."""
        if self._ids is not None:
            return self._ids
        return np.flatnonzero(self.mask()).astype(np.int64)

    @property
    def bits(self) -> NDArray[np.uint8] | None:
        """The packed bits, or None where the set is kept as ids."""
        return self._bits

    @property
    def nbytes(self) -> int:
        """Memory of the set in bytes."""
        held = self._ids if self._ids is not None else self._bits
        assert held is not None
        return int(held.nbytes)

    def mask(self) -> Mask:
        """Return bool [size], true at the members."""
        if self._bits is not None:
            return np.unpackbits(self._bits, count=self.size, bitorder="little").astype(bool)
        mask = np.zeros(self.size, dtype=bool)
        mask[self._ids] = True
        return mask

    def contains(self, ids: Ids) -> Mask:
        """Tell for each id whether it is a member, bool of the shape of ``ids``."""
        if self._bits is not None:
            return np.asarray(self._bits[ids >> 3] >> (ids & 7).astype(np.uint8) & 1, dtype=bool)
        assert self._ids is not None
        if not len(self._ids):
            return np.zeros(np.shape(ids), dtype=bool)
        at = np.searchsorted(self._ids, ids)
        return np.asarray(self._ids[np.minimum(at, len(self._ids) - 1)] == ids)

    def jaccard(self, other: IdSet) -> float:
        """|A ∩ B| ÷ |A ∪ B| (Eq. 5); NaN where both are empty."""
        both = self.intersection_size(other)
        either = len(self) + len(other) - both
        return both / either if either else float("nan")

    def intersection_size(self, other: IdSet) -> int:
        """|A ∩ B| without making the set."""
        self._same_size(other)
        if self._bits is not None and other._bits is not None:
            return int(np.bitwise_count(self._bits & other._bits).sum())
        few, many = (self, other) if self._ids is not None else (other, self)
        return int(many.contains(few.ids).sum())

    def _same_size(self, other: IdSet) -> None:
        if self.size != other.size:
            raise OptionError(f"sets of different universes: {self.size} and {other.size} ids")

    def __or__(self, other: IdSet) -> IdSet:
        """Union."""
        self._same_size(other)
        if self._ids is not None and other._ids is not None:
            return IdSet.from_sorted(np.union1d(self._ids, other._ids), size=self.size)
        return IdSet.from_mask(self.mask() | other.mask())

    def __and__(self, other: IdSet) -> IdSet:
        """Intersection."""
        self._same_size(other)
        few, many = (self, other) if self._ids is not None else (other, self)
        ids = few.ids
        return IdSet.from_sorted(ids[many.contains(ids)], size=self.size)

    def __sub__(self, other: IdSet) -> IdSet:
        """Difference."""
        self._same_size(other)
        ids = self.ids
        return IdSet.from_sorted(ids[~other.contains(ids)], size=self.size)

    def __len__(self) -> int:
        """Number of members."""
        return self._length

    def __iter__(self) -> Iterator[int]:
        """Members in ascending order."""
        return iter(self.ids.tolist())

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
        return self.size == other.size and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((self.size, self.ids.tobytes()))

    def __repr__(self) -> str:
        """Length, universe and form."""
        return f"IdSet({len(self)} of {self.size}, {'bits' if self._bits is not None else 'ids'})"
