"""Whether a store, what is to come into it, and what it was made from belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
import torch
from torch import Tensor

from effpath.class_paths.build import Work
from effpath.class_paths.class_paths import ClassPaths, digests_of
from effpath.class_paths.folder.cut import rows_of
from effpath.class_paths.folder.manifest import Manifest
from effpath.class_paths.folder.records import Record, shards_of
from effpath.class_paths.folder.store import Store, check_folder
from effpath.class_paths.store import described
from effpath.errors import FingerprintError, OptionError, StoreError
from effpath.paths.header import differing

READ_TOGETHER = 64  # images that are read again
INSTEAD = "delete it to start again, or name another"


def open_or_create(folder: FilePath, empty: ClassPaths, counts: bool) -> Store:
    """Return the store in a folder, made where there is none; StoreError where that cannot be."""
    check_folder(folder)
    if folder.exists():
        return Store.open(folder)
    about = described(empty.header, empty.levels)
    structure = about.pop("structure")
    manifest = Manifest({**about, "counts": counts, "names": list(empty.names)})
    return Store.create(folder, manifest, structure)


def check_same(store: Store, empty: ClassPaths, counts: bool, *, merging: bool = False) -> None:
    """Raise an error unless a store is of the same network, options, layers and levels, with counts or without.

    Raises:
        FingerprintError: of another network.
        OptionError, StoreError: of others of these.
    """
    about, folder = store.manifest.about, store.folder
    where = f"cannot merge the store {folder}" if merging else f"the store {folder} belongs to another run"
    instead = "build it like the others" if merging else INSTEAD
    found = described(empty.header, empty.levels)
    if about["fingerprint"] != found["fingerprint"]:
        raise FingerprintError(
            f"{where}: it is of a network with fingerprint {about['fingerprint']}, this one has "
            f"{found['fingerprint']}; {differing(about['architecture'], found['architecture'])}"
        )
    if about["options"] != found["options"] or about["layers"] != found["layers"]:
        raise OptionError(
            f"{where}: paths of different options or layers: {about['options']} over {about['layers']}, here "
            f"{found['options']} over {found['layers']}; {instead}"
        )
    if about["levels"] != found["levels"] or about["counts"] != counts:
        has, wanted = (
            f"levels {', '.join(each['levels'])}, {'with' if each['counts'] else 'without'} counts"
            for each in (about, {**found, "counts": counts})
        )
        raise StoreError(f"{where}: {has}; here {wanted}; {instead}")


def check_images(work: Work, records: Sequence[Record], folder: object, *, others: bool) -> None:
    """Raise StoreError unless the images that shards were made from are still what they were.

    Images in memory, and those without an origin, are all compared. Of others, which an identity of their data
    names and which may be on slow disks, one of each shard is.

    Args:
        work: the images as they are now.
        records: of the shards of the same data.
        folder: of the store, for messages.
        others: shards may have images that are not among those of the work.
    """
    where = f"the store {folder} belongs to another run"
    rows = rows_of(work)
    known = np.concatenate([np.empty(0, np.int64), *(record.rows for record in records)])
    absent = int((~np.isin(known, rows)).sum())
    if absent and not others:
        raise StoreError(
            f"{where}: it was made from {len(known)} images, here are {len(rows)}, and {absent} of those are not "
            f"among them; {INSTEAD}"
        )
    order = np.argsort(rows, kind="stable")
    every = isinstance(work.images, Tensor) or not work.origin
    for record in records:
        here = np.flatnonzero(record.readable & np.isin(record.rows, rows))[: None if every else 1]
        places = order[np.searchsorted(rows, record.rows[here], sorter=order)]
        for start in range(0, len(places), READ_TOGETHER):
            part = slice(start, start + READ_TOGETHER)
            at = torch.from_numpy(places[part])
            found = digests_of(work.graph.check_images(work.images[at]), work.labels[at])
            other = found != record.digests[here][part]
            if other.any():
                row = int(record.rows[here][part][other.argmax()])
                raise StoreError(f"{where}: image {row} had other pixels or another label there; {INSTEAD}")


def check_apart(known: Sequence[Record], new: Sequence[Record], where: object) -> None:
    """Raise OptionError where a shard or an image is on both sides.

    Images of one data set are told apart by their rows, others by their pixels and labels; see `Shard`.
    """
    both = {record.shard for record in known} & {record.shard for record in new}
    if both:
        raise OptionError(
            f"expected shards that are not in the store yet, got {len(both)} of {len(new)} from {where} that are "
            f"({min(both)}): merge each shard once; images without an origin (Description) should have one"
        )
    common = sum(one.common(two) for one in shards_of(new) for two in shards_of(known))
    if common:
        raise OptionError(
            f"expected images that are not in the store yet, got {common} from {where} that are, with the same "
            "pixels and labels: leave them out"
        )
