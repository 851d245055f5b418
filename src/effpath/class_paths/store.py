"""Class paths on disk: one safetensors file with checksums, and with its provenance in the header. No pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effpath.class_paths.class_paths import ClassPaths, Counted, Shard
from effpath.class_paths.tally import Counts
from effpath.errors import EffpathError, FingerprintError, OptionError, StoreError
from effpath.files.sealed import UNREADABLE, SealedFile, write_sealed
from effpath.graph.graph import Graph
from effpath.kernels.options import Options
from effpath.paths.header import Header, differing
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.plan import Level, plan_for

WHAT = "class paths"
FORMAT = "effpath-class-paths-3"
READABLE = ("effpath-class-paths-1", "effpath-class-paths-2", FORMAT)
"""The first has no rows and uint32 counts; the first two have no checksums and do not identify their images."""


def save_class_paths(class_paths: ClassPaths, file: str | FilePath) -> None:
    """Write class paths to a file, atomically.

    Raises:
        StoreError: the file cannot be written; the previous one is untouched.
    """
    write_class_paths(class_paths, file, {}, {})


def write_class_paths(
    class_paths: ClassPaths, file: str | FilePath, beside: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> None:
    """Write class paths and data stored with them to one file, which `load_class_paths` can still read.

    Args:
        class_paths: the class paths.
        file: is replaced in one step.
        beside: further arrays; their names must not begin with a number.
        about: JSON values by name that describe these arrays; the name ``effpath`` is taken.

    Raises:
        StoreError: the file cannot be written; the previous one is untouched.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for label, path in class_paths.paths.items():
        for level in class_paths.levels:
            for key, ids in path.sets(level).items():
                name = f"{label}/{level}/{key}"
                arrays |= {f"{name}/{kind}": array for kind, array in ids.arrays.items()}
                if label in class_paths.counts:
                    counts = class_paths.counts[label][level][key]
                    few = counts.max(initial=0) < 1 << 16
                    arrays[f"{name}/counts"] = counts.astype(np.uint16) if few else counts
    for place, shard in enumerate(class_paths.shards):
        arrays |= {f"shares/{place}/digests": shard.digests, f"shares/{place}/rows": shard.rows}
    provenance = {
        "format": FORMAT,
        **described(class_paths.header, class_paths.levels),
        "images": {str(label): path.images for label, path in class_paths.paths.items()},
        "counted": sorted(class_paths.counts),
        "seen": class_paths.seen,
        "names": list(class_paths.names),
        "data": class_paths.data,
        "shares": [shard.origin for shard in class_paths.shards],
    }
    texts = {name: json.dumps(value) for name, value in {**about, "effpath": provenance}.items()}
    write_sealed(FilePath(file), {**arrays, **beside}, texts)


def described(header: Header, levels: Sequence[Level]) -> dict[str, Any]:
    """Return what files say of the network, the options, the layers and the levels of class paths, for JSON."""
    return {
        "fingerprint": header.fingerprint,
        "architecture": header.architecture,
        "structure": header.structure,
        "options": header.options.to_dict(),
        "layers": [layer.name for layer in header.layers],
        "levels": list(levels),
    }


def provenance_of(opened: SealedFile) -> dict[str, Any]:
    """Return the provenance in an open class-path file: fingerprint, options, layers, images per class.

    Raises:
        StoreError: damaged, or not a class-path file.
    """
    try:
        about = dict(json.loads(opened.about.get("effpath", "{}")))
    except UNREADABLE as error:
        raise opened.damaged(str(error)) from error
    if about.get("format") not in READABLE:
        raise StoreError(
            f"expected a file of format {' or '.join(READABLE)}, got {about.get('format')!r} in {opened.file}"
        )
    if about["format"] == FORMAT and not opened.sealed:
        raise opened.damaged("its seal and its checksums are missing")
    return about


def load_class_paths(file: str | FilePath, graph: Graph) -> ClassPaths:
    """Load class paths that were built with this network, from a file, or open the store in a folder.

    A file is read whole; what is in a store is read when it is asked for. Each array is checked against its
    checksum when it is read.

    Raises:
        FingerprintError: they were built with another network; gives both fingerprints.
        StoreError: missing, truncated, damaged, or not class paths; of a store also while it is read, later.
    """
    if FilePath(file).is_dir():
        from effpath.class_paths.folder.store import Store  # its files are read by what is below

        return Store.open(file).class_paths(graph)
    with SealedFile(file, WHAT) as opened:
        return class_paths_in(opened, graph)


def class_paths_in(opened: SealedFile, graph: Graph) -> ClassPaths:
    """Return the class paths of an open file; see `load_class_paths`."""
    about = provenance_of(opened)
    try:
        return _class_paths(opened, about, header_in(about, graph, opened.file))
    except StoreError:
        raise
    except (*UNREADABLE, EffpathError) as error:  # a header that another program wrote
        raise opened.damaged(f"{type(error).__name__}: {error}") from error


def header_in(about: Mapping[str, Any], graph: Graph, file: str | FilePath) -> Header:
    """Return the header that a file of class paths of this network has `described`.

    Raises:
        FingerprintError: it is of another network; names the file, and gives both fingerprints.
    """
    if about["fingerprint"] != graph.fingerprint:
        what_to_do = differing(about.get("architecture", ""), graph.architecture)
        raise FingerprintError(
            f"expected class paths of this network, with fingerprint {graph.fingerprint}, got {file}, "
            f"built with {about['fingerprint']}; {what_to_do}"
        )
    options = Options(**about["options"])
    plan = plan_for(graph, gates=options.gates)
    return Header.of(graph, options, tuple(plan.layer(name) for name in about["layers"]))


def _class_paths(opened: SealedFile, about: Mapping[str, Any], header: Header) -> ClassPaths:
    levels: tuple[Level, ...] = tuple(about["levels"])
    stored = Stored(opened)
    paths: dict[int, Path] = {}
    counts: dict[int, Counted] = {}
    for label_text, images in about["images"].items():
        label = int(label_text)
        sets: dict[Level, dict[str, IdSet]] = {level: {} for level in levels}
        counted: dict[Level, dict[str, Any]] = {level: {} for level in levels}
        for level in levels:
            for key in header.keys(level):
                name = f"{label}/{level}/{key}"
                sets[level][key] = stored.ids(name, header.universe(level, key))
                if label in about["counted"]:
                    counted[level][key] = stored.counts(name, sets[level][key])
        paths[label] = Path(header, sets, int(images))
        if label in about["counted"]:
            counts[label] = counted
    shards = tuple(
        Shard(opened.array(f"shares/{place}/digests"), origin, opened.array(f"shares/{place}/rows"))
        for place, origin in enumerate(about.get("shares", ()))
    )
    return ClassPaths(header, levels, paths, counts, about["seen"], tuple(about["names"]), about["data"], shards)


class Stored:
    """The sets and counts of an open file; `StoreError` for malformed arrays."""

    def __init__(self, opened: SealedFile) -> None:
        """Read from a file."""
        self.opened = opened

    def ids(self, name: str, size: int) -> IdSet:
        """Return a set, in whichever of the three forms it was written."""
        try:
            if f"{name}/bits" in self.opened.names:
                return IdSet.from_bits(self._array(f"{name}/bits", np.uint8), size=size)
            if f"{name}/ids" in self.opened.names:
                return IdSet.from_sorted(self._array(f"{name}/ids", np.int64), size=size)
            starts, lows = self._array(f"{name}/starts", np.int64), self._array(f"{name}/lows", np.uint16)
            return IdSet.from_rows(starts, lows, size=size)
        except OptionError as error:
            raise self._damaged(name, str(error)) from error

    def counts(self, name: str, ids: IdSet) -> Counts:
        """Return the use counts of a set's members."""
        counts = self._array(f"{name}/counts", np.uint16, np.uint32)
        if len(counts) != len(ids):
            raise self._damaged(name, f"expected one count for each of {len(ids)} ids, got {len(counts)}")
        return counts.astype(np.uint32)

    def _array(self, name: str, *types: type[np.integer[Any]]) -> NDArray[Any]:
        if name not in self.opened.names:
            raise self._damaged(name, f"the file has no array {name}")
        array = self.opened.array(name)
        if array.ndim != 1 or array.dtype not in types:
            expected = " or ".join(t.__name__ for t in types)
            raise self._damaged(name, f"expected {expected} [n], got {array.dtype} {list(array.shape)}")
        return array

    def _damaged(self, name: str, what: str) -> StoreError:
        return StoreError(
            f"cannot read the set {name} from {self.opened.file}: {what}; the file is damaged: build it again"
        )
