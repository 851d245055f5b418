"""One run over a store: what is left to do of it, and taking in what was done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path as FilePath

import numpy as np

from effpath.class_paths.build import Work
from effpath.class_paths.folder.commit import Incoming, commit
from effpath.class_paths.folder.cut import Assignment, cut, origin_of
from effpath.class_paths.folder.engines import ATTEMPTS, Engine, run_tasks
from effpath.class_paths.folder.matching import INSTEAD, check_apart, check_images
from effpath.class_paths.folder.options import StoreOptions
from effpath.class_paths.folder.records import Record
from effpath.class_paths.folder.store import Store
from effpath.class_paths.folder.tasks import EmptyOf, Finished, MapShard, Opener, read_shard
from effpath.class_paths.memory import budget_of
from effpath.errors import ClassPathError, InputError, OptionError, StoreError
from effpath.files.cache import note_step

Progress = Callable[[int, int], None]


class Filling:
    """The shards of a work that are not in the class paths of a store yet, and how far they are."""

    def __init__(
        self, work: Work, options: StoreOptions, engine: Engine, open_work: Opener, progress: Progress
    ) -> None:
        self.work, self.options, self.engine, self.open_work = work, options, engine, open_work
        self.progress, self.origin = progress, origin_of(work)
        self.finished: dict[str, Finished] = {}  # by id of the shard
        self.others: list[Record] = []  # of other data in the store
        self.readable = False  # whether any image was read so far
        self.running: dict[int, int] = {}  # images done, by place of the task
        self.done = 0

    def fill(self, store: Store) -> Store:
        """Return the store with all images of the work in it."""
        store, shards = self._plan(store)
        left = [shard for shard in shards if shard.id not in self.finished]
        if left:
            budget_of(self.work, max(shard.classes(self.work) for shard in left))  # before the work, not during it
        total = len(self.work.labels)
        self.done = total - sum(len(shard.places) for shard in left)

        def tell() -> None:
            self.progress(self.done + sum(self.running.values()), total)

        def go_on(place: int, images: int) -> None:
            self.running[place] = images
            tell()

        def end(place: int) -> None:
            self._accept(store, left[place])
            self.running.pop(place, None)
            self.done += len(left[place].places)
            note_step(store.folder)
            tell()

        if self.done:
            note_step(store.folder)
        tell()
        strict = self.options.strict
        tasks = [MapShard(self.open_work, shard, store.shard_file(shard.id), strict) for shard in left]
        errors = run_tasks(self.engine, tasks, progress=go_on, ended=end)
        store = self._take_in(store, [shard.id for shard in shards if shard.id in self.finished])
        if errors:
            raise self._left_out(len(shards), {left[place].id: error for place, error in errors.items()})
        return store

    def _plan(self, store: Store) -> tuple[Store, list[Assignment]]:
        """Return the store and the shards that are not in its class paths; finished ones are noted."""
        empty, records = self.work.empty, store.records()
        self.finished = {shard: read_shard(store.shard_file(shard), empty) for shard in store.waiting()}
        every = [*records, *(each.record for each in self.finished.values())]
        own = [record for record in every if record.origin == self.origin]
        self.others = [record for record in every if record.origin != self.origin]
        self.readable = any(record.readable.any() for record in every)
        if self.others and not own and not self.options.add:
            told = [*store.manifest.origins.values(), *(each.data for each in self.finished.values())]
            held = " | ".join(dict.fromkeys(told))
            raise StoreError(
                f"the store {store.folder} belongs to another run: it holds images of {held!r}, here are those of "
                f"{empty.data!r}; {INSTEAD}, or add them to it (add=True, --add)"
            )
        check_images(self.work, own, store.folder, others=self.options.add)
        shards = self._cut(records)
        if self.finished.keys() <= {shard.id for shard in shards}:
            return store, shards
        taken = self._disjoint(store, records)  # of a run that was given other images or another size
        store = self._take_in(store, taken)
        self.finished = {}
        return store, self._cut(store.records())

    def _cut(self, records: Sequence[Record]) -> list[Assignment]:
        own = [record.rows for record in records if record.origin == self.origin]
        return cut(self.work, self.options.shard_size, np.concatenate([np.empty(0, np.int64), *own]))

    def _disjoint(self, store: Store, records: Sequence[Record]) -> list[str]:
        """Return the finished shards that have no image in common, and remove the files of the others."""
        taken: list[str] = []
        known = {(record.origin, row) for record in records for row in record.rows.tolist()}
        for shard, (record, _, _) in sorted(self.finished.items()):
            images = {(record.origin, row) for row in record.rows.tolist()}
            if known.isdisjoint(images):
                known |= images
                taken.append(shard)
            else:
                store.shard_file(shard).unlink()
        return taken

    def _accept(self, store: Store, shard: Assignment) -> None:
        """Note a shard that was finished just now; remove it, with an error, where it must not be in the store."""
        file = store.shard_file(shard.id)
        found = read_shard(file, self.work.empty)
        self.readable = self.readable or bool(found.record.readable.any())
        try:
            if not self.readable:
                why = next(iter(found.damaged.values()))
                raise InputError(f"none of {len(found.record)} images can be read: {why}")
            check_apart(self.others, [found.record], self.work.empty.data or "these images")
        except (InputError, OptionError):
            file.unlink()
            raise
        self.finished[shard.id] = found

    def _take_in(self, store: Store, shards: Sequence[str]) -> Store:
        """Return the store with finished shards in its class paths; without one it is only swept."""
        if not shards:
            store.sweep()
            return store
        found = [self.finished[shard] for shard in shards]
        files: dict[int, list[tuple[FilePath, str]]] = {}
        for record, _, _ in found:
            for label in record.classes():
                files.setdefault(label, []).append((store.shard_file(record.shard), ""))
        origins = {record.origin: data for record, data, _ in found}
        damaged = {name: why for each in found for name, why in each.damaged.items()}
        incoming = Incoming([each.record for each in found], files, origins, damaged)
        return commit(store, incoming, self.engine, EmptyOf(self.open_work))

    def _left_out(self, count: int, errors: dict[str, Exception]) -> ClassPathError:
        """Return the error for shards that failed again and again; the others are in the store."""
        told = [f"{shard} ({type(error).__name__}: {error})" for shard, error in errors.items()]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        return ClassPathError(
            f"{len(told)} of {count} shards failed {ATTEMPTS} times and are left out of the class paths: "
            f"{', '.join(told[:3])}{more}; the same command tries them again"
        )
