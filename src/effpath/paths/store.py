"""Class paths on disk: one safetensors file with its provenance in the header. No pickles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from effpath.cache import atomic_write
from effpath.errors import FingerprintError, OptionError, StoreError
from effpath.graph.graph import Graph
from effpath.kernels.options import Options
from effpath.paths.class_paths import ClassPaths, Counted
from effpath.paths.idset import IdSet
from effpath.paths.path import Header, Path
from effpath.paths.tally import Counts
from effpath.rules.plan import Level, plan_for

FORMAT = "effpath-class-paths-2"
READABLE = ("effpath-class-paths-1", FORMAT)  # the first knew no rows, and kept counts as uint32


def save_class_paths(class_paths: ClassPaths, file: str | FilePath) -> None:
    """Write class paths to a file, atomically.

    Raises:
        StoreError: the file cannot be written; what was there before is untouched.
    """
    write_class_paths(class_paths, file, {}, {})


def write_class_paths(
    class_paths: ClassPaths, file: str | FilePath, beside: Mapping[str, NDArray[Any]], about: Mapping[str, Any]
) -> None:
    """Write class paths and what is kept with them to one file, which `load_class_paths` reads all the same.

    Args:
        class_paths: to be written.
        file: in whose place they are put in one step.
        beside: further arrays; their names must not begin with a number.
        about: what is said of these, a JSON value by name; the name ``effpath`` is taken.

    Raises:
        StoreError: the file cannot be written; what was there before is untouched.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for label, path in class_paths.paths.items():
        for level in class_paths.levels:
            for key, ids in path.sets(level).items():
                name = f"{label}/{level}/{key}"
                arrays |= {f"{name}/{kind}": array for kind, array in ids.arrays.items()}
                if label in class_paths.counts:
                    arrays[f"{name}/counts"] = _narrow(class_paths.counts[label][level][key])
    provenance = {
        "format": FORMAT,
        "fingerprint": class_paths.header.fingerprint,
        "options": class_paths.header.options.to_dict(),
        "layers": [layer.name for layer in class_paths.header.layers],
        "levels": list(class_paths.levels),
        "images": {str(label): path.images for label, path in class_paths.paths.items()},
        "counted": sorted(class_paths.counts),
        "seen": class_paths.seen,
        "names": list(class_paths.names),
        "data": class_paths.data,
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in {**arrays, **beside}.items()}
    header = {name: json.dumps(value) for name, value in {**about, "effpath": provenance}.items()}
    atomic_write(FilePath(file), lambda temporary: save_file(arrays, temporary, header))


def _narrow(counts: Counts) -> NDArray[Any]:
    """Return counts as uint16 where all fit."""
    return counts.astype(np.uint16) if counts.max(initial=0) < 1 << 16 else counts


def read_header(file: str | FilePath) -> dict[str, Any]:
    """Return the provenance of a class-path file: fingerprint, options, layers, images per class.

    Raises:
        StoreError: missing, truncated, or not a class-path file.
    """
    if not FilePath(file).is_file():
        raise StoreError(f"expected a class-path file, found no file at {file}")
    try:
        with safe_open(file, framework="numpy") as opened:
            about = json.loads((opened.metadata() or {}).get("effpath", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(
            f"cannot read class paths from {file}: {error}; the file is truncated or damaged, or not a "
            "class-path file: build it again or copy it again"
        ) from error
    if about.get("format") not in READABLE:
        raise StoreError(
            f"expected a file of format {' or '.join(READABLE)}, got {about.get('format')!r} in {file}"
        )
    return dict(about)


def load_class_paths(file: str | FilePath, graph: Graph) -> ClassPaths:
    """Open class paths that were built with this network.

    Raises:
        FingerprintError: they were built with another network; names both fingerprints.
        StoreError: missing, truncated, or not a class-path file.
    """
    about = read_header(file)
    if about["fingerprint"] != graph.fingerprint:
        raise FingerprintError(
            f"class paths of another network: {file} was built with fingerprint {about['fingerprint']}, "
            f"this network has {graph.fingerprint}; load the model they were built with, or build them again"
        )
    options = Options(**about["options"])
    plan = plan_for(graph, gates=options.gates)
    layers = tuple(plan.layer(name) for name in about["layers"])
    header = Header(graph.fingerprint, options, layers, graph.size(graph.input))
    paths: dict[int, Path] = {}
    counts: dict[int, Counted] = {}
    with safe_open(file, framework="numpy") as opened:
        stored = _Stored(opened, str(file))
        for label_text, images in about["images"].items():
            label = int(label_text)
            sets: dict[Level, dict[str, IdSet]] = {}
            counted: dict[Level, dict[str, Any]] = {}
            for level in about["levels"]:
                sets[level], counted[level] = {}, {}
                for key in header.keys(level):
                    name = f"{label}/{level}/{key}"
                    sets[level][key] = stored.ids(name, header.universe(level, key))
                    if label in about["counted"]:
                        counted[level][key] = stored.counts(name, sets[level][key])
            paths[label] = Path(
                header, sets.get("synapses"), sets.get("neurons"), sets.get("weights"), int(images)
            )
            if label in about["counted"]:
                counts[label] = counted
    return ClassPaths(
        header,
        tuple(about["levels"]),
        paths,
        counts,
        about["seen"],
        tuple(about["names"]),
        about["data"],
    )


class _Stored:
    """The sets and counts of an open file; `StoreError` for arrays that are none."""

    def __init__(self, opened: Any, file: str) -> None:
        self.opened, self.file, self.names = opened, file, set(opened.keys())

    def ids(self, name: str, size: int) -> IdSet:
        """Return a set, whichever of the three ways it was written."""
        try:
            if f"{name}/bits" in self.names:
                return IdSet.from_bits(self._array(f"{name}/bits", np.uint8), size=size)
            if f"{name}/ids" in self.names:
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
        try:
            array: NDArray[Any] = self.opened.get_tensor(name)
        except SafetensorError as error:
            raise self._damaged(name, str(error)) from error
        if array.ndim != 1 or array.dtype not in types:
            wanted = " or ".join(t.__name__ for t in types)
            raise self._damaged(name, f"expected {wanted} [n], got {array.dtype} {list(array.shape)}")
        return array

    def _damaged(self, name: str, what: str) -> StoreError:
        return StoreError(
            f"cannot read the set {name} from {self.file}: {what}; the file is damaged: build it again"
        )
