"""Taking finished shards into the class paths of a store: all of them in one step, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

import numpy as np

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.engines import Engine, run_tasks
from effpath.class_paths.folder.manifest import Entries, Kept, OfClass, write_manifest
from effpath.class_paths.folder.records import WHAT, Record, outcomes_by_class, write_records
from effpath.class_paths.folder.store import CLASSES, Store
from effpath.class_paths.folder.tasks import ReduceClass
from effpath.class_paths.store import WHAT as PATHS
from effpath.files.cache import fingerprint
from effpath.files.sealed import SealedFile

Files = Sequence[tuple[FilePath, str]]


@dataclass(frozen=True, eq=False)
class Incoming:
    """Shards that are to be taken in.

    Attributes:
        records: of their images.
        files: by class: files that have its path over these shards, each with the seal that it must have, or "".
        origins: descriptions of the data, by identity.
        damaged: why images could not be read, by name.
    """

    records: Sequence[Record]
    files: Mapping[int, Files]
    origins: Mapping[str, str]
    damaged: Mapping[str, str] = field(default_factory=dict)


def commit(store: Store, new: Incoming, engine: Engine, empty: Callable[[], ClassPaths]) -> Store:
    """Return the store with more shards in its class paths; until the end it is what it was.

    The path of each class is written to a file of its own, whose name says of which shards it is: a run that was
    interrupted takes it up. Then the manifest is replaced, and what it does not name any more is removed.

    Args:
        store: which must be locked.
        new: shards that are not in it; see `check_apart`.
        engine: runs one task for each class.
        empty: gives the class paths of no image.

    Raises:
        StoreError: a file is damaged, or cannot be written; the store is as before.
    """
    manifest = store.manifest
    shards: dict[int, list[tuple[str, str]]] = {}
    for record in new.records:
        which = record.shard, fingerprint(record.digests)
        for label in record.classes():
            shards.setdefault(label, []).append(which)
    tasks = []
    for label, those in sorted(shards.items()):
        before = store.class_file(label)
        of = fingerprint(before[0].name if before else "", sorted(those))[:16]
        target = store.folder / CLASSES / f"{label}-{of}.safetensors"
        files = (*([before] if before else []), *new.files[label])
        tasks.append(ReduceClass(empty, label, files, target))
    errors = run_tasks(engine, tasks)
    if errors:
        raise next(iter(errors.values()))
    records = [*store.records(), *new.records]
    images = f"images-{fingerprint([record.shard for record in records])[:16]}.safetensors"
    write_records(store.folder / images, records)
    written = {task.label: _kept(task.target, PATHS) for task in tasks}
    classes = dict(manifest.classes)
    for label, found in outcomes_by_class(new.records).items():
        entry = classes.get(label, OfClass(0, 0, 0))
        used, wrong, damaged = (np.array([entry.used, entry.wrong, entry.damaged]) + found).tolist()
        classes[label] = OfClass(used, wrong, damaged, written.get(label, entry.kept))
    taken = replace(
        manifest,
        origins=joined(manifest.origins, new.origins),
        classes=Entries.of(classes),
        shards={**manifest.shards, **{record.shard: len(record) for record in new.records}},
        damaged={**manifest.damaged, **new.damaged},
        images=_kept(store.folder / images, WHAT),
    )
    write_manifest(store.folder, taken)
    after = Store(store.folder, taken)
    after.sweep()
    return after


def joined(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Return the descriptions of data by identity, with both where they differ."""
    found = dict(first)
    for origin, data in second.items():
        texts = [*found.get(origin, data).split(" | "), *data.split(" | ")]
        found[origin] = " | ".join(dict.fromkeys(texts))
    return found


def _kept(file: FilePath, what: str) -> Kept:
    """Return how the manifest names a file."""
    with SealedFile(file, what) as opened:
        return Kept(file.name, opened.seal)
