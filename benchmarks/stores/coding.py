"""Ids coded as gaps and compressed, beside the arrays that a store keeps: size, and time to read three layers.

    EFFPATH_DATA=DIR python -m benchmarks.stores.coding --output docs/results/stores/coding.json

The synapses of one class of Imagenette. Each way is written to a file with checksums as the store's, and read back
as the store reads it: opened, checked, as sets, which must be those that were written. zstd needs the package
zstandard; deflate is Python's own. Process time, median.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import effpath
from benchmarks.networks import research_folder
from benchmarks.page import table
from benchmarks.sets import load_images
from benchmarks.stores.result import number, short, source, write_result
from effpath.class_paths.store import WHAT, Stored
from effpath.files.progress import track
from effpath.files.sealed import SealedFile, write_sealed
from effpath.models import load_model
from effpath.paths.idset import IdSet

CASES = ("alexnet_imagenette", "resnet50_imagenette")
REPEATS = 30
Bytes = NDArray[np.uint8]
Sets = Mapping[str, IdSet]
Row = dict[str, Any]
Pack = Callable[[bytes], bytes]


def varints(ids: NDArray[np.int64]) -> bytes:
    """Return the gaps between ascending ids, seven bits to a byte; the top bit says that more follow."""
    gaps = np.diff(ids, prepend=0)
    shifts = 7 * np.arange(6)
    parts = (gaps[:, None] >> shifts) & 0x7F
    used = np.maximum(1, (shifts < np.frexp(gaps)[1][:, None]).sum(1))
    kept = np.arange(6) < used[:, None]
    parts[np.arange(6) < used[:, None] - 1] |= 0x80
    return parts[kept].astype(np.uint8).tobytes()


def of_varints(coded: bytes) -> NDArray[np.int64]:
    """Return the ids whose gaps were coded."""
    found = np.frombuffer(coded, np.uint8)
    ends = np.flatnonzero(found < 0x80)
    if not len(ends):
        return np.empty(0, np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(found)) - np.repeat(starts, ends - starts + 1)
    return np.cumsum(np.add.reduceat((found & 0x7F).astype(np.int64) << (7 * place), starts))


def packers() -> dict[str, tuple[Pack, Pack]]:
    """Return how bytes are compressed and decompressed, by name."""
    import zstandard

    return {
        "": (lambda raw: raw, lambda raw: raw),
        " + deflate": (lambda raw: zlib.compress(raw, 6), zlib.decompress),
        " + zstd": (zstandard.ZstdCompressor(3).compress, zstandard.ZstdDecompressor().decompress),
    }


class Gaps:
    """Ids as gaps, compressed."""

    def __init__(self, pack: tuple[Pack, Pack]) -> None:
        """Take how to compress and decompress."""
        self.pack, self.unpack = pack

    def arrays(self, name: str, ids: IdSet) -> dict[str, NDArray[Any]]:
        """Return what a file has of a set."""
        return {name: np.frombuffer(self.pack(varints(ids.ids)), np.uint8)}

    def read(self, file: SealedFile, name: str, size: int) -> IdSet:
        """Return the set."""
        return IdSet.from_sorted(of_varints(self.unpack(file.array(name).tobytes())), size=size)


class PlainIds(Gaps):
    """Ids as int64."""

    def arrays(self, name: str, ids: IdSet) -> dict[str, NDArray[Any]]:
        """Return what a file has of a set."""
        return {name: np.frombuffer(self.pack(ids.ids.astype(np.int64).tobytes()), np.uint8)}

    def read(self, file: SealedFile, name: str, size: int) -> IdSet:
        """Return the set."""
        ids = np.frombuffer(self.unpack(file.array(name).tobytes()), np.int64)
        return IdSet.from_sorted(ids, size=size)


class Ours(Gaps):
    """The arrays of a store: rows of two bytes for an id, bits, or ids, whichever is smallest."""

    def arrays(self, name: str, ids: IdSet) -> dict[str, NDArray[Any]]:
        """Return what a file has of a set."""
        return {
            f"{name}/{kind}": np.frombuffer(self.pack(array.tobytes()), np.uint8) if self.packed else array
            for kind, array in ids.arrays.items()
        }

    @property
    def packed(self) -> bool:
        """Whether it is compressed."""
        return self.pack(bytes(64)) != bytes(64)

    def read(self, file: SealedFile, name: str, size: int) -> IdSet:
        """Return the set."""
        if not self.packed:
            return Stored(file).ids(name, size)
        unpacked = {
            kind: np.frombuffer(self.unpack(file.array(f"{name}/{kind}").tobytes()), dtype)
            for kind, dtype in {"bits": np.uint8, "ids": np.int64, "starts": np.int64, "lows": np.uint16}.items()
            if f"{name}/{kind}" in file.names
        }
        if "bits" in unpacked:
            return IdSet.from_bits(unpacked["bits"], size=size)
        if "ids" in unpacked:
            return IdSet.from_sorted(unpacked["ids"], size=size)
        return IdSet.from_rows(unpacked["starts"], unpacked["lows"], size=size)


def measure(sets: Sets, folder: Path) -> dict[str, Any]:
    """Return bytes of each way, and the time to read three layers: the last three, and the three largest."""
    keys = list(sets)
    largest = sorted(keys, key=lambda key: len(sets[key]))[-3:]
    asked = {"last_3": keys[-3:], "largest_3": largest}
    found: dict[str, Any] = {
        "layers": len(keys), "ids": sum(map(len, sets.values())),
        "universe": sum(one.size for one in sets.values()),
        "ids_read": {name: sum(len(sets[key]) for key in those) for name, those in asked.items()}, "ways": {},
    }  # fmt: skip
    for title, kind in {"plain ids": PlainIds, "the store's arrays": Ours, "gaps": Gaps}.items():
        for packed, pack in packers().items():
            way = kind(pack)
            arrays = {name: a for key, ids in sets.items() for name, a in way.arrays(key, ids).items()}
            file = folder / "coded.safetensors"
            write_sealed(file, arrays, {"effpath": "{}"})
            row: dict[str, Any] = {"bytes": sum(array.nbytes for array in arrays.values())}
            for name, those in asked.items():
                row[f"read_{name}_ms"] = round(1e3 * read_time(way, file, those, sets), 4)
            found["ways"][title + packed] = row
    return found


def read_time(way: Gaps, file: Path, keys: Sequence[str], sets: Sets) -> float:
    """Return the seconds that opening a file and reading some sets of it takes; they must be what they were."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        with SealedFile(file, WHAT) as opened:
            read = [way.read(opened, key, sets[key].size) for key in keys]
        times.append(time.process_time() - start)
        if any(one != sets[key] for one, key in zip(read, keys, strict=True)):
            raise SystemExit(f"{type(way).__name__}: other sets than were written; nothing is reported")
    return statistics.median(times)


def class_path(network: str, images: int) -> Sets:
    """Return the synapses of a class path."""
    model = load_model(f"{research_folder() / 'load.py'}:{network}")
    pixels = load_images(model, 0, images)
    graph = effpath.capture(model, pixels[:1])
    options = effpath.BuildOptions(("synapses",), counts=False)
    with track(network) as progress:
        built = effpath.build_class_paths(
            graph, pixels, torch.zeros(images, dtype=torch.int64), options=options, progress=progress
        )
    return built[0].sets("synapses")


def shown(found: Row) -> str:
    """Return bytes and reading times of each way."""
    lines = []
    for network, row in found["networks"].items():
        ours = row["ways"]["the store's arrays"]["bytes"]
        for way, each in row["ways"].items():
            lines.append([
                short(network), way, number(each["bytes"] / 1e3), f"{each['bytes'] / ours:.2f}",
                f"{each['read_last_3_ms']:.3g}", f"{each['read_largest_3_ms']:.3g}",
            ])  # fmt: skip
    heads = [
        "network",
        "synapses of a class as",
        "kB",
        "÷ store's",
        "read the last 3 layers, ms",
        "the 3 largest, ms",
    ]
    ids = ", ".join(f"{row['ids']:,} ids of {short(name)}" for name, row in found["networks"].items())
    return table(heads, lines) + f"\n\n{found['images']} images: {ids}. {source(found)}"


def main() -> None:
    """Measure all cases, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=CASES)
    parser.add_argument("--images", type=int, default=30, help="of the class")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"images": asked.images, "repeats": REPEATS, "networks": {}}
    with tempfile.TemporaryDirectory() as name:
        for network in asked.networks:
            found["networks"][network] = measure(class_path(network, asked.images), Path(name))
    write_result(asked.output, "coding", found, ("torch", "numpy", "zstandard"), research=True)


if __name__ == "__main__":
    main()
