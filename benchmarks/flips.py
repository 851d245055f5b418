"""Flip single bits of class-path and detector files, and cut them short: does any load as something else?

    python -m benchmarks.flips --flips 10000

A damaged file may be refused with a `StoreError`, or load as exactly the same sets and the same learned numbers (a
bit of padding). Anything else is counted, and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from benchmarks.same import same_class_paths
from effpath.detect.features import Features
from effpath.errors import StoreError
from effpath.files.sealed import SealedFile

Read = Callable[[Path], bool]
REFUSED, SAME, OTHER, RAW = "refused", "the same", "something else", "raw errors"


def damage(whole: bytes, bits: Iterable[int], lengths: Iterable[int], file: Path, read: Read) -> Counter[str]:
    """Count what comes of reading a file with each of the bits flipped, and cut to each of the lengths.

    Args:
        whole: the file, undamaged.
        bits: places of bits.
        lengths: in bytes.
        file: where to write it.
        read: tells whether a file holds what the undamaged one did.
    """
    found: Counter[str] = Counter()
    array = np.frombuffer(whole, np.uint8).copy()

    def count(content: bytes) -> None:
        file.write_bytes(content)
        try:
            found[SAME if read(file) else OTHER] += 1
        except StoreError:
            found[REFUSED] += 1
        except Exception as error:  # any error of another library is what is looked for
            found[RAW] += 1
            found[f"{RAW}: {type(error).__name__}"] += 1

    for bit in bits:
        array[bit // 8] ^= 1 << bit % 8
        count(array.tobytes())
        array[bit // 8] ^= 1 << bit % 8
    for length in lengths:
        count(whole[:length])
    return found


def chosen_bits(whole: bytes, flips: int, seed: int) -> list[int]:
    """Return places of bits, half of them in the header: each bit at most once."""
    rng = np.random.default_rng(seed)
    header = 8 * (8 + int.from_bytes(whole[:8], "little"))
    inside = rng.permutation(header)[: flips // 2]
    beside = header + rng.permutation(8 * len(whole) - header)[: flips - len(inside)]
    return [*inside.tolist(), *beside.tolist()]


def make_files(folder: Path) -> tuple[effpath.Graph, dict[str, tuple[Path, Read]]]:
    """Write small files of each kind; return the network, and what reads and compares each."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    graph = effpath.capture(net.eval(), torch.zeros(1, 1, 3, 3))
    images = torch.rand(60, 1, 3, 3)
    class_paths = effpath.build_class_paths(graph, images, graph.predict(images))
    paths_file, guard_file = folder / "class_paths.safetensors", folder / "guard.safetensors"
    effpath.save_class_paths(class_paths, paths_file)
    values = np.random.default_rng(0).random((60, 2 * len(class_paths.header.layers)))
    detector = effpath.Detector(graph, class_paths, kind="clean")
    names = tuple(name for rank in (1, 2) for name in class_paths.feature_names("synapses", rank))
    features = Features(values, names, np.zeros((60, 2), np.int64), np.zeros((60, 3), np.float32))
    detector.fit(features)
    detector.threshold, detector.fpr = 0.25, 0.05
    effpath.save_detector(detector, guard_file)
    scores = detector.score(features)

    def same_sets(found: effpath.ClassPaths) -> bool:
        digests = [shard.digests.tolist() for shard in found.shards]
        return same_class_paths(found, class_paths) and digests == [class_paths.shards[0].digests.tolist()]

    def read_paths(file: Path) -> bool:
        return same_sets(effpath.load_class_paths(file, graph))

    def read_guard(file: Path) -> bool:
        found = effpath.load_detector(file, graph)
        return (
            same_sets(found.class_paths)
            and np.array_equal(found.score(features), scores)
            and (found.threshold, found.fpr, found.kind) == (0.25, 0.05, "clean")
        )

    return graph, {"class paths": (paths_file, read_paths), "detector": (guard_file, read_guard)}


def without_seal(file: Path) -> None:
    """Write a file as earlier versions did, without checksums."""
    from safetensors.numpy import save_file

    with SealedFile(file, "a file") as opened:
        arrays = {name: opened.array(name) for name in opened.names}
        about: dict[str, Any] = {name: text.replace('paths-3"', 'paths-2"') for name, text in opened.about.items()}
    save_file(arrays, file, {name: text.replace('detector-3"', 'detector-2"') for name, text in about.items()})


def main() -> None:
    """Count, and print a line for each kind of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=10_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--unsealed", action="store_true", help="files without checksums, as earlier versions wrote"
    )
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        _, files = make_files(Path(name))
        for kind, (file, read) in files.items():
            if options.unsealed:
                without_seal(file)
            whole = file.read_bytes()
            bits = chosen_bits(whole, options.flips // len(files), options.seed)
            lengths = range(0, len(whole), max(1, len(whole) // 200))
            for what, found in (
                (f"{len(bits)} bits flipped", damage(whole, bits, (), file, read)),
                (f"{len(lengths)} cuts", damage(whole, (), lengths, file, read)),
            ):
                counts = ", ".join(f"{found[outcome]} {outcome}" for outcome in (REFUSED, SAME, OTHER, RAW))
                print(f"{kind}, {len(whole)} bytes, {what}: {counts}")
                failed = failed or bool(found[OTHER] + found[RAW])
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
