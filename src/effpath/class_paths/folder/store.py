"""The folder of a store: what is in it, and opening it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path as FilePath
from typing import BinaryIO

from effpath.class_paths.class_paths import ClassPaths, Shard
from effpath.class_paths.folder import manifest as manifests
from effpath.class_paths.folder.manifest import Kept, Manifest, read_manifest, write_manifest
from effpath.class_paths.folder.opened import ClassFiles, Lazy, LazyShards
from effpath.class_paths.folder.records import Record, read_records, shards_of
from effpath.class_paths.store import header_in
from effpath.errors import StoreError
from effpath.files.cache import atomic_write
from effpath.graph.graph import Graph
from effpath.rules.plan import Level

CLASSES, SHARDS, LOCK = "classes", "shards", "lock"
STRUCTURE = "network.json"


@dataclass(frozen=True)
class Store:
    """A store, as its manifest was when it was opened.

    Its files are never changed: a new one is written, and the manifest, which names those that count, is replaced
    in one step. So what has been opened stays what it was, until the files that are no longer named are removed.

    Attributes:
        folder: of the files.
        manifest: what is in them.
    """

    folder: FilePath
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | FilePath) -> Store:
        """Read the manifest of a store, and nothing else; StoreError where it is missing or damaged."""
        return cls(FilePath(folder), read_manifest(FilePath(folder)))

    @classmethod
    def create(cls, folder: FilePath, manifest: Manifest, structure: str | None) -> Store:
        """Make an empty store, in one step.

        Args:
            folder: which must not exist.
            manifest: without files.
            structure: of the network, see `Graph`.

        Raises:
            StoreError: it exists, or cannot be written.
        """
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.mkdir(parents=True)
            for name in (CLASSES, SHARDS):
                (temporary / name).mkdir()
            if structure is not None:
                content = structure.encode(errors="surrogatepass")
                atomic_write(temporary / STRUCTURE, partial(_write, content))
                kept = Kept(STRUCTURE, hashlib.sha256(content).hexdigest())
                manifest = replace(manifest, structure=kept)
            write_manifest(temporary, manifest)
            temporary.rename(folder)
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(f"cannot write the store {folder}: {error}; choose another folder") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(folder)

    @property
    def structure(self) -> str | None:
        """What lets the network be captured again at once, see `Graph`; StoreError where it is damaged."""
        kept = self.manifest.structure
        if kept is None:
            return None
        file = self.folder / kept.file
        try:
            content = file.read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {file}: {error}; copy the store again") from error
        if hashlib.sha256(content).hexdigest() != kept.seal:
            raise StoreError(f"cannot read {file}: its bytes differ from what was written; copy the store again")
        return content.decode(errors="surrogatepass")

    def records(self) -> list[Record]:
        """Return which images the class paths were made from; StoreError where that is damaged."""
        return read_records(self.folder, self.manifest.images)

    def class_file(self, label: int) -> tuple[FilePath, str] | None:
        """Return the file of a class and the seal that it must have; None where the class has no path."""
        entry = self.manifest.classes.get(label)
        return None if entry is None or entry.kept is None else self._file_of(label)

    def _file_of(self, label: int) -> tuple[FilePath, str]:
        kept = self.manifest.classes[label].kept
        assert kept is not None
        return self.folder / CLASSES / kept.file, kept.seal

    def _images_of(self, label: int) -> int:
        return self.manifest.classes[label].used

    def shard_file(self, shard: str) -> FilePath:
        """Return where a finished shard waits until it is in the class paths."""
        return self.folder / SHARDS / f"{shard}.safetensors"

    def waiting(self) -> list[str]:
        """Return the ids of the finished shards that are not in the class paths yet, sorted."""
        found = [file.stem for file in (self.folder / SHARDS).glob("*.safetensors") if file.name[0] != "."]
        return sorted(set(found) - set(self.manifest.shards))

    def class_paths(self, graph: Graph) -> ClassPaths:
        """Return the class paths of the store, of which nothing is read yet.

        Raises:
            FingerprintError: they were built with another network.
        """
        about, classes = self.manifest.about, self.manifest.classes
        header = header_in(about, graph, self.folder)
        levels: tuple[Level, ...] = tuple(about["levels"])
        kept = classes.kept
        opened = ClassFiles(Lazy(kept, self._file_of), Lazy(kept, self._images_of), header, levels)
        return ClassPaths(
            header,
            levels,
            Lazy(kept, opened.path),
            Lazy(kept if about["counts"] else [], opened.counted),
            classes.readable,
            tuple(about["names"]),
            " | ".join(dict.fromkeys(self.manifest.origins.values())),
            LazyShards(partial(_shards, self)),
        )

    @contextlib.contextmanager
    def locked(self) -> Iterator[Store]:
        """Keep other runs from writing to the store in the block; yields the store as it is then.

        The lock is the system's, so that it ends with the process, however that ends.

        Raises:
            StoreError: another run is writing.
        """
        with (self.folder / LOCK).open("ab") as file:
            try:
                _lock(file)
            except (BlockingIOError, PermissionError) as error:
                raise StoreError(
                    f"cannot write to the store {self.folder}: another run is writing to it; wait until it ends"
                ) from error
            yield Store.open(self.folder)

    def sweep(self) -> None:
        """Remove what earlier states of the store and interrupted runs have left."""
        named = self.manifest.files()
        for folder in (self.folder, self.folder / CLASSES, self.folder / SHARDS):
            for file in [*folder.glob(".*.tmp"), *folder.glob(".tmp*")]:  # ours, and those of safetensors
                _remove(file)
        for file in [*self.folder.glob("images-*.safetensors"), *(self.folder / CLASSES).glob("*.safetensors")]:
            if file.name not in named:
                _remove(file)
        for shard in self.manifest.shards:
            _remove(self.shard_file(shard))


def check_folder(folder: FilePath) -> None:
    """Raise StoreError where a store can be neither made nor opened, so that this is known before the work."""
    if folder.is_dir():
        if not (folder / manifests.NAME).exists():
            raise StoreError(
                f"cannot write {folder}: expected a store, a new folder or a .safetensors file, "
                f"got a folder without {manifests.NAME}; name a new folder in it"
            )
        return
    above = next(each for each in folder.absolute().parents if each.exists())
    if folder.exists() or not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        what = "expected the folder of a store, got a file" if folder.exists() else f"{above} is not writable"
        raise StoreError(f"cannot write {folder}: {what}; choose another")


def _lock(file: BinaryIO) -> None:
    """Lock an open file until this process closes it; BlockingIOError or PermissionError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove(file: FilePath) -> None:
    with contextlib.suppress(PermissionError):  # on Windows while another process reads it: a later run removes it
        file.unlink(missing_ok=True)


def _write(content: bytes, file: FilePath) -> None:
    file.write_bytes(content)


def _shards(store: Store) -> tuple[Shard, ...]:
    return shards_of(store.records())
