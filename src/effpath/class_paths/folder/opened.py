"""Class paths in files, read when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path as FilePath
from typing import Any, TypeVar, overload

from effpath.class_paths.class_paths import Counted, Shard
from effpath.class_paths.folder.records import not_that_of_the_manifest
from effpath.class_paths.store import WHAT, Stored, provenance_of
from effpath.class_paths.tally import Counts
from effpath.files.sealed import SealedFile
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.plan import Level

K = TypeVar("K")
V = TypeVar("V")
OPEN_FILES = 256  # files of classes whose headers are held; the arrays stay on the disk
HELD = 64 << 20  # bytes of sets that were read last, and are held for the next query


class Lazy(Mapping[K, V]):
    """A mapping whose values are read when they are asked for; it holds none of them."""

    def __init__(self, keys: Iterable[K], read: Callable[[K], V]) -> None:
        """Take the keys, in their order, and what reads the value of one."""
        self._keys, self._read = dict.fromkeys(keys), read

    def __getitem__(self, key: K) -> V:
        """Read a value; KeyError where there is none."""
        if key not in self._keys:
            raise KeyError(key)
        return self._read(key)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is a value, without reading it."""
        return key in self._keys

    def __iter__(self) -> Iterator[K]:
        """Keys, in their order."""
        return iter(self._keys)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._keys)


class LazyShards(Sequence[Shard]):
    """Shards that are read, all together, when the first is asked for."""

    def __init__(self, read: Callable[[], Sequence[Shard]]) -> None:
        """Take what reads them."""
        self._read = read

    @cached_property
    def _shards(self) -> Sequence[Shard]:
        return self._read()

    @overload
    def __getitem__(self, index: int) -> Shard: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Shard]: ...

    def __getitem__(self, index: Any) -> Any:
        """Return one, or some."""
        return self._shards[index]

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self._shards)


class ClassFiles:
    """The files of the paths of classes; several threads may ask.

    Attributes:
        files: by class: the file, and the seal that it must have, "" for any.
        images: by class: the images in its path.
        header: of the paths.
        levels: that are kept.
    """

    def __init__(
        self,
        files: Mapping[int, tuple[str | FilePath, str]],
        images: Mapping[int, int],
        header: Header,
        levels: tuple[Level, ...],
    ) -> None:
        """Open nothing yet."""
        self.files, self.images, self.header, self.levels = files, images, header, levels
        self._lock = threading.Lock()
        self._stored: dict[int, Stored] = {}  # the one that was asked last is the last
        self._held: dict[str, IdSet] = {}  # likewise
        self._bytes = 0  # of these

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy what is to be opened, nothing that is open."""
        return ClassFiles, (self.files, self.images, self.header, self.levels)

    def path(self, label: int) -> Path:
        """Return the path of a class, of which nothing is read yet."""
        sets = {level: Lazy(self.header.keys(level), partial(self.ids, label, level)) for level in self.levels}
        return Path(self.header, sets, self.images[label])

    def counted(self, label: int) -> Counted:
        """Return the use counts of a class, of which nothing is read yet."""
        return {level: Lazy(self.header.keys(level), partial(self.counts, label, level)) for level in self.levels}

    def ids(self, label: int, level: Level, key: str) -> IdSet:
        """Return one set, read now or among the last; StoreError where its bytes differ from what was written."""
        name = f"{label}/{level}/{key}"
        with self._lock:
            found = self._held.pop(name, None)
            if found is None:
                found = self._open(label).ids(name, self.header.universe(level, key))
                if found.nbytes > HELD // 4:  # so large that few others could be held
                    return found
                self._bytes += found.nbytes
            self._held[name] = found
            while self._bytes > HELD:
                self._bytes -= self._held.pop(next(iter(self._held))).nbytes
            return found

    def counts(self, label: int, level: Level, key: str) -> Counts:
        """Read how many images used each member of a set; StoreError where the bytes differ."""
        name = f"{label}/{level}/{key}"
        with self._lock:
            stored = self._open(label)
            return stored.counts(name, stored.ids(name, self.header.universe(level, key)))

    def _open(self, label: int) -> Stored:
        """Return the open file of a class, whose header has been checked."""
        stored = self._stored.pop(label, None)
        if stored is None:
            file, seal = self.files[label]
            opened = SealedFile(file, WHAT)
            provenance_of(opened)
            if seal and opened.seal != seal:
                raise not_that_of_the_manifest(opened)
            stored = Stored(opened)
        self._stored[label] = stored
        if len(self._stored) > OPEN_FILES:
            del self._stored[next(iter(self._stored))]
        return stored
