"""A store of a thousand classes and 1.28 million images, really built of made-up paths: opened, and asked.

    EFFPATH_DATA=DIR python -m benchmarks.stores.thousand --output docs/results/stores/thousand.json

ResNet-50 with a thousand outputs; the last three layers. What would be the work of a cluster, the paths, is made
up: random ids, as many for each class as asked. All else is what a run does: 2500 shards of 512 images are
written, taken in at once, class by class, and the manifest is written. Then the store is opened and an image is
scored, its paths of ranks 1 and 2 being there already: what this takes beyond the extraction. Each time anew, from
files that the system still holds, and from files that it has to read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from benchmarks.machine import forget_peak, memory
from benchmarks.networks import load_network
from benchmarks.page import table
from benchmarks.stores.result import mb, short, source, write_result
from effpath.class_paths.build import BuildOptions, prepare
from effpath.class_paths.folder.commit import Incoming, commit
from effpath.class_paths.folder.engines import Inline
from effpath.class_paths.folder.matching import open_or_create
from effpath.class_paths.folder.records import USED, Record
from effpath.class_paths.folder.sharing import Here
from effpath.class_paths.store import write_class_paths
from effpath.files.cache import fingerprint
from effpath.files.progress import track
from effpath.paths.idset import IdSet
from effpath.paths.path import Path as EffectivePath

LAYERS, SHARD = 3, 512
ORIGIN = fingerprint("made up")
ROUNDS = 20
Row = dict[str, Any]


class MadeUp:
    """Class paths of random ids.

    Attributes:
        empty: class paths of no image.
        ids: of a class, over all layers.
        classes, images: how many classes, and images of each.
    """

    def __init__(self, empty: effpath.ClassPaths, ids: int, classes: int, images: int, seed: int) -> None:
        """Draw the ids of every class when it is asked for."""
        self.empty, self.classes, self.images, self.seed = empty, classes, images, seed
        self.sizes = {key: empty.header.universe("synapses", key) for key in empty.header.keys("synapses")}
        whole = sum(self.sizes.values())
        self.counts = {key: max(1, round(ids * size / whole)) for key, size in self.sizes.items()}

    def ids(self, label: int, key: str, shards: Sequence[int]) -> np.ndarray:
        """Return the ids of a class in a layer that are in one of these shards: each has two thirds of them."""
        rng = np.random.default_rng((self.seed, label, [*self.sizes].index(key)))
        found = np.unique(rng.integers(self.sizes[key], size=self.counts[key]))
        place = np.arange(len(found))
        return found[np.any([(place + shard) % 3 != 0 for shard in shards], axis=0)]

    def members(self, label: int, key: str) -> np.ndarray:
        """Return the ids of a class in a layer."""
        first, end = label * self.images // SHARD, -(-(label + 1) * self.images // SHARD)
        return self.ids(label, key, range(first, end))

    def shards(self) -> Iterator[tuple[Record, effpath.ClassPaths]]:
        """Yield what is known of the images of each shard, and its class paths."""
        total = self.classes * self.images
        for start in range(0, total, SHARD):
            rows = np.arange(start, min(start + SHARD, total))
            rng = np.random.default_rng((self.seed, start))
            labels, digests = rows // self.images, rng.integers(1 << 63, size=len(rows)).astype(np.uint64)
            shard, outcomes = fingerprint(ORIGIN, start)[:16], np.full(len(rows), USED, np.uint8)
            record = Record(shard, ORIGIN, True, digests, rows, labels, outcomes)
            paths = {}
            for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
                sets = {}
                for key, size in self.sizes.items():
                    ids = self.ids(int(label), key, [start // SHARD])
                    sets[key] = IdSet.from_sorted(ids, size=size)
                paths[int(label)] = EffectivePath(self.empty.header, {"synapses": sets}, int(count))
            yield record, replace(self.empty, paths=paths)


def build(folder: Path, made: MadeUp) -> dict[str, Any]:
    """Build the store, and return what each part of it took."""
    bare = replace(made.empty, header=replace(made.empty.header, structure=None), names=(), data="")
    records, files = [], dict[int, list[tuple[Path, str]]]()
    held = memory("VmRSS")
    forget_peak()
    start = time.process_time()
    with open_or_create(folder, made.empty, False).locked() as store:
        with track("shards") as progress:
            for record, paths in made.shards():
                about = {"id": record.shard, "origin": ORIGIN, "named": True, "data": "made up", "damaged": {}}
                arrays = {f"record/{name}": array for name, array in record.arrays.items()}
                file = store.shard_file(record.shard)
                write_class_paths(replace(bare, paths=paths.paths), file, arrays, {"shard": about})
                records.append(record)
                for label in record.classes():
                    files.setdefault(label, []).append((file, ""))
                progress(len(records), -(-made.classes * made.images // SHARD))
        shards_s, start = time.process_time() - start, time.process_time()
        waiting = sum(file.stat().st_size for file in (folder / "shards").iterdir())
        store = commit(store, Incoming(records, files, {ORIGIN: "made up"}), Inline(), Here(made.empty))
    used = [entry.used for entry in store.manifest.classes.values()]
    if used != [made.images] * made.classes:
        raise SystemExit("other numbers of images than were built; nothing is reported")
    whole = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "shards": len(records), "shards_cpu_s": round(shards_s, 1), "shards_bytes": waiting,
        "commit_cpu_s": round(time.process_time() - start, 1), "held_bytes": held, "peak_bytes": memory("VmHWM"),
        "store_bytes": whole, "classes_bytes": sum(file.stat().st_size for file in (folder / "classes").iterdir()),
        "manifest_bytes": (folder / "manifest.json").stat().st_size,
        "images_bytes": next(folder.glob("images-*")).stat().st_size,
    }  # fmt: skip


def ask(folder: Path, graph: effpath.Graph, images: torch.Tensor, made: MadeUp, *, cold: bool) -> dict[str, Any]:
    """Return the milliseconds that opening the store and scoring one image take beyond the extraction; medians."""
    found: dict[str, list[float]] = {"open": [], "score": [], "both": [], "both, process time": []}
    ranked = [effpath.extract(graph, images, layers=LAYERS, rank=rank) for rank in (1, 2)]
    for place in range(len(images)):
        paths = [each[place : place + 1] for each in ranked]
        if cold:
            forget(folder)
        process, start = time.process_time(), time.perf_counter()
        opened = effpath.load_class_paths(folder, graph)
        between = time.perf_counter()
        values = [opened.similarity(each) for each in paths]
        end = time.perf_counter()
        found["both, process time"].append(time.process_time() - process)
        for name, seconds in {"open": between - start, "score": end - between, "both": end - start}.items():
            found[name].append(seconds)
        check(values, paths, made)
    return {name: round(1e3 * float(np.median(times)), 3) for name, times in found.items()}


def check(values: list[np.ndarray], paths: list[Any], made: MadeUp) -> None:
    """Stop unless the similarities are those with the ids that were made up."""
    for value, each in zip(values, paths, strict=True):
        label = int(each.classes[0])
        for column, key in enumerate(made.sizes):
            used = each.synapses[key][0]
            inside = np.isin(used, made.members(label, key)).mean() if len(used) else np.nan
            if not np.isclose(value[0, column], inside, equal_nan=True):
                raise SystemExit(f"class {label}, {key}: similarity {value[0, column]}, expected {inside}")


def forget(folder: Path) -> None:
    """Let the system drop what it holds of the files."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def measure(network: str, ids: int, images: int, rounds: int, folder: Path, seed: int) -> dict[str, Any]:
    """Build a store of a network's classes, and ask it so often."""
    torch.set_num_threads(1)
    opened = load_network(network, rounds, seed)
    graph = effpath.capture(opened.model, opened.images[:1])
    options = BuildOptions(("synapses",), counts=False)
    empty = prepare(graph, opened.images[:1], [0], layers=LAYERS, options=options).empty
    made = MadeUp(empty, ids, graph.classes, images, seed)
    built = build(folder, made)
    found = {"network": network, "layers": LAYERS, "classes": graph.classes, "images": images * graph.classes,
             "ids_per_class": sum(len(made.members(0, key)) for key in made.sizes), "asked": rounds}  # fmt: skip
    ask(folder, graph, opened.images[:1], made, cold=False)  # what is compiled once
    times = {name: ask(folder, graph, opened.images, made, cold=name == "read") for name in ("held", "read")}
    return found | {"build": built, "ms": times}


def shown(found: Row) -> str:
    """Return what a store of a thousand classes takes."""
    built = found["build"]
    lines = [
        [f"files {name}", f"{row['open']:.3g}", f"{row['score']:.3g}", f"**{row['both']:.3g}**",
         f"{row['both, process time']:.3g}"]
        for name, row in (("held by the system", found["ms"]["held"]), ("read from the disk", found["ms"]["read"]))
    ]  # fmt: skip
    return (
        f"{short(found['network'])}, the last {found['layers']} layers, {found['classes']} classes of "
        f"{found['ids_per_class']:,} ids, {found['images']:,} images in {built['shards']:,} shards: the reduce "
        f"and the manifest took {built['commit_cpu_s']:.0f} s of one processor and "
        f"{mb(built['peak_bytes'] - built['held_bytes'])} MB beyond the network's; the store has "
        f"{mb(built['store_bytes'])} MB, {mb(built['classes_bytes'])} of them paths, its manifest "
        f"{mb(built['manifest_bytes'])}. The paths are made up, all else is what a run does.\n\n"
        + table(["ms, beyond the extraction", "open", "score one image", "both", "both, processor"], lines)
        + f"\n\nMedians of {found['asked']}. {source(found)}"
    )


def main() -> None:
    """Build, ask, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="data:resnet50")
    parser.add_argument("--ids", type=int, default=100_000, help="of a class, over all layers")
    parser.add_argument("--images", type=int, default=1281, help="of each class")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="images that are asked for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(asked.network, asked.ids, asked.images, asked.rounds, Path(name) / "store", asked.seed)
    write_result(asked.output, "thousand", found, research=True)


if __name__ == "__main__":
    main()
