"""Flip bits of a store and cut its files short: is any change unnoticed, and does reading run anything?

    python -m benchmarks.stores.flips --output docs/results/stores/flips.json

Every file of a small store is changed, in proportion to its size, and read as its user reads it; a tenth of the
changes are cuts. Each must be refused with a `StoreError`. Meanwhile what Python would run is counted: code that
is compiled or executed, imports, pickles, programs.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import effpath
from benchmarks.flips import REFUSED, Read, damage
from benchmarks.stores.result import source, write_result
from effpath.class_paths.folder.store import Store
from effpath.files.progress import track

RUNS = (
    "compile", "exec", "import", "pickle.find_class", "marshal.load", "marshal.loads", "code.__new__",
    "ctypes.dlopen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
    "subprocess.Popen",
)  # fmt: skip
"""What Python's audit calls what runs code, or brings it in."""
Row = dict[str, Any]


def make_store(folder: Path) -> dict[str, tuple[Path, Read]]:
    """Build a small store; return its files, with what reads and compares each as its user does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = torch.nn.Flatten(), torch.nn.Linear(9, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3)
        net, images = torch.nn.Sequential(*layers).eval(), 4 * torch.randn(60, 1, 3, 3)
    graph = effpath.capture(net, images[:1])
    effpath.build_store(folder, graph, images, graph.predict(images), options=effpath.StoreOptions(shard_size=20))
    store = Store.open(folder)
    whole, structure = effpath.load_class_paths(folder, graph).loaded(), store.structure
    records = [(record.shard, record.digests.tolist()) for record in store.records()]
    assert store.manifest.images is not None
    found: dict[str, tuple[Path, Read]] = {
        "manifest": (folder / "manifest.json", lambda _: Store.open(folder) == store),
        "structure": (folder / "network.json", lambda _: store.structure == structure),
        "images": (
            folder / store.manifest.images.file,
            lambda _: [(record.shard, record.digests.tolist()) for record in store.records()] == records,
        ),
    }

    def read_class(file: Path) -> bool:
        label = int(file.name.split("-")[0])
        opened = effpath.load_class_paths(folder, graph)
        return opened[label] == whole[label] and all(
            np.array_equal(counts, opened.counts[label][level][key])
            for level, sets in whole.counts[label].items()
            for key, counts in sets.items()
        )

    return found | {f"class {file.name[0]}": (file, read_class) for file in sorted((folder / "classes").iterdir())}


class Audit:
    """What Python runs while it is on; see `RUNS`. Python keeps the hook until it ends."""

    def __init__(self) -> None:
        """Begin to hear Python's audit."""
        self.on, self.heard = False, Counter[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: object) -> None:
        if self.on and event in RUNS:
            self.heard[event] += 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Count in the block."""
        self.on = True
        try:
            yield
        finally:
            self.on = False


def damage_store(files: dict[str, tuple[Path, Read]], changes: int, seed: int, audit: Audit) -> dict[str, Row]:
    """Return what became of so many changes, by file."""
    rng = np.random.default_rng(seed)
    sizes = np.array([file.stat().st_size for file, _ in files.values()])
    shares = rng.multinomial(changes, sizes / sizes.sum()).tolist()
    found = {}
    with track(f"{changes} changes of a store") as progress:
        for share, (kind, (file, read)) in zip(shares, files.items(), strict=True):
            whole = file.read_bytes()
            damage(whole, [0], [len(whole) // 2], file, read)  # imports what errors need
            bits = rng.integers(8 * len(whole), size=share - share // 10).tolist()
            lengths = rng.integers(len(whole), size=share // 10).tolist()
            with audit.listening():
                row = damage(whole, bits, lengths, file, read)
            file.write_bytes(whole)
            if not read(file):
                raise SystemExit(f"{kind}: something else without damage; nothing is reported")
            found[kind] = {"bytes": len(whole), "flips": len(bits), "cuts": len(lengths), **row}
            progress(len(found), len(files))
    return found


def shown(found: Row) -> str:
    """Return what became of damaged files."""
    rows = found["files"].values()
    flips, cuts, refused = (sum(row[key] for row in rows) for key in ("flips", "cuts", "refused"))
    ran = ", ".join(found["ran"]) or "nothing"
    return (
        f"{flips:,} flipped bits and {cuts:,} cuts over all {len(found['files'])} files of a store: {refused:,} "
        f"refused with a `StoreError`, {flips + cuts - refused:,} not. While the files were read, Python's audit "
        f"heard of {ran} that was compiled, executed, imported, unpickled or started. {source(found)}"
    )


def main() -> None:
    """Change bytes, and write what came of it; fail where one was not noticed, or something ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    audit = Audit()
    with tempfile.TemporaryDirectory() as name:
        rows = damage_store(make_store(Path(name) / "store"), asked.changes, asked.seed, audit)
    write_result(asked.output, "flips", {"files": rows, "ran": audit.heard}, ("torch", "numpy", "safetensors"))
    if audit.heard or any(row.keys() - {"bytes", "flips", "cuts", REFUSED} for row in rows.values()):
        raise SystemExit(f"unnoticed or run: {rows}, {dict(audit.heard)}")


if __name__ == "__main__":
    main()
