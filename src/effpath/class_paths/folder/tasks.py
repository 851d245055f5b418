"""The two tasks of a build: one shard is mapped to a file, the files of one class are reduced to one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from effpath.class_paths.build import Builder, Work
from effpath.class_paths.class_paths import ClassPaths, digests_of, unite
from effpath.class_paths.folder.cut import Assignment, origin_of, rows_of
from effpath.class_paths.folder.opened import ClassFiles, Lazy
from effpath.class_paths.folder.records import DAMAGED, USED, WRONG, Record, record_in
from effpath.class_paths.memory import Budget, budget_of
from effpath.class_paths.store import WHAT, described, provenance_of, write_class_paths
from effpath.errors import InputError, NumericalError, StoreError
from effpath.files.sealed import UNREADABLE, SealedFile
from effpath.graph.inputs import images_together
from effpath.images.lazy import choose
from effpath.walk.recording import Batch, bytes_per_image, recordings

Opener = Callable[[], Work]
"""Opens network and images where a task runs; for another process it must be one that can be pickled."""


@dataclass(frozen=True, eq=False)
class EmptyOf:
    """Opens the class paths of no image: all that a reduction needs."""

    open: Opener

    def __call__(self) -> ClassPaths:
        """Return them."""
        return self.open().empty


@dataclass(frozen=True, eq=False)
class MapShard:
    """The class paths of one shard, written to its file; gives the number of images done.

    Attributes:
        open: gives network and images.
        shard: which images.
        file: where to write; finished or not there.
        strict: whether an image that cannot be read is an error, instead of being left out.
    """

    open: Opener
    shard: Assignment
    file: FilePath
    strict: bool

    def __call__(self) -> Iterator[int]:
        """Build and write."""
        work, places = self.open(), self.shard.places
        labels = work.labels[torch.from_numpy(places)]
        budget = budget_of(work, self.shard.classes(work))
        builder = Builder(work.empty, work.options.counts, self.shard.classes(work), len(places), budget)
        digests = np.zeros(len(places), np.uint64)
        outcomes = np.full(len(places), DAMAGED, np.uint8)
        damaged: dict[str, str] = {}
        for part in _batches(work, len(places), budget):
            for at, batch in self._recorded(work, part, damaged):
                digests[at] = digests_of(batch.pixels, labels[at])
                outcomes[at] = np.where(builder.add(batch.recorded, labels[at]), USED, WRONG)
            yield part.stop
        rows = rows_of(work)[places]
        known = self.shard.id, origin_of(work), bool(work.origin)
        record = Record(*known, digests, rows, labels.numpy(), outcomes)
        _write_shard(self.file, builder.result(), record, damaged)

    def _recorded(self, work: Work, at: slice, damaged: dict[str, str]) -> Iterator[tuple[slice, Batch]]:
        """Record images together; where one of them is damaged, each alone, and note why."""
        places = self.shard.places[at]
        try:
            batch = _record(work, places)
        except (InputError, NumericalError) as error:
            if len(places) > 1:
                for each in range(at.start, at.stop):
                    yield from self._recorded(work, slice(each, each + 1), damaged)
            elif self.strict:
                raise
            else:
                place = int(places[0])
                name = work.names[place] if len(work.names) else f"image {rows_of(work)[place]}"
                damaged[name] = str(error)
            return
        yield at, batch


@dataclass(frozen=True, eq=False)
class ReduceClass:
    """The path of one class over all its shards, written to its file; gives 1 at its end.

    Attributes:
        empty: gives the class paths of no image.
        label: the class.
        files: that have paths of the class, each with the seal that it must have, "" for any.
        target: where to write. Its name says what is in it: what is there already is taken.
    """

    empty: Callable[[], ClassPaths]
    label: int
    files: tuple[tuple[FilePath, str], ...]
    target: FilePath

    def __call__(self) -> Iterator[int]:
        """Unite and write."""
        if not self.target.exists():
            empty = self.empty()
            sides = [_class_in(file, seal, self.label, empty) for file, seal in self.files]
            path, counted = unite(sides, self.label)
            counts = {} if counted is None else {self.label: counted}
            united = replace(_bare(empty), paths={self.label: path}, counts=counts)
            write_class_paths(united, self.target, {}, {})
        yield 1


class Finished(NamedTuple):
    """A shard whose file is written.

    Attributes:
        record: of its images.
        data: what they are, in words.
        damaged: why images could not be read, by name.
    """

    record: Record
    data: str
    damaged: Mapping[str, str]


def read_shard(file: FilePath, empty: ClassPaths) -> Finished:
    """Return what the file of a finished shard says of its images.

    Raises:
        StoreError: damaged, or of another network or other options; says to delete it.
    """
    try:
        with SealedFile(file, WHAT) as opened:
            _check_same(opened, provenance_of(opened), empty)
            try:
                about = json.loads(opened.about["shard"])
                return Finished(record_in(opened, about), about["data"], about["damaged"])
            except StoreError:
                raise
            except UNREADABLE as error:
                raise opened.damaged(str(error)) from error
    except StoreError as error:
        raise StoreError(
            f"{error}. It is a shard of an unfinished run: delete it, and it is built again"
        ) from error


def _write_shard(file: FilePath, built: ClassPaths, record: Record, damaged: Mapping[str, str]) -> None:
    about = {"id": record.shard, "origin": record.origin, "named": record.named, "data": built.data}
    arrays: dict[str, NDArray[Any]] = {f"record/{name}": array for name, array in record.arrays.items()}
    write_class_paths(_bare(built), file, arrays, {"shard": {**about, "damaged": damaged}})


def _bare(class_paths: ClassPaths) -> ClassPaths:
    """Return class paths without what the manifest says for all files of a store."""
    return replace(class_paths, header=replace(class_paths.header, structure=None), names=(), data="")


def _batches(work: Work, count: int, budget: Budget | None) -> Iterator[slice]:
    """Yield which images of a shard are recorded together: the same each time."""
    each = bytes_per_image(work.graph, work.selection, work.layers)
    size = budget.together if budget else images_together(each, work.options.batch_size)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _record(work: Work, places: NDArray[np.int64]) -> Batch:
    images = choose(work.images, torch.from_numpy(places))
    return next(recordings(work.graph, images, options=work.selection, layers=work.layers, batch_size=len(places)))


def _class_in(file: FilePath, seal: str, label: int, empty: ClassPaths) -> ClassPaths:
    """Return the path of one class in a file, of which nothing is read yet."""
    with SealedFile(file, WHAT) as opened:
        about = provenance_of(opened)
        _check_same(opened, about, empty)
        images, counted = int(about["images"][str(label)]), label in about["counted"]
    files = ClassFiles({label: (file, seal)}, {label: images}, empty.header, empty.levels)
    return replace(
        empty, paths=Lazy([label], files.path), counts=Lazy([label] if counted else [], files.counted), names=()
    )


def _check_same(opened: SealedFile, about: Mapping[str, Any], empty: ClassPaths) -> None:
    """Raise StoreError where a file is of another network, or of other options, layers or levels."""
    for name, wanted in described(empty.header, empty.levels).items():
        if name not in ("structure", "architecture") and about.get(name) != wanted:
            raise StoreError(f"expected the {name} {wanted} in {opened.file}, got {about.get(name)}")
