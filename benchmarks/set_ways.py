"""The ways to keep a set of ids that `benchmarks.sets` compares, all with the same methods."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyroaring
from numpy.typing import NDArray

from effpath import IdSet

Ids = NDArray[np.int64]


class Effpath:
    name = "effpath"

    def __init__(self, ids: Ids, size: int) -> None:
        self.set = IdSet(ids, size=size)

    def ids(self) -> Ids:
        return self.set.ids

    def nbytes(self) -> int:
        return self.set.nbytes

    def union(self, other: Effpath) -> Any:
        return self.set | other.set

    def union_ids(self, other: Effpath) -> Ids:
        return self.union(other).ids

    def intersection_size(self, other: Effpath) -> int:
        return self.set.intersection_size(other.set)

    def jaccard(self, other: Effpath) -> float:
        return self.set.jaccard(other.set)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        return self.set.contains(ids)

    def iterate(self) -> int:
        return sum(1 for _ in self.set)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self.set.arrays

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[Any]], size: int) -> Any:
        if "bits" in arrays:
            return IdSet.from_bits(arrays["bits"], size=size)
        if "ids" in arrays:
            return IdSet.from_sorted(arrays["ids"], size=size)
        return IdSet.from_rows(arrays["starts"], arrays["lows"], size=size)


class PackedBits:
    name = "packed bits"

    def __init__(self, ids: Ids, size: int) -> None:
        mask = np.zeros(size, dtype=bool)
        mask[ids] = True
        self.bits, self.size = np.packbits(mask, bitorder="little"), size

    def ids(self) -> Ids:
        return np.flatnonzero(np.unpackbits(self.bits, count=self.size, bitorder="little"))

    def nbytes(self) -> int:
        return self.bits.nbytes

    def union(self, other: PackedBits) -> Any:
        return self.bits | other.bits

    def union_ids(self, other: PackedBits) -> Ids:
        return np.flatnonzero(np.unpackbits(self.union(other), count=self.size, bitorder="little"))

    def intersection_size(self, other: PackedBits) -> int:
        return int(np.bitwise_count(self.bits & other.bits).sum())

    def jaccard(self, other: PackedBits) -> float:
        both = self.intersection_size(other)
        return both / int(np.bitwise_count(self.bits | other.bits).sum())

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        return (self.bits[ids >> 3] >> (ids & 7).astype(np.uint8) & 1).astype(bool)

    def iterate(self) -> int:
        return sum(1 for _ in self.ids().tolist())

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"bits": self.bits}

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[Any]], size: int) -> Any:
        return arrays["bits"]


class SortedIds:
    name = "sorted ids"

    def __init__(self, ids: Ids, size: int) -> None:
        self.values = np.unique(ids)

    def ids(self) -> Ids:
        return self.values

    def nbytes(self) -> int:
        return self.values.nbytes

    def union(self, other: SortedIds) -> Any:
        return np.union1d(self.values, other.values)

    union_ids = union

    def intersection_size(self, other: SortedIds) -> int:
        few, many = sorted((self, other), key=lambda s: len(s.values))
        return int(many.contains(few.values).sum())

    def jaccard(self, other: SortedIds) -> float:
        both = self.intersection_size(other)
        return both / (len(self.values) + len(other.values) - both)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        at = np.searchsorted(self.values, ids)
        return self.values[np.minimum(at, len(self.values) - 1)] == ids

    def iterate(self) -> int:
        return sum(1 for _ in self.values.tolist())

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"ids": self.values}

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[Any]], size: int) -> Any:
        return arrays["ids"]


class Roaring64:
    name = "BitMap64"
    kind: Any = pyroaring.BitMap64
    type: Any = np.uint64

    def __init__(self, ids: Ids, size: int) -> None:
        self.map = self.kind(ids.astype(self.type))

    def ids(self) -> Ids:
        return np.asarray(self.map.to_array()).astype(np.int64)

    def nbytes(self) -> int:
        return len(self.map.serialize())

    def union(self, other: Roaring64) -> Any:
        return self.map | other.map

    def union_ids(self, other: Roaring64) -> Ids:
        return np.asarray(self.union(other).to_array()).astype(np.int64)

    def intersection_size(self, other: Roaring64) -> int:
        return int(self.map.intersection_cardinality(other.map))

    def jaccard(self, other: Roaring64) -> float:
        return float(self.map.jaccard_index(other.map))

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        return np.fromiter(map(self.map.__contains__, ids.tolist()), dtype=bool, count=len(ids))

    def iterate(self) -> int:
        return sum(1 for _ in self.map)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"roaring": np.frombuffer(self.map.serialize(), dtype=np.uint8)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], size: int) -> Any:
        return cls.kind.deserialize(arrays["roaring"].tobytes())


class Roaring32(Roaring64):
    name = "BitMap"
    kind = pyroaring.BitMap
    type = np.uint32


WAYS: list[Any] = [Effpath, PackedBits, SortedIds, Roaring64, Roaring32]
