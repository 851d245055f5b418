"""Reading every byte of a store, to know that it is what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath

from effpath.class_paths.folder.records import WHAT, not_that_of_the_manifest
from effpath.class_paths.folder.store import CLASSES, Store
from effpath.class_paths.store import WHAT as PATHS
from effpath.errors import StoreError
from effpath.files.sealed import SealedFile


def verify(folder: str | FilePath, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Read every byte of a store and compare it with its checksum; no network is needed.

    Args:
        folder: of the store.
        progress: called with files read and in all.

    Returns:
        What is wrong, a sentence for each file; empty where everything is as it was written.
    """
    wrong: list[str] = []
    try:
        store = Store.open(folder)
    except StoreError as error:
        return [str(error)]
    manifest = store.manifest
    files: list[tuple[FilePath, str, str]] = []
    if manifest.images is not None:
        files.append((store.folder / manifest.images.file, manifest.images.seal, WHAT))
    for entry in manifest.classes.values():
        if entry.kept is not None:
            files.append((store.folder / CLASSES / entry.kept.file, entry.kept.seal, PATHS))
    files += [(store.shard_file(shard), "", PATHS) for shard in store.waiting()]
    try:
        _ = store.structure
    except StoreError as error:
        wrong.append(str(error))
    for done, file in enumerate(files, 1):
        try:
            verify_file(*file)
        except StoreError as error:
            wrong.append(str(error))
        progress(done, len(files))
    return wrong


def verify_file(file: FilePath, seal: str, what: str) -> None:
    """Read a file of a store whole.

    Args:
        file: a class's, a shard's, or that of the images.
        seal: that it must have; "" for any.
        what: what it has, for messages.

    Raises:
        StoreError: missing, or a byte differs from what was written.
    """
    with SealedFile(file, what) as opened:
        if not opened.sealed:
            raise opened.damaged("its seal and its checksums are missing")
        if seal and opened.seal != seal:
            raise not_that_of_the_manifest(opened)
        for name in sorted(opened.names):
            opened.array(name)
