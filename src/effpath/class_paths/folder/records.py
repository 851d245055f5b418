"""Which images a store was made from, shard by shard, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import Digests, Shard
from effpath.class_paths.folder.manifest import Kept
from effpath.errors import StoreError
from effpath.files.sealed import UNREADABLE, SealedFile, write_sealed

USED, WRONG, DAMAGED = range(3)
"""What becomes of an image: its path is in that of its class; it is predicted otherwise; it cannot be read."""
WHAT = "the images of a store"
FORMAT = "effpath-store-images-1"
ARRAYS = ("digests", "rows", "labels", "outcomes")


@dataclass(frozen=True, eq=False)
class Record:
    """The images of one shard.

    Attributes:
        shard: its id, made of the identity of the images.
        origin: the identity of the data that the images are of.
        named: whether that is a name of the data by their content, so that a row says which image is meant.
        digests: uint64 [n], of each image's pixels and label; 0 of a damaged one.
        rows: int64 [n], where each stands in the data, or among the images that were given.
        labels: int64 [n], outputs of the network.
        outcomes: uint8 [n]: USED, WRONG or DAMAGED.
    """

    shard: str
    origin: str
    named: bool
    digests: Digests
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    outcomes: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of images, damaged ones too."""
        return len(self.labels)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is known of each image, by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images were read, bool [n]."""
        found: NDArray[np.bool_] = self.outcomes != DAMAGED
        return found

    def classes(self) -> list[int]:
        """Return the classes in whose path an image of the shard is, ascending."""
        found: list[int] = np.unique(self.labels[self.outcomes == USED]).tolist()
        return found


def shards_of(records: Sequence[Record]) -> tuple[Shard, ...]:
    """Return the images that were read, as `ClassPaths` compares them: one shard for each origin."""
    found = []
    for origin in dict.fromkeys(record.origin for record in records):
        own = [record for record in records if record.origin == origin]
        digests = np.concatenate([record.digests[record.readable] for record in own])
        if not own[0].named:
            found.append(Shard(digests))
            continue
        rows = np.concatenate([record.rows[record.readable] for record in own])
        order = np.argsort(rows, kind="stable")
        found.append(Shard(digests[order], origin, rows[order]))
    return tuple(found)


def outcomes_by_class(records: Sequence[Record]) -> dict[int, NDArray[np.int64]]:
    """Return the numbers of images used, predicted otherwise and damaged, int64 [3], by class, ascending."""
    codes = np.concatenate([record.labels * 3 + record.outcomes for record in records])
    found: dict[int, NDArray[np.int64]] = {}
    for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
        found.setdefault(int(code) // 3, np.zeros(3, np.int64))[int(code) % 3] += count
    return found


def write_records(file: FilePath, records: Sequence[Record]) -> None:
    """Write the records of a store to one file, atomically; StoreError where that fails."""
    arrays: dict[str, NDArray[Any]] = {
        name: np.concatenate([record.arrays[name] for record in records]) for name in ARRAYS
    }
    arrays["lengths"] = np.array([len(record) for record in records], np.int64)
    about = {"format": FORMAT, "shards": [[each.shard, each.origin, each.named] for each in records]}
    write_sealed(file, arrays, {"effpath": json.dumps(about)})


def read_records(folder: FilePath, kept: Kept | None) -> list[Record]:
    """Return the records that `write_records` wrote; none where nothing was kept.

    Raises:
        StoreError: missing, damaged, or another file than the manifest names.
    """
    if kept is None:
        return []
    with SealedFile(folder / kept.file, WHAT) as opened:
        if opened.seal != kept.seal:
            raise not_that_of_the_manifest(opened)
        try:
            shards = json.loads(opened.about["effpath"])["shards"]
            arrays = [opened.array(name) for name in ARRAYS]
            ends = np.cumsum(opened.array("lengths"))[:-1]
        except StoreError:
            raise
        except UNREADABLE as error:
            raise opened.damaged(str(error)) from error
    parts = zip(*(np.split(array, ends) for array in arrays), strict=True)
    return [Record(*shard, *part) for shard, part in zip(shards, parts, strict=True)]


def record_in(opened: SealedFile, about: Mapping[str, Any]) -> Record:
    """Return the record in the open file of a shard, which says about itself ``about``; StoreError if damaged."""
    try:
        arrays = [opened.array(f"record/{name}") for name in ARRAYS]
        return Record(about["id"], about["origin"], about["named"], *arrays)
    except StoreError:
        raise
    except UNREADABLE as error:
        raise opened.damaged(str(error)) from error


def not_that_of_the_manifest(opened: SealedFile) -> StoreError:
    """Return the error for a file that was put in place of the one that belongs to a store."""
    return opened.damaged("it is whole, but not the file that the manifest of the store names")
