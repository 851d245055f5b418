"""Stores that were built apart, united class by class: none is ever in memory as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.commit import Incoming, commit, joined
from effpath.class_paths.folder.engines import Inline
from effpath.class_paths.folder.matching import check_apart, check_same, open_or_create
from effpath.class_paths.folder.records import Record
from effpath.class_paths.folder.sharing import Here
from effpath.class_paths.folder.store import Store
from effpath.errors import StoreError
from effpath.graph.graph import Graph


def merge_stores(target: str | FilePath, folders: Sequence[str | FilePath], graph: Graph) -> ClassPaths:
    """Unite stores into another, and return its class paths, of which nothing is read yet.

    Args:
        target: the folder of a store, new or not; it is as before until all of them are in it.
        folders: of the stores, one or more.
        graph: of their network.

    Raises:
        FingerprintError, OptionError, StoreError: they are of different networks, options or levels; a shard or an
            image is in two of them; one is unfinished or damaged; the target cannot be written.
    """
    stores = [Store.open(folder) for folder in folders]
    first = stores[0].class_paths(graph)
    empty = ClassPaths(first.header, first.levels, {}, names=first.names)
    counts = bool(stores[0].manifest.about["counts"])
    records: list[Record] = []
    files: dict[int, list[tuple[FilePath, str]]] = {}
    origins: dict[str, str] = {}
    damaged: dict[str, str] = {}
    for store in stores:
        check_same(store, empty, counts, merging=True)
        check_ended(store)
        own = store.records()
        check_apart(records, own, store.folder)
        records += own
        for label in store.manifest.classes:
            file = store.class_file(label)
            if file is not None:
                files.setdefault(label, []).append(file)
        origins = joined(origins, store.manifest.origins)
        damaged |= store.manifest.damaged
    with open_or_create(FilePath(target), empty, counts).locked() as into:
        check_same(into, empty, counts)
        check_apart(into.records(), records, "the stores to merge")
        into = commit(into, Incoming(records, files, origins, damaged), Inline(), Here(empty))
    return into.class_paths(graph)


def check_ended(store: Store) -> None:
    """Raise StoreError where the run that builds a store has not come to its end."""
    if (count := len(store.waiting())) or not store.manifest.shards:
        what = f"{count} finished shards are not in its class paths yet" if count else "it has no images yet"
        raise StoreError(
            f"cannot merge the store {store.folder}: {what}; let the command that builds it come to its end"
        )
